"""All threads of the page: listed, taken up, forked, deleted, in the database of `alpha-umi chat`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from alpha_umi.errors import StorageError
from alpha_umi.graph.checkpointers import open_async_checkpointer
from alpha_umi.graph.config import UmiSettings
from alpha_umi.graph.embed import UmiAgent
from alpha_umi.graph.factory import load_toolbox, make_agent
from alpha_umi.graph.threads import ThreadSummary, fork_thread, make_config, summarize_thread
from alpha_umi.nodes.durability.checkpointers import DurableSaver
from alpha_umi.nodes.durability.claims import aclaim_run
from alpha_umi.nodes.state import UmiContext
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.ui.conversation import Conversation

MAX_LISTED = 100


class Desk:
    """An agent with its threads.

    Args:
        agent: Runs on `saver`.
        saver: An async one.
        context: Settings of all runs.
    """

    def __init__(self, agent: UmiAgent, saver: DurableSaver, context: UmiContext) -> None:
        """Begin without any thread open."""
        self._agent, self._saver, self._context = agent, saver, context
        self._open: dict[str, Conversation] = {}

    @property
    def tools(self) -> Sequence[ToolSpec]:
        """The agent's tools."""
        return self._agent.toolbox.specs

    async def open(self, thread: str) -> Conversation:
        """Take up a thread, or begin one; where nothing runs, what other programs have saved is read.

        Raises:
            AlphaUmiError: If what is kept of it cannot be read.
        """
        found = self._open.get(thread)
        if found is None:
            found = Conversation(self._agent, self._context, self._saver.notes, thread)
        if not found.is_running:
            await found.load()
        return self._open.setdefault(thread, found)

    async def list_threads(self) -> Sequence[ThreadSummary]:
        """Return the threads that changed last, the newest first; one that is damaged has its error as question."""
        found = []
        for name in await self._saver.alist_threads(MAX_LISTED):
            try:
                newest = await self._saver.aget_tuple(make_config(name))
            except StorageError as error:
                found.append(ThreadSummary(name, datetime.fromtimestamp(0, UTC), 0, str(error)))
            else:
                found += [summarize_thread(name, newest)] if newest else []
        return found

    async def fork(self, thread: str, message_id: str) -> str:
        """Begin another thread with all that was said up to a message, and return its name.

        Raises:
            AlphaUmiError: If the thread cannot be forked there.
        """
        return await fork_thread(self._agent, self._saver, thread, message_id)

    async def delete(self, thread: str) -> None:
        """Stop what runs in a thread and delete it with all that was said.

        Raises:
            AlphaUmiError: If another process works on it.
        """
        if found := self._open.pop(thread, None):
            found.stop()
            await found.wait()
        async with aclaim_run(self._saver, make_config(thread)):
            await self._saver.adelete_thread(thread)

    async def stop(self) -> None:
        """Stop all runs; threads can be continued."""
        for each in self._open.values():
            each.stop()
        for each in self._open.values():
            await each.wait()


@asynccontextmanager
async def open_desk(settings: UmiSettings, context: UmiContext, where: str | Path) -> AsyncIterator[Desk]:
    """Build the agent and open its threads.

    Args:
        settings: The configuration.
        context: Settings of all runs.
        where: SQLite file or address of PostgreSQL that keeps the threads.

    Raises:
        ConfigError: If the configuration or the database cannot be used.
    """
    toolbox = load_toolbox(settings)
    async with open_async_checkpointer(where) as saver:
        desk = Desk(make_agent(settings, toolbox=toolbox, checkpointer=saver), saver, context)
        try:
            yield desk
        finally:
            await desk.stop()
