"""Build the agent: from models and tools in code, or from a configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from langchain_core.language_models import BaseChatModel
from langgraph.graph.state import CompiledStateGraph
from langgraph.store.base import BaseStore
from langgraph.types import Checkpointer

from alpha_umi.graph.config import UmiSettings
from alpha_umi.graph.strategies.react import make_react
from alpha_umi.nodes.models.specs import load_models
from alpha_umi.nodes.state import UmiContext, UmiInput, UmiOutput, UmiState
from alpha_umi.nodes.trajectory import Role
from alpha_umi.tools.convert import ToolLike
from alpha_umi.tools.load import load_tools
from alpha_umi.tools.toolbox import Toolbox

UmiAgent: TypeAlias = CompiledStateGraph[UmiState, UmiContext, UmiInput, UmiOutput]
ModelSpec: TypeAlias = str | BaseChatModel
ToolSource: TypeAlias = str | ToolLike


def create_umi_agent(
    models: ModelSpec | Mapping[Role, ModelSpec],
    tools: Sequence[ToolSource] | Toolbox,
    *,
    defaults: UmiContext | None = None,
    checkpointer: Checkpointer = None,
    store: BaseStore | None = None,
    name: str = "alpha-umi",
) -> UmiAgent:
    """Build the α-UMi agent as a compiled LangGraph graph.

    Args:
        models: One chat model or role spec for all roles, or one per role (`planner`, `caller`, `summarizer`). A spec
            is a string such as ``hf:PATH``, ``hf:PATH#adapter``, ``openai:MODEL`` or ``scripted:FILE``. Local weights
            are loaded at the first call.
        tools: LangChain tools, plain functions, ``builtin:NAME`` or ``module:object``; or a `Toolbox` with its own
            timeout and observation limit.
        defaults: Settings of runs that are started without a context.
        checkpointer: Where threads are kept; needed for multi-turn threads, approvals and resuming.
        store: LangGraph store handed to the graph.
        name: Name of the graph in traces.

    Returns:
        A graph that takes ``{"messages": […]}`` and returns ``messages``, ``answer``, ``finish`` and ``reason``.

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
    builder = make_react(load_models(models), toolbox, defaults or UmiContext())
    return builder.compile(checkpointer=checkpointer, store=store, name=name)


def make_agent(
    settings: UmiSettings, *, tools: Sequence[ToolSource] = (), checkpointer: Checkpointer = None
) -> UmiAgent:
    """Build the agent that a configuration describes, with further tools beside its own."""
    limits = settings.limits
    toolbox = Toolbox(
        load_tools([*settings.tools, *tools]),
        timeout_s=limits.tool_timeout_s,
        max_observation_chars=limits.max_observation_chars,
    )
    models = load_models(settings.models, **settings.generation.model_dump(exclude_none=True))
    defaults = UmiContext(max_steps=limits.max_steps, temperature=settings.generation.temperature)
    return create_umi_agent(models, toolbox, defaults=defaults, checkpointer=checkpointer)
