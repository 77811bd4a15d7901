"""Build the agent: from models and tools in code, or from a configuration."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TypeAlias

from langgraph.graph import END, START, StateGraph
from langgraph.store.base import BaseStore
from langgraph.types import Checkpointer

from alpha_umi.graph.config import UmiSettings
from alpha_umi.graph.embed import UmiAgent
from alpha_umi.graph.strategies.dfsdt import make_dfsdt
from alpha_umi.graph.strategies.react import FIRST_NODE, add_react
from alpha_umi.nodes.approval import Approvals, find_idle, is_harmless
from alpha_umi.nodes.approval_gate import ApprovalGate
from alpha_umi.nodes.durability.checkpointers import store_foreign
from alpha_umi.nodes.entry import entry, route_entry
from alpha_umi.nodes.format.response import ResponseFormat, ResponseSchema, read_response_format
from alpha_umi.nodes.format.trajectory import Role
from alpha_umi.nodes.models.request import RoleModel
from alpha_umi.nodes.models.specs import RoleSpec, load_models
from alpha_umi.nodes.role.tool_selection import make_picker, pick_all
from alpha_umi.nodes.state import RunInput, Strategy, UmiContext, UmiInput, UmiOutput, UmiState
from alpha_umi.tools.convert import ToolLike
from alpha_umi.tools.isolation import isolate_named
from alpha_umi.tools.ledger import Ledger
from alpha_umi.tools.load import load_tools
from alpha_umi.tools.pii import Redaction, RedactionRules
from alpha_umi.tools.retrieval import ToolRetriever
from alpha_umi.tools.spec import ToolSpec, log_omissions
from alpha_umi.tools.toolbox import Toolbox

ToolSource: TypeAlias = str | ToolLike

GRAPH_NAME = "alpha-umi"

_logger = logging.getLogger(__name__)


def create_umi_agent(
    models: RoleSpec | Mapping[Role, RoleSpec],
    tools: Sequence[ToolSource] | Toolbox,
    *,
    strategy: Strategy | None = None,
    defaults: UmiContext | None = None,
    approvals: Approvals = None,
    checkpointer: Checkpointer = None,
    ledger: Ledger | None = None,
    retriever: ToolRetriever | None = None,
    store: BaseStore | None = None,
    response_format: ResponseSchema | None = None,
    redaction: RedactionRules | None = None,
    name: str = GRAPH_NAME,
) -> UmiAgent:
    """Build the α-UMi agent as a compiled LangGraph graph.

    Args:
        models: One chat model or role spec for all roles, or one per role (`planner`, `caller`, `summarizer`). A spec
            is a string such as ``hf:PATH``, ``hf:PATH#adapter``, ``openai:MODEL`` or ``scripted:FILE``. Local weights
            are loaded at the first call. Of a list, or what `with_fallbacks` makes, the next one is asked where one
            fails, or where a planner is unsure and `UmiContext.unsure` says to escalate.
        tools: LangChain tools, plain functions, ``builtin:NAME`` or ``module:object``; or a `Toolbox` with its own
            timeout and observation limit.
        strategy: How a run searches whose context names no strategy: ``react`` or ``dfsdt``; None takes `defaults`.
        defaults: Settings of runs that are started without a context.
        approvals: Which calls a person is asked about in every run, whatever its context says: all, none, or rules
            (`ApprovalRule`, `ask_when`) of which those that ask win; a call for which none holds is asked
            about. None: those of tools that do not declare their effects as ``none`` or ``idempotent``; without a
            checkpointer nobody can be asked, which is logged. The context's `approve_tools` can only add to it.
        checkpointer: Where threads are kept; needed for multi-turn threads, approvals and resuming.
        ledger: Where calls of tools with the effect ``once`` are recorded, so that a resumed thread does not repeat
            them; None takes the checkpointer's own database.
        retriever: Picks the tools that are described to the models, if there are more than a prompt holds; see
            `alpha_umi.nodes.role.tool_selection`. None describes all.
        store: LangGraph store handed to the graph.
        response_format: What answers have to be: a pydantic model, a dataclass, a TypedDict, or a JSON Schema of an
            object. The summarizer is held to it, also where tools have `return_direct`. An answer that does not fit
            is none, and the reason says so.
        redaction: Personal data that models, traces and logs must not see: types (``email``, ``credit_card``, ``ip``,
            ``mac_address``, ``url``, ``api_key``) or rules (`RedactionRule`), or a function that rewrites texts.
            Tools and the caller get the values; see docs/redaction.md.
        name: Name of the graph in traces.

    Returns:
        A graph that takes ``{"messages": […]}`` and returns ``messages``, ``answer``, ``finish``, ``reason`` and
        ``structured_response``.

    Raises:
        ConfigError: If a role spec or a tool cannot be used.

    Example:
        >>> def add(a: int, b: int) -> int:
        ...     '''Add two numbers.'''
        ...     return a + b
        >>> agent = create_umi_agent("hf:smollm2-135m", [add])
        >>> agent.invoke({"messages": "What is 3 + 4?"})["finish"]  # doctest: +SKIP
        'answer'

    Source: arXiv 2401.07324, section 3.1.
    """
    toolbox = tools if isinstance(tools, Toolbox) else Toolbox(load_tools(tools))
    toolbox = toolbox.with_ledger(ledger) if ledger else toolbox
    defaults = defaults or UmiContext()
    defaults = defaults.model_copy(update={"strategy": strategy}) if strategy else defaults
    if approvals is None and not checkpointer:
        _log_unasked(toolbox)
    form = read_response_format(response_format) if response_format is not None else None
    concealed = Redaction(redaction) if redaction else None
    return _compile(
        load_models(models), toolbox, defaults, approvals, checkpointer, retriever, form, concealed, store, name
    )


def _log_unasked(toolbox: Toolbox) -> None:
    if names := [spec.name for spec in toolbox.specs if not is_harmless(spec)]:
        _logger.warning(
            "Calls of %s may change something, and without a checkpointer no run can wait for a person, so nobody is "
            "asked about them. Give checkpointer=InMemorySaver(), declare the effects of tools that change nothing "
            "(declare_effects), or say approvals=False.",
            ", ".join(names),
        )


def _compile(
    models: Mapping[Role, RoleModel],
    toolbox: Toolbox,
    defaults: UmiContext,
    approvals: Approvals,
    checkpointer: Checkpointer = None,
    retriever: ToolRetriever | None = None,
    response_format: ResponseFormat | None = None,
    redaction: Redaction | None = None,
    store: BaseStore | None = None,
    name: str = GRAPH_NAME,
) -> UmiAgent:
    graph = _make_graph(models, toolbox, defaults, approvals, retriever, response_format, redaction)
    compiled = graph.compile(checkpointer=store_foreign(checkpointer), store=store, name=name)

    def remake(others: Toolbox) -> UmiAgent:
        unasked = defaults.model_copy(update={"approve_tools": False})
        same = retriever if others.names == toolbox.names else None
        return _compile(models, others, unasked, False, None, same, response_format, redaction, store, name)

    return UmiAgent.from_graph(compiled, toolbox, remake, response_format, redaction)


def _make_graph(
    models: Mapping[Role, RoleModel],
    toolbox: Toolbox,
    defaults: UmiContext,
    approvals: Approvals,
    retriever: ToolRetriever | None,
    response_format: ResponseFormat | None,
    redaction: Redaction | None,
) -> StateGraph[UmiState, UmiContext, UmiInput, UmiOutput]:
    """Put both strategies behind one entry, which takes the one that the run's context names."""
    toolbox, pick_tools = make_picker(toolbox, retriever) if retriever else (toolbox, pick_all)
    log_omissions("Approvals", find_idle(defaults.approve_tools, toolbox.specs))
    approval = ApprovalGate(toolbox, approvals, redaction)
    graph: StateGraph[UmiState, UmiContext, UmiInput, UmiOutput] = StateGraph(
        UmiState, context_schema=UmiContext, input_schema=RunInput, output_schema=UmiOutput
    )
    graph.add_node("entry", partial(entry, defaults=defaults, pick_tools=pick_tools))
    add_react(graph, models, toolbox, approval, response_format, redaction)
    graph.add_node("dfsdt", make_dfsdt(models, toolbox, approval, response_format, redaction))
    graph.add_edge(START, "entry")
    graph.add_conditional_edges("entry", route_entry, {"react": FIRST_NODE, "dfsdt": "dfsdt"})
    graph.add_edge("dfsdt", END)
    return graph


