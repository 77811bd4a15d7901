"""What the page shows of a thread, as plain values made of its messages, its state and the notes on its turns."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.messages.ai import UsageMetadata, add_usage

from alpha_umi.nodes.durability.notes import RATING
from alpha_umi.nodes.format.certainty import get_probability
from alpha_umi.nodes.format.trajectory import Call, Step, Trajectory
from alpha_umi.nodes.state import Tree


@dataclass(frozen=True, slots=True)
class CallView:
    """A tool call: its arguments as JSON, its observation once there is one."""

    name: str
    arguments: str
    observation: str | None
    is_error: bool


@dataclass(frozen=True, slots=True)
class StepView:
    """A decision of the planner and what followed.

    Args:
        plan: What the planner said; while it writes, what there is of it.
        calls: Made in this step.
        writing: What the caller has written of a call.
        certainty: How probable the plan is, by the model's own logits; None where nobody knows.
        end_id: Id of the step's last message, from where the thread can be forked; None while it is written.
    """

    plan: str
    calls: tuple[CallView, ...] = ()
    writing: str = ""
    certainty: float | None = None
    end_id: str | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """What an answer took; `cached` is the share of prompt tokens that were not computed again."""

    n_tokens: int
    cached: float
    seconds: float | None


@dataclass(frozen=True, slots=True)
class TurnView:
    """A question and what became of it; `id` is that of its human message, and `rating` a person's thumb."""

    id: str
    question: str
    steps: tuple[StepView, ...] = ()
    answer: str = ""
    finish: str | None = None
    reason: str | None = None
    tree: Tree | None = None
    cost: Cost | None = None
    rating: int | None = None

    @property
    def end_id(self) -> str | None:
        """Id of the last message of a turn that is finished."""
        return self.steps[-1].end_id if self.steps and self.finish else None


def make_turns(
    messages: Sequence[AnyMessage], notes: Mapping[str, Mapping[str, Any]], state: Mapping[str, Any]
) -> tuple[TurnView, ...]:
    """Return all turns of a thread.

    Args:
        messages: Of the thread, from its first human message on.
        notes: On its turns, by the ids of their human messages.
        state: Says how the last turn ended, and has the tree of its search.

    Raises:
        TrajectoryError: If these are no messages of an agent.
    """
    parts = list(_split(messages))
    turns = Trajectory.from_messages([message for part in parts for message in part]).turns
    views = [
        _make_turn(part, turn.steps, notes.get(part[0].id or "", {})) for part, turn in zip(parts, turns, strict=True)
    ]
    if views and (ended := {key: state[key] for key in ("finish", "reason", "tree") if state.get(key)}):
        views[-1] = replace(views[-1], **ended)
    return tuple(views)


def _split(messages: Sequence[AnyMessage]) -> Iterator[list[AnyMessage]]:
    """Yield the messages of each turn."""
    part: list[AnyMessage] = []
    for message in messages:
        if isinstance(message, HumanMessage):
            if part:
                yield part
            part = [message]
        elif part:
            part.append(message)
    if part:
        yield part


def _make_turn(messages: Sequence[AnyMessage], steps: Sequence[Step], note: Mapping[str, Any]) -> TurnView:
    question, *rest = messages
    said = [message for message in rest if isinstance(message, AIMessage)]
    views = [_make_step(step, message, rest) for step, message in zip(steps, said, strict=True)]
    end = steps[-1] if steps else None
    gave_up = end is not None and end.decision == "give up"
    answer = (end.answer or "") if end else ""
    return TurnView(
        id=question.id or "",
        question=question.text,
        steps=tuple(views),
        answer=answer,
        finish=note.get("finish") or ("give up" if gave_up else "answer" if answer else None),
        reason=note.get("reason") or (end.rationale if end and gave_up else None),
        tree=note.get("tree"),
        cost=_make_cost(note.get("usage") or _sum_usage(said), note.get("seconds")),
        rating=note.get(RATING),
    )


def _sum_usage(messages: Sequence[AIMessage]) -> UsageMetadata | None:
    usages = [message.usage_metadata for message in messages if message.usage_metadata]
    return reduce(add_usage, usages) if usages else None


def _make_cost(usage: Mapping[str, Any] | None, seconds: float | None) -> Cost | None:
    if not usage:
        return None
    n_prompt = usage.get("input_tokens", 0)
    n_cached = (usage.get("input_token_details") or {}).get("cache_read", 0)
    return Cost(usage.get("total_tokens", 0), n_cached / n_prompt if n_prompt else 0.0, seconds)


def _make_step(step: Step, message: AIMessage, messages: Sequence[AnyMessage]) -> StepView:
    calls = {call["id"] for call in [*message.tool_calls, *message.invalid_tool_calls]}
    ids = [each.id for each in messages if isinstance(each, ToolMessage) and each.tool_call_id in calls]
    return StepView(
        plan=step.rationale,
        calls=tuple(map(_make_call, step.calls)),
        certainty=get_probability(message.response_metadata),
        end_id=(ids[-1] if len(ids) == len(step.calls) else None) if step.calls else message.id,
    )


def _make_call(call: Call) -> CallView:
    seen = call.observation
    is_error = seen is not None and seen.is_error
    return CallView(call.name, render_arguments(call.arguments), seen.text if seen else None, is_error)


def render_arguments(arguments: Any) -> str:
    """Return arguments as a person reads and edits them; a text that is no JSON stays as it is."""
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False, indent=2)
