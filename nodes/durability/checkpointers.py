"""Checkpointers that keep threads on disk, in a SQLite file or in PostgreSQL, each with a ledger in the same database.

They are LangGraph's own, with errors that say what to do, and a claim that keeps a second process off a thread.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    closing,
    contextmanager,
)
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from uuid import UUID

import aiosqlite
from filelock import FileLock, Timeout
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.checkpoint.base import id as checkpoint_id
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from alpha_umi.errors import ConfigError, StorageError
from alpha_umi.nodes.durability.ledger import MemoryLedger, SqliteLedger, import_psycopg, use_write_ahead_log
from alpha_umi.tools.ledger import Ledger

T = TypeVar("T")

IN_MEMORY = ":memory:"
ANSWER_TIMEOUT_S = 60.0
"""Far above what a turn waits for its place among 200 threads."""
NEWEST_THREADS = (
    "SELECT thread_id FROM checkpoints WHERE checkpoint_ns = '' GROUP BY thread_id "
    "ORDER BY MAX(checkpoint_id) DESC LIMIT {}"
)
_OPENING_FAULTS = (sqlite3.Error, OSError)


class DurableSaver(BaseCheckpointSaver[Any]):
    """What the checkpointers here have beside LangGraph's.

    Args of the subclasses are those of LangGraph's checkpointers.
    """

    where: str
    ledger: Ledger
    _faults: ClassVar[tuple[type[Exception], ...]]

    def claim(self, thread: str) -> AbstractContextManager[None]:
        """Keep other processes off a thread while it is worked on; a process that ends gives its claims up.

        Raises:
            StorageError: If another process, or another task of this one, has the thread.
        """
        raise NotImplementedError

    def list_threads(self, limit: int) -> Sequence[str]:
        """Return the names of the threads that changed last, the newest first; of the savers that are not async.

        Raises:
            StorageError: If they cannot be read.
        """
        raise NotImplementedError

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Make a `StorageError` of what the database's driver raises."""
        try:
            yield
        except self._faults as error:
            raise StorageError(
                f"The threads in {self.where!r} cannot be read or written: {str(error).strip()}. Make room there, or "
                "end what locks or stops the database. What was saved before is kept: resume the thread then."
            ) from error

    def put(self, *args: Any, **kwargs: Any) -> RunnableConfig:
        """Save a checkpoint."""
        with self.explained():
            return super().put(*args, **kwargs)

    def put_writes(self, *args: Any, **kwargs: Any) -> None:
        """Save what a finished node wrote."""
        with self.explained():
            super().put_writes(*args, **kwargs)

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Load a checkpoint."""
        with self.explained():
            return _come_after(super().get_tuple(config))

    def list(self, *args: Any, **kwargs: Any) -> Iterator[CheckpointTuple]:
        """Load several checkpoints, newest first."""
        with self.explained():
            yield from super().list(*args, **kwargs)

    def delete_thread(self, thread_id: str) -> None:
        """Delete a thread; what its tools did stays recorded."""
        with self.explained():
            super().delete_thread(thread_id)

    async def aput(self, *args: Any, **kwargs: Any) -> RunnableConfig:
        """Save a checkpoint."""
        with self.explained():
            return await super().aput(*args, **kwargs)

    async def aput_writes(self, *args: Any, **kwargs: Any) -> None:
        """Save what a finished node wrote."""
        with self.explained():
            await super().aput_writes(*args, **kwargs)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Load a checkpoint."""
        with self.explained():
            return _come_after(await super().aget_tuple(config))

    async def alist(self, *args: Any, **kwargs: Any) -> AsyncIterator[CheckpointTuple]:
        """Load several checkpoints, newest first."""
        with self.explained():
            async for found in super().alist(*args, **kwargs):
                yield found

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete a thread; what its tools did stays recorded."""
        with self.explained():
            await super().adelete_thread(thread_id)


def _come_after(found: CheckpointTuple | None) -> CheckpointTuple | None:
    """Give this process's checkpoints later ids than one that was loaded, and return that one.

    The newest checkpoint of a thread is the one with the highest id, and an id begins with the time of day. Where the
    clock was set back, or another machine's is ahead, all that is done from now on would be lost behind the old state.
    """
    if found is not None:
        number = UUID(found.checkpoint["id"]).int
        ticks = number >> 80 << 12 | number >> 64 & 0xFFF  # the time in a UUID of version 6
        last: int | None = checkpoint_id._last_v6_timestamp
        if ticks > (last or 0):  # what was read may be old by now: other threads make ids as well
            checkpoint_id._last_v6_timestamp = ticks  # type: ignore[assignment]  # typed as None
    return found


class _SqliteBase(DurableSaver):
    _faults = (sqlite3.Error,)

    def name_database(self, where: str) -> None:
        """Say where the threads are; the ledger goes there too."""
        self.where = where
        self.ledger = MemoryLedger() if where == IN_MEMORY else SqliteLedger(where)

    @contextmanager
    def claim(self, thread: str) -> Iterator[None]:
        """Lock a file that stands for the thread; see `DurableSaver`."""
        if self.where == IN_MEMORY:
            yield
            return
        name = hashlib.sha256(thread.encode()).hexdigest()[:32]
        folder = Path(f"{self.where}.locks")
        try:
            folder.mkdir(exist_ok=True)
            lock = FileLock(folder / name, timeout=0)
            lock.acquire()
        except Timeout:
            raise make_claim_error(thread) from None
        except OSError as error:
            raise StorageError(f"Thread {thread!r} cannot be locked in {str(folder)!r}: {error}.") from error
        try:
            yield
        finally:
            lock.release()


class DurableSqliteSaver(_SqliteBase, SqliteSaver):
    """Keeps threads in a SQLite file; open one by `open_checkpointer`."""

    def list_threads(self, limit: int) -> Sequence[str]:
        """Return the newest threads; see `DurableSaver`."""
        with self.explained(), self.cursor(transaction=False) as cursor:
            return [name for (name,) in cursor.execute(NEWEST_THREADS.format("?"), (limit,))]


class DurableAsyncSqliteSaver(_SqliteBase, AsyncSqliteSaver):
    """Keeps threads in a SQLite file, for async runs; open one by `open_async_checkpointer`.

    What the driver does not answer in time is asked for once more: under the load of 200 threads a server was seen to
    wait for good for an answer that its driver had given, and all threads wait for the one that is served.
    """

    async def aput(self, *args: Any, **kwargs: Any) -> RunnableConfig:
        """Save a checkpoint."""
        return await self._insist(partial(super().aput, *args, **kwargs))

    async def aput_writes(self, *args: Any, **kwargs: Any) -> None:
        """Save what a finished node wrote."""
        await self._insist(partial(super().aput_writes, *args, **kwargs))

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Load a checkpoint."""
        return await self._insist(partial(super().aget_tuple, config))

    async def _insist(self, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Try twice; saving the same twice is saving it once."""
        for _ in range(2):
            asked = asyncio.create_task(ask())
            try:
                await asyncio.wait([asked], timeout=ANSWER_TIMEOUT_S)
            except asyncio.CancelledError:
                asked.cancel()
                await asyncio.wait([asked], timeout=ANSWER_TIMEOUT_S)
                raise
            if asked.done():
                return asked.result()
            asked.cancel()  # and not waited for, as `wait_for` does: to close its cursor it asks the driver again
        raise StorageError(
            f"The threads in {self.where!r} were not answered for in {2 * ANSWER_TIMEOUT_S:.0f} s. What was saved "
            "before is kept: resume the thread. For many threads at a time use PostgreSQL."
        )


def open_checkpointer(where: str | Path, *, timeout_s: float = 10.0) -> AbstractContextManager[DurableSaver]:
    """Open a checkpointer for `invoke` and `stream`.

    Args:
        where: SQLite file, made if need be, or ``postgresql://user:password@host/database``.
        timeout_s: Seconds to wait for another process that writes, or for a connection.

    Raises:
        ConfigError: If the database cannot be opened, or PostgreSQL's extra is not installed.

    Example:
        >>> with open_checkpointer("threads.sqlite") as saver:  # doctest: +SKIP
        ...     agent = create_umi_agent("hf:smollm2-135m", [add], checkpointer=saver)
    """
    if is_postgres(where):
        import_psycopg()
        from alpha_umi.nodes.durability.postgres import open_postgres  # noqa: PLC0415 - an extra that may not be installed

        return open_postgres(str(where), timeout_s)
    return _open_sqlite(str(where), timeout_s)


def open_async_checkpointer(where: str | Path, *, timeout_s: float = 10.0) -> AbstractAsyncContextManager[DurableSaver]:
    """Open a checkpointer for `ainvoke` and `astream`; see `open_checkpointer`."""
    if is_postgres(where):
        import_psycopg()
        from alpha_umi.nodes.durability.postgres import open_async_postgres  # noqa: PLC0415 - an extra that may not be installed

        return open_async_postgres(str(where), timeout_s)
    return _open_async_sqlite(str(where), timeout_s)


def is_postgres(where: str | Path) -> bool:
    """Tell a PostgreSQL address from a file."""
    return str(where).startswith(("postgresql://", "postgres://"))


def make_claim_error(thread: str) -> StorageError:
    """Return the error of a thread that is being worked on elsewhere."""
    return StorageError(f"Thread {thread!r} is in use by another process: wait until that is done, or use another one.")


@contextmanager
def explain_opening(where: str, faults: tuple[type[Exception], ...]) -> Iterator[None]:
    """Make a `ConfigError` of what goes wrong while a database is opened."""
    try:
        yield
    except faults as error:
        raise ConfigError(
            f"The threads cannot be kept in {where!r}: {str(error).strip()}. Name another place, on the command line "
            "with --database FILE or --checkpointer URL."
        ) from error


@contextmanager
def _open_sqlite(where: str, timeout_s: float) -> Iterator[DurableSaver]:
    with explain_opening(where, _OPENING_FAULTS):
        _prepare_file(where, timeout_s)
        connection = sqlite3.connect(where, timeout=timeout_s, check_same_thread=False)
    with closing(connection):
        saver = DurableSqliteSaver(connection)
        saver.name_database(where)
        with explain_opening(where, _OPENING_FAULTS):
            saver.setup()
        yield saver


@asynccontextmanager
async def _open_async_sqlite(where: str, timeout_s: float) -> AsyncIterator[DurableSaver]:
    with explain_opening(where, _OPENING_FAULTS):
        await asyncio.to_thread(_prepare_file, where, timeout_s)
        connection = await aiosqlite.connect(where, timeout=timeout_s)
    try:
        saver = DurableAsyncSqliteSaver(connection)
        saver.name_database(where)
        with explain_opening(where, _OPENING_FAULTS):
            await saver.setup()
        yield saver
    finally:
        await connection.close()


def _prepare_file(where: str, timeout_s: float) -> None:
    if where == IN_MEMORY:
        return
    Path(where).parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(where, timeout=timeout_s)) as connection:
        use_write_ahead_log(connection, timeout_s)  # which `setup` would try once
