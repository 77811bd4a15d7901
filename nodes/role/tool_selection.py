"""Which of many tools are described to the models: those that fit the question, and those found since.

`offered` in the state names the tools that the system message documents. It does not change during a turn, so that a
prompt only grows. A tool found later is documented by the observation of `find_tools`, whose message also carries its
name: a chain that is removed takes what it found with it. Only what the prompt documents can be called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage
from langchain_core.tools import BaseTool

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.tool_docs import render_tool
from alpha_umi.nodes.state import UmiState
from alpha_umi.tools.convert import make_tool
from alpha_umi.tools.retrieval import ToolRetriever
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.tools.toolbox import Toolbox

FIND_TOOLS = "find_tools"
PickTools: TypeAlias = Callable[[UmiState, str], list[str] | None]

_QUERY = {"type": "string", "description": "What the tool has to do, in a few words.", "minLength": 1}
_FOUND = "Found these tools, which can be called from now on:"
_NOT_FOUND = "No tool fits. Search with other words, or go on with the tools there are."


def pick_all(state: UmiState, question: str) -> None:
    """Offer every tool."""


def make_picker(toolbox: Toolbox, retriever: ToolRetriever) -> tuple[Toolbox, PickTools]:
    """Prepare an agent for more tools than fit a prompt: return the toolbox with `find_tools`, and what picks a turn's.

    `find_tools` gets the planner tools it was not offered; those that the retriever does not know are always offered.

    Raises:
        ConfigError: If the retriever knows tools that the toolbox lacks, or there is a tool `find_tools` already.
    """
    searched = set(retriever.names)
    if unknown := sorted(searched.difference(toolbox.names)):
        raise ConfigError(
            f"The retriever finds tools that the agent does not have, such as {unknown[0]!r}; make it of the same "
            "toolbox: ToolRetriever(toolbox.specs)."
        )
    toolbox = toolbox.with_tool(_make_find_tools(retriever, toolbox.max_observation_chars))
    always = [name for name in toolbox.names if name not in searched]

    return toolbox, partial(_pick, retriever, always)


def _pick(retriever: ToolRetriever, always: Sequence[str], state: UmiState, question: str) -> list[str]:
    """Pick for a new turn; nothing changes where nothing new fits, for the sake of the prompt's prefix."""
    messages = state["messages"]
    before = state.get("offered") or []
    found = list(_iter_found(messages))
    fitting = [spec.name for spec in retriever.search(question)]
    if before and not {*always, *fitting}.difference(before, found):
        return before
    # a question such as "and tomorrow?" needs the tools of the question before it
    called = [name for name in _iter_called(messages) if name in retriever][-retriever.top_k :]
    return [name for name in dict.fromkeys([*always, *called, *fitting]) if name not in found]


def list_offered(state: UmiState, catalogue: Mapping[str, ToolSpec]) -> tuple[ToolSpec, ...]:
    """Return the tools that the system message documents."""
    names = state.get("offered")
    if names is None:
        return tuple(catalogue.values())
    return tuple(catalogue[name] for name in names if name in catalogue)


def list_found(state: UmiState, catalogue: Mapping[str, ToolSpec]) -> tuple[ToolSpec, ...]:
    """Return the further tools that observations document."""
    offered = state.get("offered")
    if offered is None:
        return ()
    names = dict.fromkeys(_iter_found(state["messages"]))
    return tuple(catalogue[name] for name in names if name in catalogue and name not in offered)


def list_callable_names(state: UmiState) -> list[str] | None:
    """Return the names of the tools that may be called, None if all may."""
    offered = state.get("offered")
    return None if offered is None else list(dict.fromkeys([*offered, *_iter_found(state["messages"])]))


def _iter_found(messages: Sequence[AnyMessage]) -> Iterator[str]:
    for message in messages:
        if isinstance(message, ToolMessage) and message.name == FIND_TOOLS and isinstance(message.artifact, list):
            yield from message.artifact


def _iter_called(messages: Sequence[AnyMessage]) -> Iterator[str]:
    """Yield the names of called tools, each where it was last called."""
    names = [call["name"] for message in messages if isinstance(message, AIMessage) for call in message.tool_calls]
    yield from reversed(dict.fromkeys(reversed(names)))


def _make_find_tools(retriever: ToolRetriever, max_chars: int) -> BaseTool:
    def find_tools(query: str) -> tuple[str, list[str]]:
        lines = [_FOUND]
        names: list[str] = []
        for spec in retriever.search(query):
            line = render_tool(spec)
            if names and len("\n".join([*lines, line])) > max_chars:
                break
            lines.append(line)
            names.append(spec.name)
        return ("\n".join(lines), names) if names else (_NOT_FOUND, [])

    description = (
        f"Search {len(retriever.names):,} tools for ones that are not listed here. Use it when no listed tool can do "
        "the next step; the tools it finds can be called from then on."
    )
    parameters = {"type": "object", "properties": {"query": _QUERY}, "required": ["query"]}
    tool = make_tool(ToolSpec(FIND_TOOLS, description, parameters, effects="none", source="builtin"), find_tools)
    return tool.model_copy(update={"response_format": "content_and_artifact"})
