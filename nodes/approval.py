"""The gate before any tool runs: asks a person where the settings say so.

A node of its own, because LangGraph runs an interrupted node again from its beginning on resume. The request and the
response have the shape of LangChain's human-in-the-loop middleware, so existing inbox UIs work.
"""

from __future__ import annotations

from typing import Any, Literal

from langchain_core.messages import AIMessage, HumanMessage, ToolCall, ToolMessage
from langgraph.types import Send, interrupt

from alpha_umi.nodes.role import Update
from alpha_umi.nodes.state import ToolTask, UmiState

_DECISIONS = ("approve", "edit", "reject")
_HOW = (
    'Resume with {"decisions": [{"type": "approve"} | {"type": "reject", "message": "why"} | '
    '{"type": "edit", "edited_action": {"name": "…", "args": {…}}}]}, one decision per call, in order.'
)


def list_open_calls(state: UmiState) -> list[ToolCall]:
    """Return the calls of the newest step that no tool message answers yet."""
    answered: set[str] = set()
    for message in reversed(state["messages"]):
        if isinstance(message, ToolMessage):
            answered.add(message.tool_call_id)
        elif isinstance(message, AIMessage):
            return [call for call in message.tool_calls if call["id"] not in answered]
        elif isinstance(message, HumanMessage):
            break
    return []


def approval(state: UmiState) -> Update:
    """Ask for a decision on every open call, if the run was started with `approve_tools`."""
    if not state["settings"]["approve_tools"]:
        return {}
    calls = list_open_calls(state)
    request = _make_request(calls)
    fault = find_fault(response := interrupt(request), len(calls))
    while fault:
        fault = find_fault(response := interrupt({**request, "error": f"{fault} {_HOW}"}), len(calls))
    return _apply(state, calls, response["decisions"])


def route_approval(state: UmiState) -> list[Send] | Literal["planner"]:
    """Send each call that may run to the tools node on its own, so that a resume repeats only unfinished ones."""
    calls = list_open_calls(state)
    approve = state["settings"]["approve_tools"]
    tasks = [
        ToolTask(name=call["name"], arguments=call["args"], id=call["id"] or "", approve=approve) for call in calls
    ]
    return [Send("tools", task) for task in tasks] or "planner"


def _make_request(calls: list[ToolCall]) -> dict[str, Any]:
    return {
        "action_requests": [
            {"name": call["name"], "args": call["args"], "description": f"Run tool {call['name']!r}?"} for call in calls
        ],
        "review_configs": [
            {"action_name": name, "allowed_decisions": list(_DECISIONS)}
            for name in dict.fromkeys(call["name"] for call in calls)
        ],
    }


def find_fault(response: Any, n_calls: int) -> str | None:
    """Say what is wrong with a person's response, or None."""
    decisions = response.get("decisions") if isinstance(response, dict) else None
    if not isinstance(decisions, list) or len(decisions) != n_calls:
        return f"Expected {n_calls} decision(s)."
    for decision in decisions:
        kind = decision.get("type") if isinstance(decision, dict) else None
        if kind not in _DECISIONS:
            return f"{kind!r} is not one of {', '.join(_DECISIONS)}."
        if kind == "edit":
            action = decision.get("edited_action")
            if not isinstance(action, dict) or not isinstance(action.get("args"), dict):
                return "An edit needs 'edited_action' with 'args'."
    return None


def _apply(state: UmiState, calls: list[ToolCall], decisions: list[dict[str, Any]]) -> Update:
    """Write edits into the caller's message and answer rejected calls."""
    edits: dict[str | None, ToolCall] = {}
    refusals: list[ToolMessage] = []
    for call, decision in zip(calls, decisions, strict=True):
        if decision["type"] == "edit":
            action = decision["edited_action"]
            edits[call["id"]] = ToolCall(
                name=action.get("name") or call["name"], args=action["args"], id=call["id"], type="tool_call"
            )
        elif decision["type"] == "reject":
            refusals.append(_make_refusal(call, decision.get("message")))
    if not edits:
        return {"messages": refusals}
    message = next(message for message in reversed(state["messages"]) if isinstance(message, AIMessage))
    tool_calls = [edits.get(call["id"], call) for call in message.tool_calls]
    return {"messages": [message.model_copy(update={"tool_calls": tool_calls}), *refusals]}


def _make_refusal(call: ToolCall, why: str | None) -> ToolMessage:
    text = f"The user rejected this call{f': {why}' if why else '.'} Do not repeat it; plan differently."
    return ToolMessage(text, tool_call_id=call["id"], name=call["name"], status="error")
