"""Ledgers: what is known of calls that must not run twice, in memory and in a SQL database.

A call is written down before it begins and when it has ended. One that was begun and has no result may or may not have
taken effect: the process that ran it has ended, or still runs it. See `alpha_umi.nodes.durability.effects` for who
writes here, and when.
"""

from __future__ import annotations

import json
import sqlite3
import time
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Lock

from langchain_core.messages import ToolMessage

from alpha_umi.errors import StorageError
from alpha_umi.nodes.durability.notes import NOTES_SCHEMA, Execute, MemoryNotes, Notes, SqlNotes
from alpha_umi.tools.ledger import CallKey, CallRecord, Ledger

SCHEMA = f"""CREATE TABLE IF NOT EXISTS effects (
    thread TEXT NOT NULL, call TEXT NOT NULL, arguments TEXT NOT NULL, tool TEXT NOT NULL,
    n_started INTEGER NOT NULL DEFAULT 1, started_at DOUBLE PRECISION NOT NULL,
    finished_at DOUBLE PRECISION, result TEXT,
    PRIMARY KEY (thread, call, arguments)
);
{NOTES_SCHEMA}"""
"""Of the ledger and, in the same database, of notes on turns."""
_KEY = "thread = ? AND call = ? AND arguments = ?"


class MemoryLedger(Ledger):
    """Records that end with the process, as the threads of an `InMemorySaver` do."""

    def __init__(self) -> None:
        """Start without records."""
        self._lock = Lock()
        self._outcomes: dict[CallKey, CallRecord] = {}

    def make_notes(self) -> Notes:
        """Return notes that are kept where the records are."""
        return MemoryNotes()

    def begin(self, key: CallKey, tool: str) -> CallRecord:
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

    def forget_thread(self, thread: str) -> None:
        """Drop all records of a thread; see `Ledger`."""
        with self._lock:
            self._outcomes = {key: outcome for key, outcome in self._outcomes.items() if key.thread != thread}

    def copy_thread(self, source: str, target: str) -> None:
        """Copy all records of a thread; see `Ledger`."""
        with self._lock:
            copies = {key._replace(thread=target): one for key, one in self._outcomes.items() if key.thread == source}
            self._outcomes |= copies


class SqlLedger(Ledger):
    """The records as rows of one table; every statement is a transaction that is on the disk when it returns."""

    @abstractmethod
    @contextmanager
    def _open(self) -> Iterator[Execute]:
        """Give a function that runs one statement with ``?`` for its values."""

    def make_notes(self) -> Notes:
        """Return notes that are kept in the same database."""
        return SqlNotes(self._open)

    def begin(self, key: CallKey, tool: str) -> CallRecord:
        """Record that a call is about to run; see `Ledger`."""
        with self._open() as execute:
            # The process that writes the row first runs the call.
            written = execute(
                "INSERT INTO effects (thread, call, arguments, tool, started_at) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT DO NOTHING RETURNING 1",
                (*key, tool, time.time()),
            )
            if written:
                return 0
            rows = execute(f"SELECT n_started, result FROM effects WHERE {_KEY}", key)
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
                (time.time(), *key),
            )
        return bool(written)

    def finish(self, key: CallKey, message: ToolMessage) -> None:
        """Record the observation of a call; see `Ledger`."""
        with self._open() as execute:
            execute(
                f"UPDATE effects SET finished_at = ?, result = ? WHERE {_KEY} RETURNING 1",
                (time.time(), _dump(message), *key),
            )

    def forget(self, key: CallKey) -> None:
        """Drop a record; see `Ledger`."""
        with self._open() as execute:
            execute(f"DELETE FROM effects WHERE {_KEY} RETURNING 1", key)

    def forget_thread(self, thread: str) -> None:
        """Drop all records of a thread; see `Ledger`."""
        with self._open() as execute:
            execute("DELETE FROM effects WHERE thread = ? RETURNING 1", (thread,))

    def copy_thread(self, source: str, target: str) -> None:
        """Copy all records of a thread; see `Ledger`."""
        columns = "call, arguments, tool, n_started, started_at, finished_at, result"
        with self._open() as execute:
            execute(
                f"INSERT INTO effects (thread, {columns}) SELECT ?, {columns} FROM effects WHERE thread = ? "
                "ON CONFLICT DO NOTHING RETURNING 1",
                (target, source),
            )


class SqliteLedger(SqlLedger):
    """Records in a SQLite file, which may be the one that holds the threads; for any number of processes."""

    def __init__(self, path: str | Path, *, busy_timeout_s: float = 10.0) -> None:
        """Name the file, which the first record creates, and how long to wait for another process that writes."""
        self._path = Path(path)
        self._busy_timeout_s = busy_timeout_s

    @contextmanager
    def _open(self) -> Iterator[Execute]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(self._path, timeout=self._busy_timeout_s, isolation_level=None)
            with closing(database):
                use_write_ahead_log(database, self._busy_timeout_s)
                # FULL: a record is on the disk before the effect is begun, also when the machine loses its power.
                database.executescript(f"PRAGMA synchronous = FULL; {SCHEMA}")
                yield lambda sql, values: database.execute(sql, values).fetchall()
        except (sqlite3.Error, OSError) as error:
            raise StorageError(
                f"What tools did cannot be recorded in {str(self._path)!r}: {error}. Make room there, or end the "
                "process that locks the file; then resume the thread."
            ) from error


def use_write_ahead_log(database: sqlite3.Connection, timeout_s: float) -> None:
    """Let others read a SQLite file while one writes; the file stays so.

    Tried again for `timeout_s`: SQLite gives this change up at once while another connection writes or makes the same
    change, whatever the timeout of the connection says.

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


def _dump(message: ToolMessage) -> str:
    """Write an observation as JSON; an artifact that has no such form, which no model reads, is left out."""
    values = {"content": message.content, "status": message.status}
    try:
        return json.dumps({**values, "artifact": message.artifact})
    except (TypeError, ValueError, RecursionError):
        return json.dumps(values)
