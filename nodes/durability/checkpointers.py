"""LangGraph's checkpointers on a SQLite file, and what all durable checkpointers add to LangGraph's.

Foreign objects give way to a word about them; errors say what to do; threads can be claimed; a ledger is in the same
database; checkpoint ids ascend whatever the clock does. `alpha_umi.nodes.durability.postgres` has those on PostgreSQL.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, closing, contextmanager, nullcontext
from dataclasses import replace
from functools import lru_cache, partial, wraps
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from uuid import UUID

import aiosqlite
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.checkpoint.base import id as checkpoint_id
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Checkpointer, Interrupt, Send
from pydantic import BaseModel

from alpha_umi.errors import ConfigError, StorageError
from alpha_umi.nodes.durability.claims import Claimable, lock_file
from alpha_umi.nodes.durability.ledger import MemoryLedger, SqliteLedger, use_write_ahead_log
from alpha_umi.nodes.durability.upkeep import Dialect, Statement, Upkeep, keep_latest_in_sqlite

T = TypeVar("T")
logger = logging.getLogger(__name__)
SaverClass = TypeVar("SaverClass", bound="type[DurableSaver]")

IN_MEMORY = ":memory:"
ANSWER_TIMEOUT_S = 60.0
"""Far more than a turn waits while 200 threads are served."""
NEWEST_THREADS = (
    "SELECT thread_id FROM checkpoints WHERE checkpoint_ns = '' GROUP BY thread_id "
    "ORDER BY MAX(checkpoint_id) DESC LIMIT {}"
)
_OPENING_FAULTS = (sqlite3.Error, OSError)
_OPERATIONS = (
    *("put", "put_writes", "get_tuple", "list"),
    *("delete_thread", "delete_for_runs", "copy_thread", "prune"),
)
_MAX_DEPTH = 20
_LAST_TIMESTAMP = "_last_v6_timestamp"
"""Of LangGraph's module of checkpoint ids, which offers no public way to make them later than a given one."""


class StorableSerializer(JsonPlusSerializer):
    """Serializer of a checkpointer that stores a word in place of what its own, `strict`, cannot store.

    Without it a foreign object in a message, a question or an answer to one ends the run and blocks its thread.
    """

    def __init__(self, strict: SerializerProtocol) -> None:  # LangGraph asks for this base class, not for its fields
        """Remember the serializer that does the work."""
        self.strict = strict

    def with_msgpack_allowlist(self, extra_allowlist: Iterable[tuple[str, ...] | type]) -> StorableSerializer:
        """Return one that may load further types."""
        if not isinstance(self.strict, JsonPlusSerializer):
            return self
        return StorableSerializer(self.strict.with_msgpack_allowlist(extra_allowlist))

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """Serialize an object, or what can be stored of it."""
        try:
            return self.strict.dumps_typed(obj)
        except Exception:  # a foreign object may raise anything while it is read
            return self.strict.dumps_typed(replace_foreign(obj, self.strict))

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """Read what was serialized.

        Raises:
            StorageError: If that cannot be read: it is damaged, or was written by something else.
        """
        with _explaining_damage():
            return self.strict.loads_typed(data)


