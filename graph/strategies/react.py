"""ReACT: one chain of plan, call and observation until the planner concludes or gives up."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import partial

from langchain_core.language_models import BaseChatModel
from langgraph.graph import END, START, StateGraph

from alpha_umi.nodes.approval import approval, route_approval
from alpha_umi.nodes.caller import make_caller, route_caller
from alpha_umi.nodes.entry import entry
from alpha_umi.nodes.executor import ToolsNode
from alpha_umi.nodes.give_up import give_up
from alpha_umi.nodes.planner import make_planner, route_planner
from alpha_umi.nodes.state import UmiContext, UmiInput, UmiOutput, UmiState
from alpha_umi.nodes.summarizer import make_summarizer
from alpha_umi.nodes.trajectory import Role
from alpha_umi.tools.toolbox import Toolbox

PLANNER_EDGES: dict[Hashable, str] = {
    "caller": "caller",
    "conclusion": "summarizer",
    "give up": "give_up",
    "no decision": "planner",
}


def make_react(
    models: Mapping[Role, BaseChatModel], toolbox: Toolbox, defaults: UmiContext
) -> StateGraph[UmiState, UmiContext, UmiInput, UmiOutput]:
    """Wire the roles and the executor so that the edges follow the planner's ``Next:``."""
    graph = StateGraph(UmiState, context_schema=UmiContext, input_schema=UmiInput, output_schema=UmiOutput)
    graph.add_node("entry", partial(entry, defaults=defaults))
    graph.add_node("planner", make_planner(models["planner"], toolbox.specs))
    graph.add_node("caller", make_caller(models["caller"], toolbox.specs))
    graph.add_node("approval", approval)
    graph.add_node("tools", ToolsNode(toolbox))
    graph.add_node("summarizer", make_summarizer(models["summarizer"], toolbox.specs))
    graph.add_node("give_up", give_up)

    graph.add_edge(START, "entry")
    graph.add_edge("entry", "planner")
    graph.add_conditional_edges("planner", route_planner, PLANNER_EDGES)
    graph.add_conditional_edges("caller", route_caller)
    graph.add_conditional_edges("approval", route_approval, ["tools", "planner"])
    graph.add_edge("tools", "planner")
    graph.add_edge("summarizer", END)
    graph.add_edge("give_up", END)
    return graph
