"""DFSDT: a depth-first search over plans, which turns back at a dead end and asks for a different plan.

A subgraph with the same role nodes as a chain, and `search` between the steps. It has its own checkpoints, so that
every tree node is one that can be resumed and travelled to; no two searches of a thread share them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable, Iterator, Mapping
from typing import Any

from langchain_core.messages import RemoveMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, RunnableSequence
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import StateSnapshot

from alpha_umi.nodes.approval_gate import ApprovalGate
from alpha_umi.nodes.caller import make_caller
from alpha_umi.nodes.direct_answer import answer_directly, is_answered
from alpha_umi.nodes.format.response import ResponseFormat
from alpha_umi.nodes.format.trajectory import Role
from alpha_umi.nodes.models.request import RoleModel
from alpha_umi.nodes.planner import make_planner, route_planner
from alpha_umi.nodes.search import (
    read_search_plan,
    route_search,
    route_search_approval,
    route_search_call,
    search,
    tell_siblings,
)
from alpha_umi.nodes.state import UmiContext, UmiState
from alpha_umi.nodes.summarizer import make_summarizer
from alpha_umi.nodes.tool_executor import ToolsNode
from alpha_umi.tools.pii import Redaction
from alpha_umi.tools.toolbox import Toolbox

PLANNER_EDGES: dict[Hashable, str] = {
    "caller": "caller",
    "conclusion": "summarizer",
    "give up": "search",
    "no decision": "planner",
}
_NAME = "dfsdt"
SEARCH_EDGES: dict[Hashable, str] = {"next plan": "planner", "best chain": "summarizer", "end": END}


def make_dfsdt(
    models: Mapping[Role, RoleModel],
    toolbox: Toolbox,
    approval: ApprovalGate,
    response_format: ResponseFormat | None = None,
    redaction: Redaction | None = None,
) -> Runnable[UmiState, UmiState]:
    """Make the search as one node for a graph over `UmiState`; drawings show the graph inside it."""
    planner = make_planner(models, toolbox.specs, give_hint=tell_siblings, read_reply=read_search_plan)
    graph = StateGraph(UmiState, context_schema=UmiContext)
    graph.add_node("planner", planner)
    graph.add_node("caller", make_caller(models, toolbox.specs))
    graph.add_node("approval", approval)
    graph.add_node("tools", ToolsNode(toolbox, redaction))
    graph.add_node("summarizer", make_summarizer(models, toolbox.specs, response_format))
    graph.add_node("search", search)

    graph.add_edge(START, "planner")
    graph.add_conditional_edges("planner", route_planner, PLANNER_EDGES)
    graph.add_conditional_edges("caller", route_search_call)
    graph.add_conditional_edges("approval", route_search_approval, ["tools", "approval", "search"])
    graph.add_edge("tools", "search")
    graph.add_edge("summarizer", "search")
    if (direct_names := toolbox.direct_names) and not response_format:
        graph.add_node("direct_answer", answer_directly)
        graph.add_edge("direct_answer", "search")
        edges = {**SEARCH_EDGES, "direct answer": "direct_answer"}
        graph.add_conditional_edges(
            "search", lambda state: "direct answer" if is_answered(state, direct_names) else route_search(state), edges
        )
    else:
        graph.add_conditional_edges("search", route_search, SEARCH_EDGES)
    compiled = graph.compile(name=_NAME)
    search_graph = _Search(**{name: value for name, value in vars(compiled).items() if name != "__orig_class__"})
    return RunnableSequence(RunnableLambda(_hand_over), search_graph)


class _Search(CompiledStateGraph[Any, Any, Any, Any]):
    """The compiled search, which keeps the thread's own checkpoints under one name for all turns.

    Under LangGraph's name for a subgraph, which ends with the task, they could not be travelled to: a journey begins a
    new task. A search that others may run beside, in an agent inside another graph or by a `Send`, has LangGraph's.
    """

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        return super().stream(input, _name_checkpoints(config), **kwargs)

    def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        return super().astream(input, _name_checkpoints(config), **kwargs)

    def get_state(self, config: RunnableConfig, **kwargs: Any) -> StateSnapshot:
        return super().get_state(_name_checkpoints(config), **kwargs)

    async def aget_state(self, config: RunnableConfig, **kwargs: Any) -> StateSnapshot:
        return await super().aget_state(_name_checkpoints(config), **kwargs)


def _name_checkpoints(config: RunnableConfig | None) -> RunnableConfig:
    config = config or {}
    path = config.get("metadata", {}).get("langgraph_path", ())
    namespace = config.get("configurable", {}).get("checkpoint_ns", "")
    if not namespace.startswith(f"{_NAME}:") or "|" in namespace or "__pregel_push" in path:
        return config
    return {**config, "configurable": {**config["configurable"], "checkpoint_ns": _NAME}}


def _hand_over(state: UmiState) -> dict[str, Any]:
    """Replace what an abandoned search left in the subgraph's own thread by the transcript of the parent."""
    return {**state, "messages": [RemoveMessage(id=REMOVE_ALL_MESSAGES), *state["messages"]]}
