"""Threads and the ledger in PostgreSQL; needs the extra ``postgres``."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from threading import BoundedSemaphore
from typing import Any, Self

import psycopg
import psycopg.conninfo
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from alpha_umi.errors import ConfigError, StorageError
from alpha_umi.nodes.durability.checkpointers import (
    NEWEST_THREADS,
    DurableSaver,
    explain_errors,
    explain_opening,
)
from alpha_umi.nodes.durability.claims import ThreadInUse
from alpha_umi.nodes.durability.ledger import SCHEMA, SqlLedger
from alpha_umi.nodes.durability.notes import Execute
from alpha_umi.nodes.durability.upkeep import Dialect, Statement
from alpha_umi.tools.forks import renew_after_fork

_MAX_CONNECTIONS = 8
_MAX_LEDGER_CONNECTIONS = 4
_CONNECTION: dict[str, Any] = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
_FAULTS = (psycopg.Error,)
_SETUP_TIMEOUT_S = 60.0


class PostgresLedger(SqlLedger):
    """Records in a PostgreSQL database, which may be the one that holds the threads; for any number of machines."""

    def __init__(self, conninfo: str, *, timeout_s: float = 10.0) -> None:
        """Name the database, ``postgresql://user:password@host/database``; the first record makes the table in it."""
        parse_address(conninfo)
        self._conninfo = conninfo
        self._timeout_s = timeout_s
        self._slots = BoundedSemaphore(_MAX_LEDGER_CONNECTIONS)
        self._has_table = False

    @contextmanager
    def _open(self) -> Iterator[Execute]:
        try:
            # A connection per record: nothing to close, to share with a forked child or to repair after a restart.
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
                connection.execute(SCHEMA)
            self._has_table = True


