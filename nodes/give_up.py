"""The end of a turn without an answer."""

from __future__ import annotations

from alpha_umi.nodes.role import Update, get_pending
from alpha_umi.nodes.state import UmiState
from alpha_umi.nodes.trajectory import parse_message


def give_up(state: UmiState) -> Update:
    """Finish without an answer; the reason is the planner's own, unless its plan could not be read."""
    rationale = parse_message(get_pending(state)).rationale
    return {"finish": "give up", "reason": state["reason"] or rationale or "The planner gave no reason."}
