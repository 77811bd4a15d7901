"""The checkpointers of `alpha_umi.nodes.durability.checkpointers` on PostgreSQL; needs the extra ``postgres``."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg
import psycopg.conninfo
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from alpha_umi.nodes.durability.checkpointers import NEWEST_THREADS, DurableSaver, explain_opening, make_claim_error
from alpha_umi.nodes.durability.ledger import PostgresLedger

_MAX_CONNECTIONS = 8
_CONNECTION: dict[str, Any] = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
_FAULTS = (psycopg.Error,)
_SETUP_TIMEOUT_S = 60.0


class _PostgresBase(DurableSaver):
    _faults = _FAULTS

    def name_database(self, conninfo: str) -> None:
        """Say where the threads are; the ledger goes there too."""
        self._conninfo = conninfo
        self.where = hide_password(conninfo)
        self.ledger = PostgresLedger(conninfo)

    @contextmanager
    def claim(self, thread: str) -> Iterator[None]:
        """Hold an advisory lock, which the server releases when the connection ends; see `DurableSaver`."""
        with self.explained():
            connection: psycopg.Connection[Any] = psycopg.connect(self._conninfo, **_CONNECTION)
        with connection:
            with self.explained():
                is_ours = _take_lock(connection, f"alpha_umi thread {thread}")
            if not is_ours:
                raise make_claim_error(thread)
            yield


class DurablePostgresSaver(_PostgresBase, PostgresSaver):
    """Keeps threads in PostgreSQL; open one by `open_checkpointer`."""

    def list_threads(self, limit: int) -> Sequence[str]:
        """Return the newest threads; see `DurableSaver`."""
        with self.explained(), self._cursor() as cursor:
            return [row["thread_id"] for row in cursor.execute(NEWEST_THREADS.format("%s"), (limit,))]


class DurableAsyncPostgresSaver(_PostgresBase, AsyncPostgresSaver):
    """Keeps threads in PostgreSQL, for async runs; open one by `open_async_checkpointer`."""


@contextmanager
def open_postgres(conninfo: str, timeout_s: float) -> Iterator[DurableSaver]:
    """Open a checkpointer; its connections are made anew after the server has restarted."""
    with explain_opening(hide_password(conninfo), _FAULTS):
        _make_tables(conninfo, timeout_s)
    pool: ConnectionPool[psycopg.Connection[DictRow]] = ConnectionPool(
        conninfo,
        kwargs=_CONNECTION,
        min_size=0,
        max_size=_MAX_CONNECTIONS,
        timeout=timeout_s,
        reconnect_timeout=timeout_s,  # else the next run would wait for the pauses between attempts that failed
        check=ConnectionPool.check_connection,
        open=False,
    )
    with pool:
        saver = DurablePostgresSaver(pool)
        saver.name_database(conninfo)
        yield saver


@asynccontextmanager
async def open_async_postgres(conninfo: str, timeout_s: float) -> AsyncIterator[DurableSaver]:
    """Do what `open_postgres` does for async runs."""
    with explain_opening(hide_password(conninfo), _FAULTS):
        await asyncio.to_thread(_make_tables, conninfo, timeout_s)
    pool: AsyncConnectionPool[psycopg.AsyncConnection[DictRow]] = AsyncConnectionPool(
        conninfo,
        kwargs=_CONNECTION,
        min_size=0,
        max_size=_MAX_CONNECTIONS,
        timeout=timeout_s,
        reconnect_timeout=timeout_s,  # else the next run would wait for the pauses between attempts that failed
        check=AsyncConnectionPool.check_connection,
        open=False,
    )
    async with pool:
        saver = DurableAsyncPostgresSaver(pool)
        saver.name_database(conninfo)
        yield saver


def hide_password(conninfo: str) -> str:
    """Return an address as it may be shown."""
    try:
        values = psycopg.conninfo.conninfo_to_dict(conninfo)
    except psycopg.Error:
        return "an address that PostgreSQL cannot read"
    return f"postgresql://{values.get('host', '')}:{values.get('port', 5432)}/{values.get('dbname', '')}"


def _make_tables(conninfo: str, timeout_s: float) -> None:
    """Make the tables, one process after the other: two at one time fail on PostgreSQL's own catalogue."""
    deadline = time.monotonic() + _SETUP_TIMEOUT_S
    with psycopg.connect(conninfo, connect_timeout=math.ceil(timeout_s), **_CONNECTION) as connection:
        # Not `pg_advisory_lock`: CREATE INDEX CONCURRENTLY, which the tables need, waits for whoever waits in it.
        while not _take_lock(connection, "alpha_umi setup"):
            if time.monotonic() > deadline:
                raise psycopg.OperationalError("another process has been making the tables for too long")
            time.sleep(0.05)
        PostgresSaver(connection).setup()


def _take_lock(connection: psycopg.Connection[Any], name: str) -> bool:
    """Take a lock that the server releases when the connection ends, however that happens."""
    row = connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0)) AS taken", (name,)).fetchone()
    return bool(row and row["taken"])
