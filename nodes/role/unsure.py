"""What the planner's own certainty changes, if the run's settings say so: ask a person, ask a bigger model, give up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.messages import AIMessage

from alpha_umi.nodes.format.certainty import get_probability
from alpha_umi.nodes.state import UmiState


def find_doubt(state: UmiState, message: AIMessage) -> str:
    """Say how unsure the plan in a message is, empty where it is sure enough or nobody knows."""
    unsure = state["settings"].get("unsure")
    p = get_probability(message.response_metadata)
    if not unsure or p is None:
        return ""
    return f"the planner is unsure of its plan ({p:.2f}, below {unsure['below']:g})" if p < unsure["below"] else ""


def does(state: UmiState, action: str) -> bool:
    """Tell whether the settings want this done where the planner is unsure."""
    unsure = state["settings"].get("unsure")
    return unsure is not None and unsure["then"] == action


def should_escalate(state: UmiState, update: Mapping[str, Any]) -> bool:
    """Tell whether a bigger model should make the plan that an update holds."""
    return does(state, "escalate") and any(find_doubt(state, message) for message in update.get("messages", ()))
