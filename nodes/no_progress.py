"""The no-progress guard: notices a turn that goes round in circles.

Reads the transcript alone, so that a resumed run or one that travelled in time sees the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolCall, ToolMessage

from alpha_umi.nodes.state import UmiState

_MAX_CALL_CHARS = 200
_HOW = (
    "Doing so again brings nothing new. Plan something different, or write 'Next: conclusion.' if the task can be "
    "answered from what is known, or 'Next: give up.'"
)


def find_stall(messages: Sequence[AnyMessage], settings: Mapping[str, Any]) -> str | None:
    """Say why the current turn makes no progress, or return None.

    Args:
        messages: The transcript; only what follows the last human message counts.
        settings: Of the run: `repeat_limit` and `failure_limit`.
    """
    return find_repeat(messages, settings["repeat_limit"]) or _find_failures(messages, settings["failure_limit"])


def find_repeat(messages: Sequence[AnyMessage], limit: int | None) -> str | None:
    """Say which call of the newest step was made `limit` times in this turn; it need not have run yet."""
    newest: list[ToolCall] | None = None
    keys: list[str] = []
    for message in reversed(messages):
        if isinstance(message, HumanMessage):
            break
        if isinstance(message, AIMessage):
            newest = message.tool_calls if newest is None else newest
            keys += [make_key(call["name"], call["args"]) for call in message.tool_calls]
    for call in newest or []:
        n_times = keys.count(make_key(call["name"], call["args"]))
        if limit is not None and n_times >= limit:
            return f"The call {_describe(call)} was made {n_times} times with the same arguments."
    return None


def _find_failures(messages: Sequence[AnyMessage], limit: int | None) -> str | None:
    n_failed, last = 0, ""
    for message in reversed(messages):
        if isinstance(message, HumanMessage) or (isinstance(message, ToolMessage) and message.status != "error"):
            break
        if isinstance(message, ToolMessage):
            n_failed, last = n_failed + 1, last or message.text
    if limit is None or n_failed < limit:
        return None
    return f"The last {n_failed} calls failed. The newest fault: {last[:_MAX_CALL_CHARS]}"


def make_key(name: str, arguments: Mapping[str, Any] | str) -> str:
    """Return what two calls have in common that are the same."""
    return json.dumps([name, arguments], sort_keys=True)


def _describe(call: ToolCall) -> str:
    text = f"{call['name']} {json.dumps(call['args'], ensure_ascii=False)}"
    return text if len(text) <= _MAX_CALL_CHARS else f"{text[:_MAX_CALL_CHARS]} …"


def tell_stall(state: UmiState) -> str:
    """Return what the planner is told when the guard first notices something; it is told once a turn."""
    if state["stall"]:
        return ""
    reason = find_stall(state["messages"], state["settings"])
    return f"{reason} {_HOW}" if reason else ""


def has_result(messages: Sequence[AnyMessage]) -> bool:
    """Tell whether a call of the current turn went well, so that there is something to answer from."""
    for message in reversed(messages):
        if isinstance(message, HumanMessage):
            return False
        if isinstance(message, ToolMessage) and message.status != "error":
            return True
    return False
