"""The summarizer: the answer for the user, written from the trajectory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from langchain_core.messages import AIMessage

from alpha_umi.nodes.format.parsing import parse_answer
from alpha_umi.nodes.format.response import ResponseFormat
from alpha_umi.nodes.format.trajectory import Role, parse_message
from alpha_umi.nodes.models.request import RoleModel
from alpha_umi.nodes.redaction import read_originals
from alpha_umi.nodes.role import RoleNode, Update, complete, get_pending
from alpha_umi.nodes.state import UmiState
from alpha_umi.tools.pii import hide, reveal
from alpha_umi.tools.spec import ToolSpec

_CUT = ("length", "max_tokens", "MAX_TOKENS")
"""How servers say that the text has reached its limit."""


def make_summarizer(
    models: Mapping[Role, RoleModel], tools: Sequence[ToolSpec], response_format: ResponseFormat | None = None
) -> RoleNode:
    """Make the summarizer node, which is held to a response format if there is one."""
    read_reply = partial(read_structured, response_format=response_format) if response_format else read_answer
    return RoleNode("summarizer", models, tools, read_reply, response_format=response_format)


def read_answer(state: UmiState, reply: AIMessage) -> Update:
    """Complete the pending message with the answer and end the turn."""
    pending = get_pending(state)
    answer = parse_answer(reply.text)
    message = complete(pending, replace(parse_message(pending), answer=answer), reply)
    if not answer:
        reason = " ".join(filter(None, [state["reason"], "The summarizer wrote nothing."]))
        return {"messages": [message], "finish": "give up", "reason": reason}
    return {"messages": [message], "answer": answer, "finish": state["finish"] or "answer"}


def read_structured(state: UmiState, reply: AIMessage, *, response_format: ResponseFormat) -> Update:
    """Do as `read_answer`, and read the answer in the response format; one that does not fit is none."""
    if reply.tool_calls:  # by which LangChain holds models to a schema that have no other way
        reply.content = json.dumps(reply.tool_calls[0]["args"], ensure_ascii=False)
    update = read_answer(state, reply)
    if not update.get("answer"):
        return update
    try:
        known = partial(reveal, originals=read_originals(state))
        return {**update, "structured_response": response_format.parse(update["answer"], reveal=known)}
    except Exception as error:  # a validator of the caller's class may raise anything
        cut = " It was cut off." if reply.response_metadata.get("finish_reason") in _CUT else ""
        fault = f"The answer does not fit the response format.{cut} {hide(str(error), read_originals(state))}"
        return {
            **update,
            "answer": None,
            "finish": "give up",
            "reason": " ".join(filter(None, [state["reason"], fault])),
        }