@contextmanager
def _explaining_damage(faults: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Make a `StorageError` of whatever damaged bytes lead to; not of `faults`, which are the database's."""
    try:
        yield
    except Exception as error:
        if isinstance(error, (StorageError, *faults)):
            raise
        fault = f"{type(error).__name__}: {error}"
        raise StorageError(
            f"What is stored of a thread cannot be read ({fault:.200}). Put back a copy of the database, or delete "
            "the thread."
        ) from error


def store_foreign(saver: Checkpointer) -> Checkpointer:
    """Let a checkpointer store what it can of foreign objects, and return it."""
    if isinstance(saver, BaseCheckpointSaver) and not isinstance(saver.serde, StorableSerializer):
        saver.serde = StorableSerializer(saver.serde)
    return saver


def can_store(value: Any, serde: SerializerProtocol) -> bool:
    """Say whether a value comes back from a checkpoint."""
    serde = serde.strict if isinstance(serde, StorableSerializer) else serde
    try:
        serde.loads_typed(serde.dumps_typed(value))
    except Exception:  # a foreign object may raise anything while it is read
        return False
    return True


def replace_foreign(value: Any, serde: SerializerProtocol, path: str = "", depth: int = 0) -> Any:
    """Return a value with a word, in it and in the log, in place of each part that cannot be stored."""
    if can_store(value, serde):
        return value

    def inside(part: Any, name: object) -> Any:
        return replace_foreign(part, serde, f"{path}.{name}".lstrip("."), depth + 1)

    replaced: Any = None
    if depth > _MAX_DEPTH:
        pass
    elif isinstance(value, Mapping):
        replaced = {key: inside(part, key) for key, part in value.items() if can_store(key, serde)}
    elif isinstance(value, list | tuple | set | frozenset | deque):
        replaced = [inside(part, i) for i, part in enumerate(value)]
    elif isinstance(value, Send):
        replaced = Send(value.node, inside(value.arg, value.node))
    elif isinstance(value, BaseModel):
        fields = vars(value) | (value.__pydantic_extra__ or {})
        replaced = value.model_copy(update={name: inside(part, name) for name, part in fields.items()})
    elif isinstance(value, Interrupt):
        replaced = replace(value, value=inside(value.value, "interrupt"))
    elif isinstance(value, Real):
        replaced = int(value) if isinstance(value, Integral) else float(value)
    if replaced is not None and can_store(replaced, serde):
        return replaced
    _warn_dropped(type(value).__qualname__, path, id(value))
    return f"({type(value).__qualname__}, not stored)"


@lru_cache(maxsize=1000)  # a state is saved at every step
def _warn_dropped(kind: str, path: str, _: int) -> None:
    logger.warning(
        "A %s (%s) cannot be stored in a checkpoint: a word about it is. Use plain data, or keep the object elsewhere.",
        kind,
        path or "all",
    )


class DurableSaver(Claimable, Upkeep):
    """What the checkpointers here add to LangGraph's; the function that opens one sets `where`, `ledger` and `notes`.

    Args of the subclasses are those of LangGraph's checkpointers.
    """

    where: str
    _faults: ClassVar[tuple[type[Exception], ...]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Let it store what it can of foreign objects."""
        super().__init__(*args, **kwargs)
        self._pid = os.getpid()
        store_foreign(self)

    def list_threads(self, limit: int) -> Sequence[str]:
        """Return the names of the threads that changed last, the newest first; of the savers that are not async.

        Raises:
            StorageError: If they cannot be read.
        """
        raise NotImplementedError

    async def alist_threads(self, limit: int) -> Sequence[str]:
        """Do what `list_threads` does; of the savers that are async."""
        raise NotImplementedError

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Load a checkpoint."""
        with _explaining_damage(self._faults):
            return _keep_ids_ascending(super().get_tuple(config))

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Load a checkpoint."""
        with _explaining_damage(self._faults):
            return _keep_ids_ascending(await super().aget_tuple(config))

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Make a `StorageError` of what the database's driver raises, and of its use in a forked child.

        The connections are the parent's, and the threads that serve them run only there.
        """
        if os.getpid() != self._pid:
            raise StorageError(
                f"The threads in {self.where!r} were opened before this process was forked: open them here."
            )
        try:
            yield
        except self._faults as error:
            raise StorageError(
                f"The threads in {self.where!r} cannot be read or written: {str(error).strip()}. Make room there, or "
                "end what locks or stops the database. What was saved before is kept: resume the thread then."
            ) from error

    async def _run(self, operation: Callable[[], Awaitable[T]]) -> T:
        return await operation()


def explain_errors(cls: SaverClass) -> SaverClass:
    """Make every operation of a checkpointer raise `StorageError` where its database's driver fails."""
    for name in (*_OPERATIONS, *(f"a{name}" for name in _OPERATIONS)):
        setattr(cls, name, _explain(getattr(cls, name)))
    return cls


def _explain(operation: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(operation)
    def run(self: DurableSaver, *args: Any, **kwargs: Any) -> Any:
        with self.explained():
            return operation(self, *args, **kwargs)

    @wraps(operation)
    def iterate(self: DurableSaver, *args: Any, **kwargs: Any) -> Iterator[Any]:
        with self.explained():
            yield from operation(self, *args, **kwargs)

    @wraps(operation)
    async def run_async(self: DurableSaver, *args: Any, **kwargs: Any) -> Any:
        with self.explained():
            return await self._run(partial(operation, self, *args, **kwargs))

    @wraps(operation)
    async def iterate_async(self: DurableSaver, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        with self.explained():
            async for found in operation(self, *args, **kwargs):
                yield found

    if inspect.isasyncgenfunction(operation):
        return iterate_async
    if inspect.iscoroutinefunction(operation):
        return run_async
    return iterate if inspect.isgeneratorfunction(operation) else run


def _keep_ids_ascending(found: CheckpointTuple | None) -> CheckpointTuple | None:
    """Give this process's checkpoints later ids than one that was loaded, and return that one.

    The newest checkpoint of a thread is the one with the highest id, and an id begins with the time of day. Where the
    clock was set back, or another machine's is ahead, all that is done from now on would be lost behind the old state.
    """
    if found is not None:
        if not isinstance(found.metadata, Mapping):
            raise TypeError("the metadata of a checkpoint are no mapping")
        number = UUID(found.checkpoint["id"]).int
        ticks = number >> 80 << 12 | number >> 64 & 0xFFF  # the time in a UUID of version 6
        if ticks > (getattr(checkpoint_id, _LAST_TIMESTAMP) or 0):  # other threads make ids as well: read it last
            setattr(checkpoint_id, _LAST_TIMESTAMP, ticks)
    return found


class _SqliteBase(DurableSaver):
    _faults = (sqlite3.Error,)
    _dialect = Dialect(
        writes="writes",
        value="value",
        run="json_extract(CAST(metadata AS TEXT), '$.run_id')",
        copied="CAST(json_remove(json_replace(CAST(metadata AS TEXT), '$.thread_id', ?), '$.run_id') AS BLOB)",
    )

    def _keep_latest(self, thread_ids: Sequence[str]) -> None:
        self._execute(keep_latest_in_sqlite(thread_ids))

    async def _akeep_latest(self, thread_ids: Sequence[str]) -> None:
        await self._aexecute(keep_latest_in_sqlite(thread_ids))

    def _lock_thread(self, thread: str) -> AbstractContextManager[None]:
        return nullcontext() if self.where == IN_MEMORY else lock_file(Path(f"{self.where}.locks"), thread)


@explain_errors
class DurableSqliteSaver(_SqliteBase, SqliteSaver):
    """Keeps threads in a SQLite file."""

    def list_threads(self, limit: int) -> Sequence[str]:
        """Return the newest threads; see `DurableSaver`."""
        with self.explained(), self.cursor(transaction=False) as cursor:
            return [name for (name,) in cursor.execute(NEWEST_THREADS.format("?"), (limit,))]

    def _execute(self, statements: Sequence[Statement]) -> None:
        with self.lock, self.conn:
            for statement in statements:
                self.conn.execute(*statement)


@explain_errors
class DurableAsyncSqliteSaver(_SqliteBase, AsyncSqliteSaver):
    """Keeps threads in a SQLite file, for async runs.

    What the driver does not answer in time is asked for a second time: under the load of 200 threads a server was seen
    to wait for ever for an answer that its driver had given, and all threads wait for the one that is served.
    """

    async def alist_threads(self, limit: int) -> Sequence[str]:
        """Return the newest threads; see `DurableSaver`."""
        with self.explained():
            async with self.lock, self.conn.execute(NEWEST_THREADS.format("?"), (limit,)) as cursor:
                return [name for (name,) in await cursor.fetchall()]

    async def _run(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Try twice; saving or deleting the same twice is doing it once."""
        for _ in range(2):
            asked = asyncio.ensure_future(operation())
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
            f"The threads in {self.where!r} did not answer within {2 * ANSWER_TIMEOUT_S:.0f} s. What was saved "
            "before is kept: resume the thread. For many threads at a time use PostgreSQL."
        )

    async def _aexecute(self, statements: Sequence[Statement]) -> None:
        async with self.lock:
            try:
                for statement in statements:
                    await self.conn.execute(*statement)
                await self.conn.commit()
            except BaseException:
                await self.conn.rollback()
                raise


@contextmanager
def open_sqlite(where: str, timeout_s: float) -> Iterator[DurableSaver]:
    """Open a checkpointer on a SQLite file; see `alpha_umi.graph.checkpointers`."""
    with explain_opening(where, _OPENING_FAULTS):
        _prepare_file(where, timeout_s)
        connection = sqlite3.connect(where, timeout=timeout_s, check_same_thread=False)
    with closing(connection):
        saver = DurableSqliteSaver(connection)
        _keep_records(saver, where)
        with explain_opening(where, _OPENING_FAULTS):
            saver.setup()
        yield saver


@asynccontextmanager
async def open_async_sqlite(where: str, timeout_s: float) -> AsyncIterator[DurableSaver]:
    """Do what `open_sqlite` does for async runs."""
    with explain_opening(where, _OPENING_FAULTS):
        await asyncio.to_thread(_prepare_file, where, timeout_s)
        connection = await aiosqlite.connect(where, timeout=timeout_s)
    try:
        saver = DurableAsyncSqliteSaver(connection)
        _keep_records(saver, where)
        with explain_opening(where, _OPENING_FAULTS):
            await saver.setup()
        yield saver
    finally:
        await connection.close()


def _prepare_file(where: str, timeout_s: float) -> None:
    if where == IN_MEMORY:
        return
    Path(where).parent.mkdir(parents=True, exist_ok=True)
    if Path(where).exists() and not Path(where).is_file():  # to open a pipe waits for its other end
        raise sqlite3.OperationalError("it is no file")
    with closing(sqlite3.connect(where, timeout=timeout_s)) as connection:
        use_write_ahead_log(connection, timeout_s)  # which `setup` would try once


def _keep_records(saver: DurableSaver, where: str) -> None:
    ledger = MemoryLedger() if where == IN_MEMORY else SqliteLedger(where)
    saver.where, saver.ledger, saver.notes = where, ledger, ledger.make_notes()


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
