"""What a person is asked about a call, and the decision that an answer on the page becomes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langgraph.types import Interrupt

from alpha_umi.errors import InputError
from alpha_umi.nodes.approval import ApprovalDecision
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.tools.spec.arguments import render_violations
from alpha_umi.ui.view import render_arguments


@dataclass(frozen=True, slots=True)
class AskedView:
    """A call that waits for a decision.

    Args:
        question: Id of the question that it is part of; a question can be about several calls.
        id: Names the call in a decision.
        name: Of the tool.
        arguments: As JSON.
        reason: Why a person is asked.
        allowed: What can be decided.
        fault: What was wrong with the last answer.
    """

    question: str
    id: str
    name: str
    arguments: str
    reason: str
    allowed: tuple[ApprovalDecision, ...]
    fault: str | None


def list_asked(interrupts: Sequence[Interrupt]) -> Iterator[AskedView]:
    """Yield the calls that the questions of a thread are about."""
    for each in interrupts:
        request: Mapping[str, Any] = each.value
        for action, review in zip(request["action_requests"], request["review_configs"], strict=True):
            yield AskedView(
                question=each.id,
                id=action["id"],
                name=action["name"],
                arguments=render_arguments(action["args"]),
                reason=action["reason"],
                allowed=tuple(review["allowed_decisions"]),
                fault=str(request["error"]).partition(" Resume with ")[0] if request.get("error") else None,
            )


def make_decision(
    asked: AskedView, kind: ApprovalDecision, text: str, tools: Mapping[str, ToolSpec]
) -> Mapping[str, Any]:
    """Return the decision in the form that the agent takes; see docs/reliability.md.

    Args:
        asked: The call.
        kind: What was decided.
        text: Arguments as JSON to edit, the observation to respond, the reason to reject.
        tools: By name; they know what arguments have to be.

    Raises:
        InputError: If the text does not do; it says what to write.
    """
    decision: dict[str, Any] = {"id": asked.id, "type": kind}
    if kind == "edit":
        return {**decision, "edited_action": {"name": asked.name, "args": _read_arguments(asked.name, text, tools)}}
    if kind == "respond" and not text.strip():
        raise InputError("Write what the tool would say.")
    return {**decision, "message": text} if kind in ("respond", "reject") else decision


def _read_arguments(name: str, text: str, tools: Mapping[str, ToolSpec]) -> dict[str, Any]:
    try:
        arguments = json.loads(text)
    except ValueError as error:
        raise InputError(f'That is no JSON ({error}). Write for example {{"expression": "1 + 1"}}.') from error
    if not isinstance(arguments, dict):
        raise InputError('Write one JSON object, for example {"expression": "1 + 1"}.')
    spec = tools.get(name)
    if spec and (wrong := render_violations(spec, spec.make_validator(), arguments)):
        raise InputError("\n".join(wrong.splitlines()[:-1]))  # the last line tells a model to call again
    return arguments
