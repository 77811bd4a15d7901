"""ReACT: one chain of plan, call and observation until the planner concludes or gives up.

It is the trunk of the served graph and not a subgraph of it, so that each of its steps is a checkpoint of the thread
itself; see ADR 11.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from langgraph.graph import END, StateGraph

from alpha_umi.nodes.approval_gate import ApprovalGate, route_approval
from alpha_umi.nodes.caller import make_caller, route_caller
from alpha_umi.nodes.direct_answer import answer_directly, make_route_tools, route_direct_answer
from alpha_umi.nodes.format.response import ResponseFormat
from alpha_umi.nodes.format.trajectory import Role
from alpha_umi.nodes.give_up import give_up, route_give_up
from alpha_umi.nodes.models.request import RoleModel
from alpha_umi.nodes.planner import make_planner, route_planner
from alpha_umi.nodes.state import UmiContext, UmiInput, UmiOutput, UmiState
from alpha_umi.nodes.summarizer import make_summarizer
from alpha_umi.nodes.tool_executor import ToolsNode
from alpha_umi.tools.pii import Redaction
from alpha_umi.tools.toolbox import Toolbox

FIRST_NODE = "planner"
PLANNER_EDGES: dict[Hashable, str] = {
    "caller": "caller",
    "conclusion": "summarizer",
    "give up": "give_up",
    "no decision": "planner",
}


def add_react(
    graph: StateGraph[UmiState, UmiContext, UmiInput, UmiOutput],
    models: Mapping[Role, RoleModel],
    toolbox: Toolbox,
    approval: ApprovalGate,
    response_format: ResponseFormat | None = None,
    redaction: Redaction | None = None,
) -> None:
    """Wire the roles and the executor into `graph` so that the edges follow the planner's ``Next:``."""
    graph.add_node("planner", make_planner(models, toolbox.specs))
    graph.add_node("caller", make_caller(models, toolbox.specs))
    graph.add_node("approval", approval)
    graph.add_node("tools", ToolsNode(toolbox, redaction))
    graph.add_node("summarizer", make_summarizer(models, toolbox.specs, response_format))
    graph.add_node("give_up", give_up)

    graph.add_conditional_edges("planner", route_planner, PLANNER_EDGES)
    graph.add_conditional_edges("caller", route_caller)
    graph.add_conditional_edges("approval", route_approval, ["tools", "approval", "planner"])
    if (direct_names := toolbox.direct_names) and not response_format:
        graph.add_node("direct_answer", answer_directly)
        graph.add_conditional_edges("tools", make_route_tools(direct_names))
        graph.add_conditional_edges("direct_answer", route_direct_answer, {"planner": "planner", "end": END})
    else:
        graph.add_edge("tools", "planner")
    graph.add_edge("summarizer", END)
    graph.add_conditional_edges("give_up", route_give_up, {"restart": "planner", "end": END})