def load_toolbox(settings: UmiSettings) -> Toolbox:
    """Load the tools that a configuration names."""
    limits = settings.limits
    return Toolbox(
        isolate_named(load_tools(settings.tools, remote=settings.remote), settings.isolation),
        timeout_s=limits.tool_timeout_s,
        max_observation_chars=limits.max_observation_chars,
    )


def make_retriever(settings: UmiSettings, specs: Sequence[ToolSpec]) -> ToolRetriever | None:
    """Return what picks tools as a configuration says; None if all are offered."""
    found_by = settings.retrieval
    if found_by.top_k is None:
        return None
    return ToolRetriever(specs, embeddings=found_by.embeddings, index=found_by.index, top_k=found_by.top_k)


def make_agent(settings: UmiSettings, *, toolbox: Toolbox | None = None, checkpointer: Checkpointer = None) -> UmiAgent:
    """Build the agent that a configuration describes; `toolbox` stands for the tools that it names."""
    toolbox = load_toolbox(settings) if toolbox is None else toolbox
    generation = settings.generation.model_dump(exclude_none=True)
    models = load_models(settings.models, remote=settings.remote, **generation)
    retriever = make_retriever(settings, toolbox.specs)
    form = read_response_format(settings.response_format) if settings.response_format is not None else None
    concealed = Redaction(settings.redaction) if settings.redaction else None
    context, approvals = settings.make_context(), settings.approve_tools
    return _compile(models, toolbox, context, approvals, checkpointer, retriever, form, concealed)
