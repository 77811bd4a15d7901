"""What is known of calls that must not run twice: written down before a call begins, and when it has ended.

A call that was begun and has no result may or may not have taken effect: the process that ran it has ended, or is still
at it. Knows nothing about graphs; see `alpha_umi.nodes.effects` for who writes here, and when.
"""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import Any, TypeAlias

from langchain_core.messages import ToolMessage

from alpha_umi.errors import ConfigError, StorageError

Execute: TypeAlias = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]

_SCHEMA = """CREATE TABLE IF NOT EXISTS effects (
    thread TEXT NOT NULL, call TEXT NOT NULL, arguments TEXT NOT NULL, tool TEXT NOT NULL,
    n_started INTEGER NOT NULL DEFAULT 1, started_at DOUBLE PRECISION NOT NULL,
    finished_at DOUBLE PRECISION, result TEXT,
    PRIMARY KEY (thread, call, arguments)
)"""
_KEY = "thread = ? AND call = ? AND arguments = ?"
_MAX_CONNECTIONS = 4


@dataclass(frozen=True, slots=True)
class CallKey:
    """Names one call for all time.

    Args:
        thread: Thread it belongs to.
        call: Id of the call, unique within the thread.
        arguments: Hash of the arguments, so that a call that a person edited is another call.
    """

    thread: str
    call: str
    arguments: str

    @classmethod
    def make(cls, thread: str, call: str, arguments: Mapping[str, Any] | str) -> CallKey:
        """Name a call by its thread, its id and its arguments, whose order does not matter."""
        text = json.dumps(arguments, sort_keys=True, ensure_ascii=True, default=str)
        return cls(thread, call, hashlib.sha256(text.encode()).hexdigest())

    def to_row(self) -> tuple[str, str, str]:
        """Return the values of the primary key."""
        return self.thread, self.call, self.arguments


Outcome: TypeAlias = ToolMessage | int


class Ledger(ABC):
    """Where calls are recorded. Blocks: call it from a thread where an event loop runs."""

    @abstractmethod
    def begin(self, key: CallKey, tool: str) -> Outcome:
        """Record that a call is about to run.

        Returns:
            0 to exactly one caller, who has to run it; the recorded observation if it has ended before; or how often it
            was begun, if nothing more is known.

        Raises:
            StorageError: If that cannot be recorded; then the call must not run.
        """

    @abstractmethod
    def restart(self, key: CallKey) -> bool:
        """Record that a call that was begun once and did not end is about to run again, because a person wants it to.

        Returns:
            Whether the caller has to run it: False if that was recorded before, or the call has ended meanwhile.

        Raises:
            StorageError: If that cannot be recorded; then the call must not run.
        """

    @abstractmethod
    def finish(self, key: CallKey, message: ToolMessage) -> None:
        """Record the observation of a call.

        Raises:
            StorageError: If that cannot be recorded; then the outcome of the call stays unknown.
        """

    @abstractmethod
    def forget(self, key: CallKey) -> None:
        """Drop the record of a call that is known to have stopped before it took effect.

        Raises:
            StorageError: If the record cannot be dropped.
        """


class MemoryLedger(Ledger):
    """Records that end with the process, as the threads of an `InMemorySaver` do."""

    def __init__(self) -> None:
        """Start without records."""
        self._lock = Lock()
        self._outcomes: dict[CallKey, Outcome] = {}

    def begin(self, key: CallKey, tool: str) -> Outcome:
        """Record that a call is about to run; see `Ledger`."""
        with self._lock:
            outcome = self._outcomes.get(key, 0)
            self._outcomes.setdefault(key, 1)
        return outcome

    def restart(self, key: CallKey) -> bool:
        """Record that a call is about to run again; see `Ledger`."""
        with self._lock:
            is_ours = self._outcomes.get(key) == 1
            if is_ours:
                self._outcomes[key] = 2
        return is_ours

    def finish(self, key: CallKey, message: ToolMessage) -> None:
        """Record the observation of a call; see `Ledger`."""
        self._outcomes[key] = message

    def forget(self, key: CallKey) -> None:
        """Drop a record; see `Ledger`."""
        self._outcomes.pop(key, None)


