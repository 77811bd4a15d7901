"""Trajectories as the messages of OpenAI's chat completions, which evaluators of other projects read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.messages import convert_to_messages

from alpha_umi.errors import TrajectoryError
from alpha_umi.nodes.format.trajectory import Call, Step, Trajectory
from alpha_umi.tools.spec import ToolSpec

UNPARSED = "(no JSON object)"
"""The one argument of a call whose arguments are no JSON object; its value is their text."""


def to_openai(trajectory: Trajectory) -> list[dict[str, Any]]:
    """Return one assistant message per step, with its calls, and one tool message per observation.

    The text of an assistant message is the answer, else the rationale. An observation that is an error has the status
    ``error``, which OpenAI does not know.

    Example:
        >>> to_openai(Trajectory((), (Turn("Hi!", (Step("", "conclusion", answer="Hello."),)),)))
        [{'role': 'user', 'content': 'Hi!'}, {'role': 'assistant', 'content': 'Hello.'}]
    """
    messages = [{"role": "system", "content": trajectory.system}] if trajectory.system else []
    for turn in trajectory.turns:
        messages.append({"role": "user", "content": turn.instruction})
        for step in turn.steps:
            messages += [_write_step(step), *(_write_result(call) for call in step.calls if call.observation)]
    return messages


def _write_step(step: Step) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": step.rationale if step.answer is None else step.answer}
    return message | ({"tool_calls": [_write_call(call) for call in step.calls]} if step.calls else {})


def _write_call(call: Call) -> dict[str, Any]:
    arguments = {UNPARSED: call.arguments} if isinstance(call.arguments, str) else call.arguments
    function = {"name": call.name, "arguments": json.dumps(arguments, ensure_ascii=False)}
    return {"id": call.id, "type": "function", "function": function}


def _write_result(call: Call) -> dict[str, Any]:
    assert call.observation is not None
    message = {"role": "tool", "tool_call_id": call.id, "name": call.name, "content": call.observation.text}
    return message | ({"status": "error"} if call.observation.is_error else {})


def from_openai(
    messages: Sequence[Mapping[str, Any]], tools: Sequence[ToolSpec] = (), *, gave_up: bool = False
) -> Trajectory:
    """Read such messages, ours or those of any agent, also as LangChain's; their text before calls is the rationale.

    Args:
        messages: What `to_openai` returns; that the last text gives up, it does not say.
        tools: Those on offer.
        gave_up: Whether the agent did.

    Raises:
        TrajectoryError: If these are no such messages.
    """
    try:
        read = convert_to_messages([dict(each) if isinstance(each, Mapping) else each for each in messages])
    except (ValueError, TypeError, KeyError, NotImplementedError) as error:
        raise TrajectoryError(f"Not messages in OpenAI's form: {str(error)[:300]}") from error
    trajectory = Trajectory.from_messages(read, tools)
    turns = [replace(turn, steps=tuple(map(_restore, turn.steps))) for turn in trajectory.turns]
    if gave_up and turns and turns[-1].steps:
        *before, end = turns[-1].steps
        turns[-1] = replace(turns[-1], steps=(*before, Step(end.answer or end.rationale, "give up", end.calls)))
    return replace(trajectory, turns=tuple(turns))


def _restore(step: Step) -> Step:
    """Put text in the place of arguments that were no object; they are the last ones of a step."""
    calls = [
        replace(call, arguments=call.arguments[UNPARSED])
        if isinstance(call.arguments, dict) and isinstance(call.arguments.get(UNPARSED), str)
        else call
        for call in step.calls
    ]
    return replace(step, calls=tuple(calls))
