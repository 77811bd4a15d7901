"""Chains that lead nowhere: the guard that notices one, and the node that ends it.

The guard reads the transcript alone, so that a resumed or forked run sees the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any, Literal

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage, ToolCall, ToolMessage

from alpha_umi.nodes.format.trajectory import parse_message
from alpha_umi.nodes.role import Update, get_pending
from alpha_umi.nodes.state import UmiState, list_turn

_MAX_CALL_CHARS = 200
_HOW = (
    "Doing so again brings nothing new. Plan something different, or write 'Next: conclusion.' if the task can be "
    "answered from what is known, or 'Next: give up.'"
)


def give_up(state: UmiState) -> Update:
    """Begin the chain again while `max_restarts` allows it, else finish without an answer.

    The reason is the planner's own, unless its plan could not be read or the guard stopped it. A chain that is begun
    again leaves nothing in the transcript.
    """
    if state["n_restarts"] < state["settings"]["max_restarts"]:
        return {
            "messages": remove_chain(state),
            "decision": None,
            "reason": None,
            "stall": None,
            "n_steps": 0,
            "n_bad_plans": 0,
            "n_restarts": state["n_restarts"] + 1,
        }
    rationale = parse_message(get_pending(state)).rationale
    return {"finish": "give up", "reason": state["reason"] or rationale or "The planner gave no reason."}


def route_give_up(state: UmiState) -> Literal["restart", "end"]:
    """Go back to the planner if the chain was removed."""
    return "end" if state["finish"] else "restart"


def remove_chain(state: UmiState, n_steps: int = 0) -> list[RemoveMessage]:
    """Return the messages that remove the current turn's steps from the transcript, except for the first `n_steps`."""
    turn = list_turn(state)
    plans = [i for i, message in enumerate(turn) if isinstance(message, AIMessage)]
    begin = plans[n_steps] if n_steps < len(plans) else len(turn)
    return [RemoveMessage(id=message.id or "") for message in turn[begin:]]


def find_stall(messages: Sequence[AnyMessage], settings: Mapping[str, Any]) -> str | None:
    """Say why the current turn makes no progress by the run's `repeat_limit` and `failure_limit`, or return None."""
    return find_repeat(messages, settings["repeat_limit"]) or _find_failures(messages, settings["failure_limit"])


def find_repeat(messages: Sequence[AnyMessage], limit: int | None) -> str | None:
    """Say which call of the newest step was made `limit` times in this turn; it need not have run yet."""
    steps = [message.tool_calls for message in _list_turn(messages) if isinstance(message, AIMessage)]
    keys = [make_key(call["name"], call["args"]) for step in steps for call in step]
    for call in steps[-1] if steps else ():
        n_times = keys.count(make_key(call["name"], call["args"]))
        if limit is not None and n_times >= limit:
            return f"The call {_describe(call)} was made {n_times} times with the same arguments."
    return None


def _find_failures(messages: Sequence[AnyMessage], limit: int | None) -> str | None:
    observations = [message for message in _list_turn(messages) if isinstance(message, ToolMessage)]
    failed = list(takewhile(lambda message: message.status == "error", reversed(observations)))
    if limit is None or len(failed) < limit:
        return None
    newest = next((message.text for message in failed if message.text), "")
    return f"The last {len(failed)} calls failed. The newest fault: {newest[:_MAX_CALL_CHARS]}"


def has_result(messages: Sequence[AnyMessage]) -> bool:
    """Tell whether a call of the current turn went well, so that there is something to answer from."""
    return any(isinstance(message, ToolMessage) and message.status != "error" for message in _list_turn(messages))


def tell_stall(state: UmiState) -> str:
    """Return the hint to the planner when the lack of progress is first noticed; it is given once a turn."""
    if state["stall"]:
        return ""
    reason = find_stall(list_turn(state), state["settings"])
    return f"{reason} {_HOW}" if reason else ""


def make_key(name: str, arguments: Mapping[str, Any] | str) -> str:
    """Return what two calls have in common that are the same."""
    return json.dumps([name, arguments], sort_keys=True)


def _list_turn(messages: Sequence[AnyMessage]) -> Sequence[AnyMessage]:
    """Return what follows the last human message."""
    asked = [i for i, message in enumerate(messages) if isinstance(message, HumanMessage)]
    return messages[asked[-1] + 1 :] if asked else messages


def _describe(call: ToolCall) -> str:
    text = f"{call['name']} {json.dumps(call['args'], ensure_ascii=False)}"
    return text if len(text) <= _MAX_CALL_CHARS else f"{text[:_MAX_CALL_CHARS]} …"
