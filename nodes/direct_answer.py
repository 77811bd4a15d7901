"""The end of a turn whose answer tools give: the results of tools with `return_direct`, as they are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Literal

from langchain_core.messages import AIMessage, AnyMessage

from alpha_umi.nodes.format.trajectory import Step, make_message
from alpha_umi.nodes.role import Update
from alpha_umi.nodes.state import UmiState


def is_answered(state: UmiState, direct_names: Collection[str]) -> bool:
    """Say whether the results of the newest step are the answer: all its calls are of such tools, and none failed."""
    return _is_direct(state, direct_names) and bool(_list_texts(state))


def make_route_tools(direct_names: Collection[str]) -> Callable[[UmiState], Literal["planner", "direct_answer"]]:
    """Return the route after a tool, which goes by the calls: where several run, each sees its own result alone."""

    def route_tools(state: UmiState) -> Literal["planner", "direct_answer"]:
        return "direct_answer" if _is_direct(state, direct_names) else "planner"

    return route_tools


def answer_directly(state: UmiState) -> Update:
    """End the turn with the newest results, unless one is an error."""
    if not (texts := _list_texts(state)):
        return {"decision": None}
    answer = "\n\n".join(texts)
    message = make_message(Step("The result is the answer.", "conclusion", answer=answer))
    return {"messages": [message], "decision": "conclusion", "answer": answer, "finish": "answer"}


def route_direct_answer(state: UmiState) -> Literal["planner", "end"]:
    """Go on with the planner where a call has failed."""
    return "end" if state["finish"] else "planner"


def _is_direct(state: UmiState, direct_names: Collection[str]) -> bool:
    plan = next((message for message in reversed(state["messages"]) if isinstance(message, AIMessage)), None)
    if plan is None or plan.invalid_tool_calls or not plan.tool_calls:
        return False
    return all(call["name"] in direct_names for call in plan.tool_calls)


def _list_texts(state: UmiState) -> Sequence[str]:
    """Return the results of the newest step, none if one is an error."""
    messages: Sequence[AnyMessage] = state["messages"]
    at = max(i for i, message in enumerate(messages) if isinstance(message, AIMessage))
    is_error = any(getattr(message, "status", "") == "error" for message in messages[at + 1 :])
    return [] if is_error else [str(message.text) for message in messages[at + 1 :]]
