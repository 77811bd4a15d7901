"""The summarizer: the answer for the user, written from the trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from langchain_core.messages import AIMessage

from alpha_umi.nodes.format.parsing import parse_answer
from alpha_umi.nodes.format.trajectory import parse_message
from alpha_umi.nodes.models.request import RoleModel
from alpha_umi.nodes.role import RoleNode, Update, complete, get_pending
from alpha_umi.nodes.state import UmiState
from alpha_umi.tools.spec import ToolSpec


def make_summarizer(model: RoleModel, tools: Sequence[ToolSpec]) -> RoleNode:
    """Make the summarizer node."""
    return RoleNode("summarizer", model, tools, read_answer)


def read_answer(state: UmiState, reply: AIMessage) -> Update:
    """Complete the pending message with the answer and end the turn."""
    pending = get_pending(state)
    answer = parse_answer(reply.text)
    message = complete(pending, replace(parse_message(pending), answer=answer), reply)
    if not answer:
        reason = " ".join(filter(None, [state["reason"], "The summarizer wrote nothing."]))
        return {"messages": [message], "finish": "give up", "reason": reason}
    return {"messages": [message], "answer": answer, "finish": state["finish"] or "answer"}
