"""The first node: refuse input nothing can be done with, start the turn's counters, keep the run's settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.messages import HumanMessage
from langgraph.runtime import Runtime
from pydantic import ValidationError

from alpha_umi.errors import InputError, TrajectoryError
from alpha_umi.nodes.approval import is_top_level
from alpha_umi.nodes.approval_gate import start_gate
from alpha_umi.nodes.format.trajectory import Trajectory, read_text, to_standard
from alpha_umi.nodes.role import Update
from alpha_umi.nodes.role.tool_selection import PickTools, pick_all
from alpha_umi.nodes.state import Strategy, UmiContext, UmiState

_HOW = 'Pass {"messages": [{"role": "user", "content": "…"}]}.'


def entry(
    state: UmiState,
    *,
    runtime: Runtime[UmiContext],
    defaults: UmiContext,
    pick_tools: PickTools = pick_all,
) -> Update:
    """Check the input and begin a turn; what the run's context leaves unset is taken from `defaults`.

    Of the context of a graph around the agent, what is none of its settings is passed over.

    A run that goes on from a checkpoint before this node, as a fork does, and is given no setting takes those that the
    run had which wrote the checkpoint: they came with its input. Where they did not, all calls are asked about.

    Raises:
        InputError: If there is no human message with text, the history is no trajectory, or a setting is wrong.
    """
    given_messages = state.get("messages")
    if not given_messages:
        raise InputError(f"There is no message to answer. {_HOW}")
    messages = [*map(to_standard, given_messages)]
    asked = next((message for message in reversed(messages) if isinstance(message, HumanMessage)), None)
    if asked is None:
        raise InputError(
            f"The last message is of type {messages[-1].type!r}; the agent answers a human message. {_HOW}"
        )
    if not read_text(asked).strip():
        raise InputError(f"The human message has no text. {_HOW}")
    try:
        Trajectory.from_history(messages, last_given=messages[-1].id)
    except TrajectoryError as error:
        raise InputError(f"The message history cannot be continued: {error}") from error
    given = read_context(runtime.context)
    if not given and is_top_level():  # the graph around another may mean something else by its key
        given = state.get("settings", {"approve_tools": True})
    others = [new for new, old in zip(messages, given_messages, strict=True) if new is not old]
    return {
        "messages": others,
        "settings": _make_settings(defaults, given),
        "last_given": messages[-1].id,
        "decision": None,
        "n_steps": 0,
        "n_bad_plans": 0,
        "plan_id": None,
        "n_queries": 0,
        "usage": None,
        "n_restarts": 0,
        "stall": None,
        "tree": None,
        "offered": pick_tools(state, read_text(asked)),
        "gate": start_gate(),
        "ran": {},
        "answer": None,
        "finish": None,
        "reason": None,
        "structured_response": None,
    }


def read_context(context: object) -> Mapping[str, Any]:
    """Return the settings of a run: its own, or what a mapping holds of them that a graph around the agent has.

    A server passes an empty context where the caller gave none; any other object is not about the agent.
    """
    set_values = context.model_dump(exclude_unset=True) if isinstance(context, UmiContext) else context
    if not isinstance(set_values, Mapping):
        return {}
    return {name: set_values[name] for name in UmiContext.model_fields if name in set_values}


def _make_settings(defaults: UmiContext, given: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return UmiContext.model_validate({**defaults.model_dump(), **given}).model_dump()
    except ValidationError as error:
        faults = "; ".join(f"{fault['loc'][0]}: {fault['msg']}" for fault in error.errors())
        raise InputError(
            f"The context of the graph around the agent holds settings of the agent that cannot be used: {faults}. "
            "Correct them, or give the keys other names."
        ) from error


def route_entry(state: UmiState) -> Strategy:
    """Continue with the strategy that the run's settings name."""
    strategy: Strategy = state["settings"]["strategy"]
    return strategy
