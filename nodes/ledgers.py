"""Where the calls of a thread are recorded: in the database that keeps the thread."""

from __future__ import annotations

import asyncio
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from alpha_umi.tools.ledger import Ledger, MemoryLedger, PostgresLedger, SqliteLedger, import_psycopg

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