class _HeldConnection:
    """A connection that is a claim: it ends with this process, although a forked child has its socket too."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        renew_after_fork(self)

    def renew(self) -> None:
        """Let go of the socket in the child, without a word to the server."""
        if not self.connection.closed:
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, self.connection.fileno())
            os.close(nothing)


class _PostgresBase(DurableSaver):
    _faults = _FAULTS
    _dialect = Dialect(
        writes="checkpoint_writes",
        value="blob",
        run="metadata ->> 'run_id'",
        copied="jsonb_set(metadata, '{thread_id}', to_jsonb(?::text), false) - 'run_id'",
        blobs="checkpoint_blobs",
    )
    conninfo: str

    @contextmanager
    def _lock_thread(self, thread: str) -> Iterator[None]:
        """Hold an advisory lock, which the server releases when the connection ends."""
        with self.explained():
            connection: psycopg.Connection[Any] = psycopg.connect(self.conninfo, **_CONNECTION)
        held = _HeldConnection(connection)
        with held.connection:
            with self.explained():
                is_ours = _take_lock(connection, f"alpha_umi thread {thread}")
            if not is_ours:
                raise ThreadInUse(thread)
            yield

    def name_database(self, conninfo: str) -> Self:
        """Say where the threads are, and keep the ledger there too."""
        self.conninfo, self.where = conninfo, parse_address(conninfo)
        self.ledger = ledger = PostgresLedger(conninfo)
        self.notes = ledger.make_notes()
        return self


@explain_errors
class DurablePostgresSaver(_PostgresBase, PostgresSaver):
    """Keeps threads in PostgreSQL."""

    def list_threads(self, limit: int) -> Sequence[str]:
        """Return the newest threads; see `DurableSaver`."""
        with self.explained(), self._cursor() as cursor:
            return [row["thread_id"] for row in cursor.execute(NEWEST_THREADS.format("%s"), (limit,))]

    def _execute(self, statements: Sequence[Statement]) -> None:
        with self._cursor() as cursor, cursor.connection.transaction():
            for sql, values in statements:
                cursor.execute(sql.replace("?", "%s"), values)


@explain_errors
class DurableAsyncPostgresSaver(_PostgresBase, AsyncPostgresSaver):
    """Keeps threads in PostgreSQL, for async runs."""

    async def alist_threads(self, limit: int) -> Sequence[str]:
        """Return the newest threads; see `DurableSaver`."""
        with self.explained():
            async with self._cursor() as cursor:
                await cursor.execute(NEWEST_THREADS.format("%s"), (limit,))
                return [row["thread_id"] for row in await cursor.fetchall()]

    async def _aexecute(self, statements: Sequence[Statement]) -> None:
        async with self._cursor() as cursor, cursor.connection.transaction():
            for sql, values in statements:
                await cursor.execute(sql.replace("?", "%s"), values)


@contextmanager
def open_postgres(conninfo: str, timeout_s: float) -> Iterator[DurableSaver]:
    """Open a checkpointer, which connects again after the server has restarted; see `alpha_umi.graph.checkpointers`."""
    with explain_opening(parse_address(conninfo), _FAULTS):
        _make_tables(conninfo, timeout_s)
    options = _make_pool_options(conninfo, timeout_s)
    pool: ConnectionPool[psycopg.Connection[DictRow]] = ConnectionPool(check=ConnectionPool.check_connection, **options)
    with pool:
        yield DurablePostgresSaver(pool).name_database(conninfo)


@asynccontextmanager
async def open_async_postgres(conninfo: str, timeout_s: float) -> AsyncIterator[DurableSaver]:
    """Do what `open_postgres` does for async runs."""
    with explain_opening(parse_address(conninfo), _FAULTS):
        await asyncio.to_thread(_make_tables, conninfo, timeout_s)
    options = _make_pool_options(conninfo, timeout_s)
    pool: AsyncConnectionPool[psycopg.AsyncConnection[DictRow]] = AsyncConnectionPool(
        check=AsyncConnectionPool.check_connection, **options
    )
    async with pool:
        yield DurableAsyncPostgresSaver(pool).name_database(conninfo)


def _make_pool_options(conninfo: str, timeout_s: float) -> dict[str, Any]:
    return {
        "conninfo": conninfo,
        "kwargs": _CONNECTION,
        "min_size": 0,
        "max_size": _MAX_CONNECTIONS,
        "timeout": timeout_s,
        "reconnect_timeout": timeout_s,  # else the next run would wait for the pauses between attempts that failed
        "open": False,
    }


def parse_address(conninfo: str) -> str:
    """Return an address as it may be shown.

    Raises:
        ConfigError: If it cannot be read; the driver's own words, now or when it connects, would quote the password.
    """
    try:
        values = psycopg.conninfo.conninfo_to_dict(conninfo)
        host, port, database = (str(values.get(key, "")) for key in ("host", "port", "dbname"))
        is_readable = "@" not in host + database and port.replace(",", "").isdecimal() == bool(port)
    except psycopg.Error:
        is_readable = False
    if not is_readable:
        raise ConfigError(
            "The address of PostgreSQL cannot be read: write it as postgresql://USER:PASSWORD@HOST:PORT/DATABASE, and "
            "in the password %40 for @, %2F for /, %3A for :, %25 for % and %20 for a space."
        )
    return f"postgresql://{host}:{port or 5432}/{database}"


def _make_tables(conninfo: str, timeout_s: float) -> None:
    """Make the tables, one process after the other: two at one time fail on PostgreSQL's own catalogue."""
    deadline = time.monotonic() + _SETUP_TIMEOUT_S
    with psycopg.connect(conninfo, connect_timeout=math.ceil(timeout_s), **_CONNECTION) as connection:
        # Not `pg_advisory_lock`: CREATE INDEX CONCURRENTLY, which the tables need, waits for those that wait in it.
        while not _take_lock(connection, "alpha_umi setup"):
            if time.monotonic() > deadline:
                raise psycopg.OperationalError("another process has been making the tables for too long")
            time.sleep(0.05)
        PostgresSaver(connection).setup()


def _take_lock(connection: psycopg.Connection[Any], name: str) -> bool:
    """Take a lock that the server releases when the connection ends, however that happens."""
    row = connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0)) AS taken", (name,)).fetchone()
    return bool(row and row["taken"])


def read_conninfo(saver: Any) -> str:
    """Return how LangGraph's checkpointer reaches its database, by a connection or a pool of them."""
    if hasattr(saver.conn, "conninfo"):
        return str(saver.conn.conninfo)
    info = saver.conn.info
    return psycopg.conninfo.make_conninfo(**info.get_parameters(), password=info.password)
