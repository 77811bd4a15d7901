"""The caller: the planner's rationale as tool calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal
from uuid import uuid4

from langchain_core.messages import AIMessage

from alpha_umi.nodes.approval_gate import list_open_calls
from alpha_umi.nodes.format.parsing import ParsedCall, parse_calls
from alpha_umi.nodes.format.trajectory import Call, Observation, Role, make_observation_message, parse_message
from alpha_umi.nodes.models.request import RoleModel
from alpha_umi.nodes.role import RoleNode, Update, complete, get_pending
from alpha_umi.nodes.role.tool_selection import list_callable_names
from alpha_umi.nodes.state import UmiState
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.tools.spec.arguments import render_unknown_tool


def make_caller(models: Mapping[Role, RoleModel], tools: Sequence[ToolSpec]) -> RoleNode:
    """Make the caller node."""
    return RoleNode("caller", models, tools, read_calls)


def read_calls(state: UmiState, reply: AIMessage) -> Update:
    """Put the calls into the pending message.

    A call that does not parse, or is of a tool that is not offered, is answered at once with what is wrong.
    """
    pending = get_pending(state)
    names = list_callable_names(state)
    calls = [_make_call(parsed, names) for parsed in parse_calls(reply.text)]
    calls.sort(key=lambda call: isinstance(call.arguments, str))
    message = complete(pending, replace(parse_message(pending), calls=tuple(calls)), reply)
    return {"messages": [message, *(make_observation_message(call) for call in calls if call.observation)]}


def _make_call(parsed: ParsedCall, names: Sequence[str] | None) -> Call:
    fault = parsed.fault
    if fault is None and names is not None and parsed.name not in names:
        fault = render_unknown_tool(parsed.name, names)
    observation = Observation(fault, is_error=True) if fault else None
    arguments = parsed.arguments if parsed.fault is None else str(parsed.arguments)
    return Call(f"call_{uuid4().hex}", parsed.name, arguments, observation)


def route_caller(state: UmiState) -> Literal["approval", "planner"]:
    """Go on to approval if any call can run, else back to the planner with the faults."""
    return "approval" if list_open_calls(state) else "planner"
