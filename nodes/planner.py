"""The planner: a rationale and the decision who acts next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from langchain_core.messages import AIMessage

from alpha_umi.nodes.format.certainty import CERTAINTY
from alpha_umi.nodes.format.parsing import parse_plan
from alpha_umi.nodes.format.trajectory import Decision, Role, Step, make_message
from alpha_umi.nodes.give_up import find_stall, has_result, tell_stall
from alpha_umi.nodes.models.request import RoleModel
from alpha_umi.nodes.role import GiveHint, ReadReply, RoleNode, Update
from alpha_umi.nodes.role.unsure import does, find_doubt
from alpha_umi.nodes.state import Stall, UmiState, list_turn
from alpha_umi.tools.spec import ToolSpec

MAX_BAD_PLANS = 2


def make_planner(
    models: Mapping[Role, RoleModel],
    tools: Sequence[ToolSpec],
    *,
    give_hint: GiveHint = tell_stall,
    read_reply: ReadReply | None = None,
) -> RoleNode:
    """Make the planner node; a strategy may give its own hints and its own way to read plans."""
    return RoleNode("planner", models, tools, read_reply or read_plan, give_hint)


def read_plan(state: UmiState, reply: AIMessage) -> Update:
    """Turn the planner's text into the pending message and the decision to route on.

    A plan without a decision is retried once and stays out of the transcript; after that the agent gives up. A call
    beyond `max_steps`, or one without progress after the planner was told so, becomes a conclusion from what there is.
    """
    plan = parse_plan(reply.text)
    if plan.decision is None:
        return _read_bad_plan(state, reply, plan.rationale)
    reason = find_stall(list_turn(state), state["settings"])
    update: Update = {"stall": Stall(reason=reason, told_at_step=state["n_steps"])} if reason else {}
    if plan.decision != "caller":
        return update | make_plan(plan.rationale, plan.decision, reply)
    if state["n_steps"] >= state["settings"]["max_steps"]:
        update |= {"finish": "step limit", "reason": f"Stopped after {state['n_steps']} steps (max_steps)."}
        return update | make_plan(plan.rationale, "conclusion", reply)
    if reason and state["stall"]:
        can_answer = has_result(list_turn(state))
        update |= {"finish": "no progress" if can_answer else None, "reason": f"Stopped without progress: {reason}"}
        return update | make_plan(plan.rationale, "conclusion" if can_answer else "give up", reply)
    if does(state, "give up") and (doubt := find_doubt(state, reply)):
        return update | {"reason": f"{doubt[0].upper()}{doubt[1:]}."} | make_plan(plan.rationale, "give up", reply)
    return update | {"n_steps": state["n_steps"] + 1} | make_plan(plan.rationale, "caller", reply)


def _read_bad_plan(state: UmiState, reply: AIMessage, text: str) -> Update:
    """Ask once more for a plan without a decision; after that the agent gives up."""
    n_bad_plans = state["n_bad_plans"] + 1
    update: Update = {"decision": None, "n_bad_plans": n_bad_plans, "plan_id": reply.id}
    if n_bad_plans < MAX_BAD_PLANS:
        return update
    reason = f"The planner wrote no decision ('Next: …') in {n_bad_plans} attempts."
    return update | {"reason": reason} | make_plan(text, "give up", reply) | {"n_bad_plans": n_bad_plans}


def make_plan(rationale: str, decision: Decision, reply: AIMessage) -> Update:
    """Return the update of a plan that counts: the pending message, which the next role completes."""
    message = make_message(Step(rationale, decision))
    message.id = reply.id
    message.usage_metadata = reply.usage_metadata
    if certainty := reply.response_metadata.get(CERTAINTY):
        message.response_metadata[CERTAINTY] = certainty
    return {"decision": decision, "n_bad_plans": 0, "plan_id": None, "messages": [message]}


def route_planner(state: UmiState) -> Literal["caller", "conclusion", "give up", "no decision"]:
    """Follow the planner's ``Next:``; the edges of the drawn graph carry these labels."""
    return state["decision"] or "no decision"
