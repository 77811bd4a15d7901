"""One conversation between a person and the agent: a thread, shown on a screen while it runs."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any
from uuid import uuid4

from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command, Interrupt

from alpha_umi.cli.approve import ask_person
from alpha_umi.cli.loop import Loop
from alpha_umi.cli.screen import Screen
from alpha_umi.errors import ConfigError
from alpha_umi.graph.config import UmiSettings
from alpha_umi.graph.factory import UmiAgent, make_agent
from alpha_umi.nodes.state import UmiContext, UmiOutput
from alpha_umi.nodes.trajectory import ROLES, parse_message


@dataclass(frozen=True)
class Outcome:
    """How a turn ended and what it took."""

    output: UmiOutput
    usage: Mapping[str, UsageMetadata]

    def to_json(self) -> str:
        """Return one JSON object: answer, finish, reason, messages, usage by model and in total."""
        total = reduce(add_usage, self.usage.values(), UsageMetadata(input_tokens=0, output_tokens=0, total_tokens=0))
        return json.dumps(
            {
                "answer": self.output["answer"],
                "finish": self.output["finish"],
                "reason": self.output["reason"],
                "messages": [message.model_dump(mode="json") for message in self.output["messages"]],
                "usage": {"models": self.usage, "total": total},
            }
        )


class Session:
    """A person's end of one thread.

    Args:
        agent: The agent, with a checkpointer.
        context: Settings of every run.
        screen: Where the run is shown.
        loop: Where it runs.
        thread: Name of the thread; one that exists is gone on with.
    """

    def __init__(self, agent: UmiAgent, context: UmiContext, screen: Screen, loop: Loop, thread: str | None) -> None:
        """Begin on the given thread."""
        self._agent = agent
        self._context = context
        self._screen = screen
        self._loop = loop
        self.thread = thread or _make_name()

    @property
    def _config(self) -> RunnableConfig:
        return {"configurable": {"thread_id": self.thread}}

    def begin(self) -> None:
        """Leave the thread and begin another."""
        self.thread = _make_name()

    def ask(self, question: str) -> Outcome:
        """Put a question and run until the agent is done."""
        return self._run({"messages": [HumanMessage(question)]})

    def resume(self) -> Outcome:
        """Go on with the turn that was interrupted."""
        return self._run(None)

    def count_turns(self) -> int:
        """Count the questions on the thread."""
        messages = self._loop.run(self._agent.aget_state(self._config)).values.get("messages", [])
        return sum(isinstance(message, HumanMessage) for message in messages)

    def is_interrupted(self) -> bool:
        """Tell whether the last turn was stopped before its end."""
        return bool(self._loop.run(self._agent.aget_state(self._config)).next)

    def _run(self, value: Any) -> Outcome:
        """Run to the end, asking the person whenever the graph does."""
        usage = UsageMetadataCallbackHandler()
        config: RunnableConfig = {**self._config, "callbacks": [usage]}
        try:
            output, interrupts = self._loop.run(self._stream(value, config))
            while interrupts:
                # asked here and not in the loop, whose Ctrl-C would wait for the person's answer
                response = ask_person(interrupts[0].value, self._screen)
                output, interrupts = self._loop.run(self._stream(Command(resume=response), config))
        finally:
            self._screen.end()
        self._show_end(output)
        return Outcome(output, usage.usage_metadata)

    async def _stream(self, value: Any, config: RunnableConfig) -> tuple[UmiOutput, tuple[Interrupt, ...]]:
        """Show what happens and return the last state, with the questions to the person it ends on."""
        output: Any = None
        interrupts: tuple[Interrupt, ...] = ()
        parts = self._agent.astream(
            value,
            config,
            context=self._context,
            stream_mode=["messages", "tasks", "values"],
            durability="sync",  # a turn that is stopped has lost no finished step
            version="v2",
        )
        async with aclosing(parts):  # type: ignore[type-var]  # typed as an iterator, is a generator
            async for part in parts:
                if part["type"] == "messages":
                    self._show_words(*part["data"])
                elif part["type"] == "tasks":
                    self._show_task(part["data"])
                elif part["type"] == "values":
                    output, interrupts = part["data"], part["interrupts"]
        return output, interrupts

    def _show_words(self, message: AnyMessage, metadata: Mapping[str, Any]) -> None:
        node = metadata["langgraph_node"]
        if node in ROLES and isinstance(message, AIMessage) and message.text:
            self._screen.write(node, message.text)

    def _show_task(self, task: Mapping[str, Any]) -> None:
        if "result" not in task:
            self._screen.wait(f"{task['input']['name']} is running" if task["name"] == "tools" else task["name"])
            return
        messages: list[BaseMessage] = task["result"].get("messages", [])
        for message in messages:
            if isinstance(message, ToolMessage):
                self._screen.observe(message.text, is_error=message.status == "error")

    def _show_end(self, output: UmiOutput) -> None:
        """Say why there is no proper answer, unless the planner has just said so itself."""
        last = output["messages"][-1]
        said = parse_message(last).rationale if isinstance(last, AIMessage) else None
        if output["reason"] and output["reason"] != said:
            self._screen.write("gave up" if output["finish"] == "give up" else "step limit", output["reason"])
            self._screen.end()


def _make_name() -> str:
    return uuid4().hex[:8]


@contextmanager
def open_session(
    settings: UmiSettings, screen: Screen, *, approve: bool, database: Path | None, thread: str | None
) -> Iterator[Session]:
    """Build the agent and open its thread.

    Args:
        settings: The configuration.
        screen: Where runs are shown.
        approve: Ask before each tool call.
        database: SQLite file of the threads, made if need be; None keeps the thread in memory.
        thread: Its name; None begins a new one.

    Raises:
        ConfigError: If the configuration or the database cannot be used.
    """
    context = UmiContext(
        max_steps=settings.limits.max_steps, temperature=settings.generation.temperature, approve_tools=approve
    )
    with Loop() as loop:
        stack = AsyncExitStack()
        try:
            saver = loop.run(_open_saver(stack, database))
            yield Session(make_agent(settings, checkpointer=saver), context, screen, loop, thread)
        finally:
            loop.run(stack.aclose())


async def _open_saver(stack: AsyncExitStack, database: Path | None) -> AsyncSqliteSaver:
    try:
        if database is not None:
            database.parent.mkdir(parents=True, exist_ok=True)
        saver = await stack.enter_async_context(AsyncSqliteSaver.from_conn_string(str(database or ":memory:")))
        await saver.setup()
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(
            f"The threads cannot be kept in {str(database)!r}: {error}. Name another file with --database."
        ) from error
    return saver
