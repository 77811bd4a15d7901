"""A PostgreSQL server of one's own, in a folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg

_FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin")


class PostgresServer:
    """A cluster in a folder, which runs as a user without rights, since PostgreSQL refuses to run as root."""

    def __init__(self, bin: Path, folder: Path) -> None:
        self._bin = bin
        self._data = folder / "data"
        self._user = "nobody" if os.geteuid() == 0 else None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        if self._user:
            shutil.chown(folder, self._user)
        self._call("initdb", "-D", str(self._data), "-U", "umi", "--auth=trust", "--encoding=UTF8")

    @property
    def url(self) -> str:
        return f"postgresql://umi@127.0.0.1:{self.port}/postgres"

    def make_database(self) -> str:
        """Return the address of an empty database."""
        name = f"test_{uuid4().hex}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"{self.url.rpartition('/')[0]}/{name}"

    def start(self) -> None:
        options = f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories=''"
        log = str(self._data.parent / "log")
        self._call("pg_ctl", "-D", str(self._data), "-l", log, "-o", options, "-w", "-t", "60", "start")

    def stop(self) -> None:
        self._call("pg_ctl", "-D", str(self._data), "-m", "immediate", "-w", "stop")

    def _call(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._bin / program), *arguments],
            user=self._user,
            check=True,
            cwd="/",
            stdout=subprocess.DEVNULL,
            timeout=120,
        )


@contextmanager
def run_server() -> Iterator[PostgresServer | None]:
    """Run a server; None where its programs are not installed."""
    programs = _find_programs()
    if programs is None:
        yield None
        return
    # not pytest's folder, which only its owner may enter
    with tempfile.TemporaryDirectory(prefix="umi-postgres-", ignore_cleanup_errors=True) as folder:
        server = PostgresServer(programs, Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _find_programs() -> Path | None:
    """Return the folder of PostgreSQL's server programs, which most systems keep off the PATH."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    folders = [folder for pattern in _FOLDERS for folder in Path("/").glob(pattern.lstrip("/"))]
    return max((folder for folder in folders if (folder / "initdb").exists()), default=None)
