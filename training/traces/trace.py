"""One trace of the agent, whatever it was read from: its turns, and how each of them ended."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, ToolMessage

from alpha_umi.errors import TrajectoryError
from alpha_umi.nodes.approval_gate import REJECTED
from alpha_umi.nodes.format.trajectory import Call, Trajectory, Turn
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.dataset import Tally

UNFINISHED = "turn that did not come to its end"
OF_ANOTHER = "trace of another agent"
_REJECTED_STEP = "step whose call a person rejected, kept as context"
_OTHER_TOOLS = "turn from which on tools are called that are not among --tools"


@dataclass(frozen=True, slots=True)
class Trace:
    """What the agent did in one thread or run.

    Args:
        id: Names it.
        where: What it was read from, for messages to the user.
        trajectory: All turns, and the tools that were on offer.
        finishes: How each turn ended, in the words of the state's ``finish``; None where it did not.
        n_context: How many of the first turns belong to other traces.
        scores: The mean of each kind of feedback on it.
        ratings: A person's thumb on each turn: 1 is up, -1 is down, None is neither.
    """

    id: str
    where: str
    trajectory: Trajectory
    finishes: tuple[str | None, ...]
    n_context: int = 0
    scores: Mapping[str, float] = field(default_factory=dict)
    ratings: tuple[int | None, ...] = ()


def make_trace(
    id: str,
    where: str,
    messages: Sequence[AnyMessage],
    tools: Sequence[ToolSpec],
    tally: Tally,
    *,
    finish: str | None,
    ends: Mapping[str, str] | None = None,
    unlearnt: Collection[str] = (),
    ratings: Mapping[str, int | None] | None = None,
) -> Trace | None:
    """Read the messages of a state; None, and counted, if no turn is left.

    A step whose call a person rejected is read, but not trained; so is one of the messages `unlearnt`, by id. It ends
    before the first turn that ran a tool that is not among `tools`.

    Args:
        id: Names the trace.
        where: What it was read from.
        messages: Of the state.
        tools: On offer.
        tally: Counts what is changed or left out.
        finish: How the last turn ended.
        ends: How turns before it ended, by the id of their last message; what is missing is told by their last step.
        unlearnt: Ids of the messages that must not be learnt.
        ratings: A person's thumbs on turns, by the ids of their human messages.

    Raises:
        TrajectoryError: If the messages form no trajectory.
    """
    rejected = set(_list_rejected(messages))
    for _ in rejected.difference(unlearnt):
        tally.repair(_REJECTED_STEP, where)
    marked = [_mark(message) if message.id in {*rejected, *unlearnt} else message for message in messages]
    trajectory = Trajectory.from_messages(marked, tools)
    if not trajectory.turns:
        raise TrajectoryError("it holds no question.")
    parts = _split(messages)
    last_ids = [part[-1].id for part in parts]
    known = ends or {}
    finishes = [
        known.get(last or "") or _read_finish(turn) for last, turn in zip(last_ids, trajectory.turns, strict=True)
    ]
    finishes[-1] = finish
    foreign = next((i for i, turn in enumerate(trajectory.turns) if _find_foreign(turn, tools)), None)
    if foreign is not None:
        call = _find_foreign(trajectory.turns[foreign], tools)
        tally.drop(_OTHER_TOOLS, f"{where}: {call.name}" if call else where)
        if not foreign:
            return None
        trajectory = Trajectory(trajectory.tools, trajectory.turns[:foreign], trajectory.system)
    thumbs = tuple((ratings or {}).get(part[0].id or "") for part in parts[:foreign])
    return Trace(id, where, trajectory, tuple(finishes[:foreign]), ratings=thumbs)


def _mark(message: AnyMessage) -> AnyMessage:
    return message.model_copy(update={"additional_kwargs": {**message.additional_kwargs, "weight": 0}})


def _list_rejected(messages: Sequence[BaseMessage]) -> Iterator[str]:
    """Yield the ids of the messages of which a person let a call not run."""
    plan = ""
    for message in messages:
        if isinstance(message, AIMessage):
            plan = message.id or ""
        elif isinstance(message, ToolMessage) and message.status == "error" and message.text.startswith(REJECTED):
            yield plan


def _split(messages: Sequence[AnyMessage]) -> list[list[AnyMessage]]:
    """Return the messages of each turn."""
    turns: list[list[AnyMessage]] = []
    for message in messages:
        if isinstance(message, HumanMessage):
            turns.append([message])
        elif turns:
            turns[-1].append(message)
    return turns


def _read_finish(turn: Turn) -> str | None:
    end = turn.steps[-1] if turn.steps else None
    if end is None or end.decision == "caller":
        return None
    return "answer" if (end.answer or "").strip() else "give up"


def _find_foreign(turn: Turn, tools: Sequence[ToolSpec]) -> Call | None:
    """Return the first call of a turn that ran, though there is no such tool."""
    names = {tool.name for tool in tools}
    calls = (call for step in turn.steps for call in step.calls)
    return next((c for c in calls if c.name not in names and c.observation and not c.observation.is_error), None)


def get_state(values: Any) -> Mapping[str, Any] | None:
    """Return a state of our agent, None if it is that of another agent."""
    is_ours = isinstance(values, Mapping) and "finish" in values and isinstance(values.get("messages"), list)
    return values if is_ours else None
