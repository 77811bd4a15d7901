"""A thread as far as a run has come, between what is saved: words that are written, observations of a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from langchain_core.messages import AnyMessage, ToolMessage
from langgraph.types import StateSnapshot

from alpha_umi.graph.events import Begun, Event, Moved, Observed, Saved, Words
from alpha_umi.nodes.format.trajectory import Role
from alpha_umi.nodes.state import Tree
from alpha_umi.ui.view import StepView, TurnView, make_turns

_DOING = {"planner": "planning", "caller": "writing the call", "summarizer": "writing the answer"}


@dataclass
class Live:
    """What is known of a thread. `state` is the last that was saved; it is over only if no run goes on."""

    messages: Sequence[AnyMessage] = ()
    state: Mapping[str, Any] = field(default_factory=dict)
    tree: Tree | None = None
    doing: str = ""
    _seen: list[ToolMessage] = field(default_factory=list)
    _words: dict[Role, str] = field(default_factory=dict)

    @classmethod
    def from_snapshot(cls, snapshot: StateSnapshot) -> Live:
        """Read what is saved; where a search has not ended, what is saved of that."""
        inner = [task.state.values for task in snapshot.tasks if isinstance(task.state, StateSnapshot)]
        values = next((each for each in inner if each.get("messages")), snapshot.values)
        return cls(values.get("messages", ()), snapshot.values, values.get("tree"))

    def take(self, event: Event) -> None:
        """Note what has happened."""
        match event:
            case Words(role, text):
                self._words[role] = self._words.get(role, "") + text
            case Begun(node, tool):
                self.doing = f"{tool} is running" if tool else _DOING.get(node, self.doing)
            case Observed(message, _):
                self._seen.append(message)
            case Saved(values, _, is_whole):
                self.messages, self._seen, self._words = values["messages"], [], {}
                self.tree = self.tree if is_whole else values.get("tree")
            case Moved():
                pass  # the state that is saved next has the whole tree

    def make_turns(self, notes: Mapping[str, Mapping[str, Any]], *, is_running: bool) -> tuple[TurnView, ...]:
        """Return what is shown; how the last turn ended is known once nothing runs."""
        known = {message.id for message in self.messages}
        new = [message for message in self._seen if message.id not in known]
        turns = make_turns([*self.messages, *new], notes, {} if is_running else self.state)
        if not is_running or not turns:
            return turns
        return (*turns[:-1], self._go_on(replace(turns[-1], finish=None, reason=None, tree=self.tree)))

    def _go_on(self, turn: TurnView) -> TurnView:
        steps = list(turn.steps)
        if plan := self._words.get("planner"):
            steps.append(StepView(plan))
        if call := self._words.get("caller"):
            steps[-1:] = [replace(step, writing=call) for step in steps[-1:]]
        return replace(turn, steps=tuple(steps), answer=self._words.get("summarizer", turn.answer))
