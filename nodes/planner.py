"""The planner: a rationale and the decision who acts next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage

from alpha_umi.nodes.parsing import parse_plan
from alpha_umi.nodes.role import RoleNode, Update
from alpha_umi.nodes.state import UmiState
from alpha_umi.nodes.trajectory import Decision, Step, make_message
from alpha_umi.tools.spec import ToolSpec

MAX_BAD_PLANS = 2


def make_planner(model: BaseChatModel, tools: Sequence[ToolSpec]) -> RoleNode:
    """Make the planner node."""
    return RoleNode("planner", model, tools, read_plan)


def read_plan(state: UmiState, reply: AIMessage) -> Update:
    """Turn the planner's text into the pending message and the decision to route on.

    A plan without a decision is retried once and stays out of the transcript; after that the agent gives up.
    A call beyond `max_steps` becomes a conclusion from what there is.
    """
    plan = parse_plan(reply.text)
    if plan.decision is None:
        return _read_bad_plan(state, reply)
    decision: Decision = plan.decision
    update: Update = {"n_bad_plans": 0}
    if decision == "caller" and state["n_steps"] >= state["settings"]["max_steps"]:
        decision = "conclusion"
        update |= {"finish": "step limit", "reason": f"Stopped after {state['n_steps']} steps (max_steps)."}
    elif decision == "caller":
        update["n_steps"] = state["n_steps"] + 1
    return update | {"decision": decision, "messages": [_make_pending(Step(plan.rationale, decision), reply)]}


def _read_bad_plan(state: UmiState, reply: AIMessage) -> Update:
    n_bad_plans = state["n_bad_plans"] + 1
    update: Update = {"decision": None, "n_bad_plans": n_bad_plans}
    if n_bad_plans < MAX_BAD_PLANS:
        return update
    reason = f"The planner wrote no decision ('Next: …') in {n_bad_plans} attempts."
    pending = _make_pending(Step(reply.text, "give up"), reply)
    return update | {"decision": "give up", "reason": reason, "messages": [pending]}


def _make_pending(step: Step, reply: AIMessage) -> AIMessage:
    message = make_message(step)
    message.id = reply.id
    message.usage_metadata = reply.usage_metadata
    return message


def route_planner(state: UmiState) -> Literal["caller", "conclusion", "give up", "no decision"]:
    """Follow the planner's ``Next:``; the edges of the drawn graph carry these labels."""
    return state["decision"] or "no decision"
