"""One thread on the page: what is known of it, and what a person can do; several pages can show the same."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from functools import cached_property
from typing import Any

from langgraph.types import Interrupt

from alpha_umi.errors import AlphaUmiError, explain, hide_passwords
from alpha_umi.graph.embed import UmiAgent
from alpha_umi.graph.events import make_input, make_resume, stream_events
from alpha_umi.graph.threads import make_config
from alpha_umi.nodes.approval import ApprovalDecision
from alpha_umi.nodes.durability.notes import RATING, Notes
from alpha_umi.nodes.state import UmiContext
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.ui.asked import AskedView, list_asked, make_decision
from alpha_umi.ui.live import Live
from alpha_umi.ui.view import TurnView

_logger = logging.getLogger(__name__)
_KEPT = ("finish", "reason", "usage", "tree")
"""What a thread's state has of its last turn alone."""


class Conversation:
    """A thread, and the run that goes on in it, which does not end with the page.

    Args:
        agent: Runs the thread.
        context: Settings of its runs.
        notes: Where notes on its turns are kept.
        thread: Its name.
    """

    def __init__(self, agent: UmiAgent, context: UmiContext, notes: Notes, thread: str) -> None:
        """Take up the thread; `load` reads what is kept of it."""
        self.thread = thread
        self.version = 0
        self.error: str | None = None
        self._agent, self._context, self._kept = agent, context, notes
        self._live = Live()
        self._notes: dict[str, Mapping[str, Any]] = {}
        self._interrupts: Sequence[Interrupt] = ()
        self._has_tasks = False
        self._running: asyncio.Task[None] | None = None
        self._streaming: asyncio.Task[None] | None = None
        self._is_stopping = False

    @cached_property
    def tools(self) -> Mapping[str, ToolSpec]:
        """The agent's tools by name."""
        return {spec.name: spec for spec in self._agent.toolbox.specs}

    @property
    def is_running(self) -> bool:
        """Whether the agent works."""
        return self._running is not None

    @property
    def doing(self) -> str:
        """What the agent is doing, for a person who waits."""
        return "stopping" if self._is_stopping else self._live.doing or "starting"

    @property
    def turns(self) -> tuple[TurnView, ...]:
        """What was asked and answered."""
        return self._live.make_turns(self._notes, is_running=self.is_running)

    @property
    def asked(self) -> tuple[AskedView, ...]:
        """The calls that wait for a person."""
        return () if self.is_running else tuple(list_asked(self._interrupts))

    @property
    def is_stopped(self) -> bool:
        """Whether the last turn was stopped before its end, so that it can be continued."""
        return self._has_tasks and not self._interrupts and not self.is_running

    async def load(self) -> None:
        """Read what is kept of the thread."""
        snapshot = await self._agent.aget_state(make_config(self.thread), subgraphs=True)
        self._live = Live.from_snapshot(snapshot)
        self._interrupts, self._has_tasks = snapshot.interrupts, bool(snapshot.tasks)
        self._notes = dict(await asyncio.to_thread(self._kept.read, self.thread))
        self.version += 1

    def ask(self, question: str) -> None:
        """Ask something; nothing happens while the agent works or waits for a decision."""
        if not (self._interrupts or self.is_running):
            given = make_input(question)
            self._live.messages = [*self._live.messages, *given["messages"]]
            self._start(given)

    def go_on(self) -> None:
        """Continue the turn that was stopped."""
        if self.is_stopped:
            self._start(make_input(None))

    def decide(self, asked: AskedView, kind: ApprovalDecision, text: str = "") -> None:
        """Decide on a call; the agent asks again about others of the question.

        Raises:
            InputError: If the text does not do.
        """
        decision = make_decision(asked, kind, text, self.tools)
        self._start(make_resume({asked.question: {"decisions": [decision]}}, self._interrupts))

    def approve_all(self) -> None:
        """Let all calls run that are asked about and can be approved."""
        answers: dict[str, dict[str, list[Any]]] = {}
        for asked in self.asked:
            decisions = answers.setdefault(asked.question, {"decisions": []})["decisions"]
            decisions.append(make_decision(asked, "approve", "", self.tools))
        self._start(make_resume(answers, self._interrupts))

    def stop(self) -> None:
        """Stop the agent; no finished step is lost."""
        if self._running and not self._is_stopping:
            self._is_stopping = True
            self.version += 1
            if self._streaming:
                self._streaming.cancel()

    async def wait(self) -> None:
        """Return when nothing runs any more."""
        while self._running:
            await asyncio.wait([self._running])

    async def rate(self, turn: str, rating: int | None) -> None:
        """Keep a person's thumb on a turn: 1 is up, -1 is down, None takes it back."""
        await self._note(turn, {RATING: rating})
        self.version += 1

    def _start(self, value: Any) -> None:
        if self._running is None:
            self.error, self._is_stopping, self._live.doing = None, False, ""
            self._running = asyncio.create_task(self._run(value))
            self.version += 1

    async def _run(self, value: Any) -> None:
        begun = time.monotonic()
        try:
            if not self._is_stopping:
                self._streaming = asyncio.create_task(self._stream(value))
                await asyncio.wait([self._streaming])
                self.error = _find_error(self._streaming)
            await self.load()
            await self._note_end(time.monotonic() - begun)
        except Exception as error:
            self.error = self.error or describe_error(error)
        finally:
            self._running = self._streaming = None
            self.version += 1

    async def _stream(self, value: Any) -> None:
        events = stream_events(self._agent, value, make_config(self.thread), self._context)
        async with aclosing(events):
            async for event in events:
                self._live.take(event)
                self.version += 1

    async def _note_end(self, seconds: float) -> None:
        """Keep what an answer took, without the time in which a person was asked, and what its state says of it."""
        if not self.turns:
            return
        turn, state = self.turns[-1].id, self._live.state
        values: dict[str, Any] = {"seconds": seconds + (self._notes.get(turn, {}).get("seconds") or 0.0)}
        if not self._has_tasks:
            values |= {key: state[key] for key in _KEPT if state.get(key)}
        await self._note(turn, values)

    async def _note(self, turn: str, values: Mapping[str, Any]) -> None:
        await asyncio.to_thread(self._kept.write, self.thread, turn, values)
        self._notes[turn] = {**self._notes.get(turn, {}), **values}


def _find_error(task: asyncio.Task[None]) -> str | None:
    error = None if task.cancelled() else task.exception()
    return describe_error(error) if isinstance(error, Exception) else None


def describe_error(error: Exception) -> str:
    """Return what a person is told: what went wrong, and what to do next."""
    error = explain(error)
    if isinstance(error, AlphaUmiError):
        return str(error)
    _logger.error("Unexpected: %s", hide_passwords("".join(traceback.format_exception(error))))
    return hide_passwords(f"{type(error).__name__}: {error}. That was not expected; the terminal says more.")