class _SqlLedger(Ledger):
    """The records as rows of one table; every statement is a transaction that is on the disk when it returns."""

    @abstractmethod
    @contextmanager
    def _open(self) -> Iterator[Execute]:
        """Give a function that runs one statement with ``?`` for its values."""

    def begin(self, key: CallKey, tool: str) -> Outcome:
        """Record that a call is about to run; see `Ledger`."""
        with self._open() as execute:
            # Whoever writes the row first runs the call, in whichever process.
            written = execute(
                "INSERT INTO effects (thread, call, arguments, tool, started_at) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT DO NOTHING RETURNING 1",
                (*key.to_row(), tool, time.time()),
            )
            if written:
                return 0
            rows = execute(f"SELECT n_started, result FROM effects WHERE {_KEY}", key.to_row())
        n_started, result = rows[0] if rows else (1, None)  # forgotten by another process at this very moment
        if result is None:
            return int(n_started)
        return ToolMessage(name=tool, tool_call_id=key.call, **json.loads(result))

    def restart(self, key: CallKey) -> bool:
        """Record that a call is about to run again; see `Ledger`."""
        with self._open() as execute:
            written = execute(
                f"UPDATE effects SET n_started = 2, started_at = ? WHERE {_KEY} AND n_started = 1 AND result IS NULL "
                "RETURNING 1",
                (time.time(), *key.to_row()),
            )
        return bool(written)

    def finish(self, key: CallKey, message: ToolMessage) -> None:
        """Record the observation of a call; see `Ledger`."""
        with self._open() as execute:
            execute(
                f"UPDATE effects SET finished_at = ?, result = ? WHERE {_KEY} RETURNING 1",
                (time.time(), _dump(message), *key.to_row()),
            )

    def forget(self, key: CallKey) -> None:
        """Drop a record; see `Ledger`."""
        with self._open() as execute:
            execute(f"DELETE FROM effects WHERE {_KEY} RETURNING 1", key.to_row())


class SqliteLedger(_SqlLedger):
    """Records in a SQLite file, which may be the one that holds the threads; for any number of processes."""

    def __init__(self, path: str | Path | Callable[[], str], *, busy_timeout_s: float = 10.0) -> None:
        """Name the file; the first record creates it.

        Args:
            path: The file, or a function that is asked for it at every record.
            busy_timeout_s: Seconds to wait for another process that writes.
        """
        self._path = path if callable(path) else lambda: str(path)
        self._busy_timeout_s = busy_timeout_s

    @contextmanager
    def _open(self) -> Iterator[Execute]:
        path = Path(self._path())
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(path, timeout=self._busy_timeout_s, isolation_level=None)
            with closing(database):
                use_write_ahead_log(database, self._busy_timeout_s)
                # FULL: a record is on the disk before the effect is begun, also when the machine loses its power.
                database.executescript(f"PRAGMA synchronous = FULL; {_SCHEMA}")
                yield lambda sql, values: database.execute(sql, values).fetchall()
        except (sqlite3.Error, OSError) as error:
            raise StorageError(
                f"What tools did cannot be recorded in {str(path)!r}: {error}. Make room there, or end the process "
                "that locks the file; then resume the thread."
            ) from error


def use_write_ahead_log(database: sqlite3.Connection, timeout_s: float) -> None:
    """Let others read a SQLite file while one writes; the file stays so.

    SQLite gives this change up at once while another connection writes, or makes the same change, whatever the timeout
    of the connection says. It is tried again until the other is through.

    Args:
        database: Connection to the file.
        timeout_s: Seconds to try.

    Raises:
        sqlite3.Error: If the file stays locked, or cannot be read or written.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.005)
        else:
            return


class PostgresLedger(_SqlLedger):
    """Records in a PostgreSQL database, which may be the one that holds the threads; for any number of machines."""

    def __init__(self, conninfo: str, *, timeout_s: float = 10.0) -> None:
        """Name the database; the first record connects and makes the table.

        Args:
            conninfo: ``postgresql://user:password@host/database``, or libpq's ``key=value`` form.
            timeout_s: Seconds to wait for a connection.
        """
        self._conninfo = conninfo
        self._timeout_s = timeout_s
        self._slots = BoundedSemaphore(_MAX_CONNECTIONS)
        self._has_table = False

    @contextmanager
    def _open(self) -> Iterator[Execute]:
        psycopg = import_psycopg()
        try:
            # A connection per record: nothing to close, to share with a forked child or to mend after a restart.
            with (
                self._slots,
                psycopg.connect(
                    self._conninfo, autocommit=True, connect_timeout=math.ceil(self._timeout_s)
                ) as connection,
            ):
                self._make_table(connection)
                yield lambda sql, values: connection.execute(sql.replace("?", "%s"), values).fetchall()
        except psycopg.Error as error:
            raise StorageError(
                f"What tools did cannot be recorded in PostgreSQL: {str(error).strip()}. Check that the server runs "
                "and has room; then resume the thread."
            ) from error

    def _make_table(self, connection: Any) -> None:
        if not self._has_table:
            with connection.transaction():
                # Two processes that create one table at one time would fail on PostgreSQL's own catalogue.
                connection.execute("SELECT pg_advisory_xact_lock(hashtext('alpha_umi.effects'))")
                connection.execute(_SCHEMA)
            self._has_table = True


def import_psycopg() -> Any:
    """Return the PostgreSQL driver.

    Raises:
        ConfigError: If the extra is not installed.
    """
    try:
        import psycopg  # noqa: PLC0415 - an extra that may not be installed
    except ImportError as error:
        raise ConfigError(f"PostgreSQL needs an extra: pip install 'alpha-umi[postgres]' ({error}).") from error
    return psycopg


def _dump(message: ToolMessage) -> str:
    """Write an observation as JSON; an artifact that has no such form, which no model reads, is left out."""
    values = {"content": message.content, "status": message.status}
    try:
        return json.dumps({**values, "artifact": message.artifact})
    except (TypeError, ValueError, RecursionError):
        return json.dumps(values)
