"""Claims on threads: while one process works on a thread, others wait or end with a clear error."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config
from langgraph.constants import CONFIG_KEY_CHECKPOINTER

from alpha_umi.errors import StorageError

_TASK = "__pregel_task_id"
"""One of LangGraph's private constants; it is in the config of a run inside another."""
_CLAIM_TIMEOUT_S, _CLAIM_PAUSE_S = 10.0, 0.05
_claimed: ContextVar[frozenset[tuple[int, str]]] = ContextVar("claimed threads", default=frozenset())


class ThreadInUse(StorageError):
    """A thread that is being worked on elsewhere."""

    def __init__(self, thread: str) -> None:
        """Say what to do."""
        super().__init__(
            f"Thread {thread!r} is in use by another process: wait until that is done, or use another one."
        )


class Claimable:
    """What has threads that can be claimed: a checkpointer on a database."""

    @property
    def unwrapped(self) -> Self:
        """Itself, also through a wrapper that hands attributes on; see `unwrap`."""
        return self

    @contextmanager
    def claim(self, thread: str) -> Iterator[None]:
        """Keep others off a thread while it is worked on; a process that ends gives its claims up.

        Every run takes it by itself (`claim_run`). Taken around several, it keeps others off in between.

        Raises:
            StorageError: If another process, or another task of this one, has the thread.
        """
        key = (id(self), thread)
        with self._lock_thread(thread):
            _claimed.set(_claimed.get() | {key})
            try:
                yield
            finally:
                _claimed.set(_claimed.get() - {key})

    def _lock_thread(self, thread: str) -> AbstractContextManager[None]:
        raise NotImplementedError

    def lock_for_run(self, thread: str) -> AbstractContextManager[None]:
        """Return what claims a thread for one run; nothing if the run is within a `claim`."""
        return nullcontext() if (id(self), thread) in _claimed.get() else self._lock_thread(thread)


def unwrap(saver: object) -> object:
    """Return our checkpointer where LangGraph's server has put its own around it; any other as it is."""
    return getattr(saver, "unwrapped", saver)


@contextmanager
def lock_file(folder: Path, thread: str) -> Iterator[None]:
    """Lock a file that represents a thread; a process that ends lets go of it.

    Raises:
        StorageError: If another has the lock, or there can be none.
    """
    name = hashlib.sha256(thread.encode()).hexdigest()[:32]
    try:
        folder.mkdir(exist_ok=True)
        lock = FileLock(folder / name, timeout=0, thread_local=False)  # another thread may end an async run
        lock.acquire()
    except Timeout:
        raise ThreadInUse(thread) from None
    except OSError as error:
        raise StorageError(f"Thread {thread!r} cannot be locked in {str(folder)!r}: {error}.") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def claim_run(saver: object, config: RunnableConfig | None) -> Iterator[None]:
    """Keep others off the thread of a run while it lasts; a run that is about to end is waited for.

    It does nothing where the checkpointer has no claims, or a graph around has the thread.

    Raises:
        StorageError: If the thread is not free in time.
    """
    make_lock, deadline = _find_lock(saver, config), time.monotonic() + _CLAIM_TIMEOUT_S
    while True:
        lock = make_lock()
        try:
            lock.__enter__()
            break
        except ThreadInUse:
            if time.monotonic() > deadline:
                raise
        time.sleep(_CLAIM_PAUSE_S)
    try:
        yield
    finally:
        lock.__exit__(None, None, None)


@asynccontextmanager
async def aclaim_run(saver: object, config: RunnableConfig | None) -> AsyncIterator[None]:
    """Do what `claim_run` does without blocking the event loop."""
    make_lock, deadline = _find_lock(saver, config), time.monotonic() + _CLAIM_TIMEOUT_S
    while True:
        lock = make_lock()
        taking = asyncio.ensure_future(asyncio.to_thread(lock.__enter__))
        try:
            await asyncio.shield(taking)
            break
        except ThreadInUse:
            if time.monotonic() > deadline:
                raise
        except asyncio.CancelledError:
            await asyncio.wait([taking])
            if taking.exception() is None:
                await asyncio.to_thread(lock.__exit__, None, None, None)
            raise
        await asyncio.sleep(_CLAIM_PAUSE_S)
    try:
        yield
    finally:
        await asyncio.to_thread(lock.__exit__, None, None, None)


def _find_lock(saver: object, config: RunnableConfig | None) -> Callable[[], AbstractContextManager[Any]]:
    configurable = ensure_config(config)["configurable"]
    saver, thread = unwrap(configurable.get(CONFIG_KEY_CHECKPOINTER, saver)), configurable.get("thread_id")
    if _TASK in configurable or thread is None or not isinstance(saver, Claimable):
        return nullcontext
    return partial(saver.lock_for_run, str(thread))
