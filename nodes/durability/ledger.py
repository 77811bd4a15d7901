"""What is known of calls that must not run twice: written down before a call begins, and when it has ended.

A call that was begun and has no result may or may not have taken effect: the process that ran it has ended, or is still
at it. Knows nothing about graphs; see `alpha_umi.nodes.durability.effects` for who writes here, and when.
"""

from __future__ import annotations

import asyncio
import json
import math
import sqlite3
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from langchain_core.messages import ToolMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from alpha_umi.errors import ConfigError, StorageError
from alpha_umi.tools.ledger import CallKey, Ledger, Outcome

Execute: TypeAlias = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]

_SCHEMA = """CREATE TABLE IF NOT EXISTS effects (
    thread TEXT NOT NULL, call TEXT NOT NULL, arguments TEXT NOT NULL, tool TEXT NOT NULL,
    n_started INTEGER NOT NULL DEFAULT 1, started_at DOUBLE PRECISION NOT NULL,
    finished_at DOUBLE PRECISION, result TEXT,
    PRIMARY KEY (thread, call, arguments)
)"""
_KEY = "thread = ? AND call = ? AND arguments = ?"
_MAX_CONNECTIONS = 4


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


_PATH_SQL = "SELECT file FROM pragma_database_list WHERE name = 'main'"
_ledgers: WeakKeyDictionary[BaseCheckpointSaver[Any], Ledger] = WeakKeyDictionary()
_lock = Lock()


def find_ledger(saver: BaseCheckpointSaver[Any]) -> Ledger:
    """Return the ledger beside a checkpointer.

    It is a table in the database of a SQLite or PostgreSQL checkpointer, and memory for an `InMemorySaver`. For every
    other checkpointer (that of `langgraph dev`, or of another maker) it is a file in the user's home, which is enough
    for one machine, since a call has one id in the world. Blocks: call it from a thread where an event loop runs.
    """
    with _lock:
        if saver not in _ledgers:
            _ledgers[saver] = _make_ledger(saver)
        return _ledgers[saver]


def _make_ledger(saver: BaseCheckpointSaver[Any]) -> Ledger:
    own = getattr(saver, "ledger", None)
    if isinstance(own, Ledger):
        return own
    if type(saver) is InMemorySaver:
        return MemoryLedger()
    if isinstance(saver, SqliteSaver | AsyncSqliteSaver):
        path = _read_path(saver)
        return SqliteLedger(path) if path else MemoryLedger()
    if type(saver).__module__.startswith("langgraph.checkpoint.postgres"):
        return PostgresLedger(_read_conninfo(saver))
    return SqliteLedger(Path.home() / ".alpha-umi" / "effects.sqlite")


def _read_path(saver: SqliteSaver | AsyncSqliteSaver) -> str:
    """Return the file of the threads, empty if they are in memory."""
    if isinstance(saver, AsyncSqliteSaver):
        return asyncio.run_coroutine_threadsafe(_read_path_async(saver), saver.loop).result()
    with saver.lock:
        return str(saver.conn.execute(_PATH_SQL).fetchone()[0] or "")


async def _read_path_async(saver: AsyncSqliteSaver) -> str:
    async with saver.lock, saver.conn.execute(_PATH_SQL) as cursor:
        row = await cursor.fetchone()
    return str(row[0] or "") if row else ""


def _read_conninfo(saver: Any) -> str:
    """Return how to reach the database, from a connection or a pool of them."""
    if hasattr(saver.conn, "conninfo"):
        return str(saver.conn.conninfo)
    info = saver.conn.info
    return str(import_psycopg().conninfo.make_conninfo(**info.get_parameters(), password=info.password))
