"""The end of a turn whose answer a tool gives: the result of a tool with `return_direct`, as it is."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Literal

from langchain_core.messages import AIMessage, ToolMessage

from alpha_umi.nodes.format.trajectory import Step, make_message
from alpha_umi.nodes.role import Update
from alpha_umi.nodes.state import UmiState


def is_answered(state: UmiState, direct_names: Collection[str]) -> bool:
    """Say whether the newest step is one call, and its result the answer."""
    *_, plan, result = [None, None, *state["messages"]]
    if not isinstance(result, ToolMessage) or result.status == "error" or result.name not in direct_names:
        return False
    return isinstance(plan, AIMessage) and len(plan.tool_calls) + len(plan.invalid_tool_calls) == 1


def make_route_tools(direct_names: Collection[str]) -> Callable[[UmiState], Literal["planner", "direct_answer"]]:
    """Return the route after a tool: on to the planner, or to the end."""

    def route_tools(state: UmiState) -> Literal["planner", "direct_answer"]:
        return "direct_answer" if is_answered(state, direct_names) else "planner"

    return route_tools


def answer_directly(state: UmiState) -> Update:
    """End the turn with the newest result."""
    answer = str(state["messages"][-1].text)
    message = make_message(Step("The result is the answer.", "conclusion", answer=answer))
    return {"messages": [message], "decision": "conclusion", "answer": answer, "finish": "answer"}
