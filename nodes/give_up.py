"""The end of a chain without an answer: of the turn, or only of this attempt at it."""

from __future__ import annotations

from typing import Literal

from langchain_core.messages import HumanMessage, RemoveMessage

from alpha_umi.nodes.format.trajectory import parse_message
from alpha_umi.nodes.role import Update, get_pending
from alpha_umi.nodes.state import UmiState


def give_up(state: UmiState) -> Update:
    """Begin afresh while `max_restarts` allows it, else finish without an answer.

    The reason is the planner's own, unless its plan could not be read or the guard stopped it. What is begun afresh
    leaves nothing in the transcript.
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
    """Return what takes the current turn's steps out of the transcript, but for the first `n_steps`."""
    messages = state["messages"]
    begin = max(i for i, message in enumerate(messages) if isinstance(message, HumanMessage)) + 1
    plans = [i for i in range(begin, len(messages)) if messages[i].type == "ai"]
    end = plans[n_steps] if n_steps < len(plans) else len(messages)
    return [RemoveMessage(id=message.id or "") for message in messages[end:]]
