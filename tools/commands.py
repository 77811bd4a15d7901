"""Tools that return LangGraph's `Command`: its messages are the observation.

Where the agent goes next is the planner's to say, so a tool that names a node to go to is refused before it can run.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.messages import BaseMessage, RemoveMessage, ToolMessage, convert_to_messages
from langchain_core.tools import BaseTool
from langgraph.types import Command

from alpha_umi.errors import ConfigError
from alpha_umi.tools.injection import list_parts, read_hints_of

_logger = logging.getLogger("alpha_umi.tools")
_DESTINATIONS = frozenset({"goto", "graph", "resume"})


def refuse_destinations(tool: BaseTool) -> None:
    """Refuse a tool whose code or return type says that its `Command` goes to a node.

    Raises:
        ConfigError: If it does.
    """
    functions = [
        getattr(tool, name, None) for name in (("func", "coroutine") if hasattr(tool, "func") else ("_run", "_arun"))
    ]
    for function in filter(None, functions):
        if _names_destination(function) or _passes_destination(function):
            raise ConfigError(
                f"Tool {tool.name!r} returns a Command that goes to a node, which alpha-UMi cannot follow: its "
                "planner decides what comes next. Return the text, or Command(update={'messages': …}); with "
                "return_direct=True the result ends the turn. To hand over, route after the agent in your own graph."
            )


def _names_destination(function: Any) -> bool:
    """Look for ``Command[Literal["node"]]`` as the return type; resolving types is slow, so the text is read first."""
    if "Command" not in str(getattr(function, "__annotations__", {}).get("return")):
        return False
    parts = [*list_parts(read_hints_of(function).get("return"))]
    return Command in parts and any(isinstance(part, str) for part in parts)


def _passes_destination(function: Any) -> bool:
    """Look for ``Command(goto=…)`` in compiled code, where names of arguments stand together in one constant."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None or "Command" not in (*code.co_names, *code.co_freevars):
        return False
    return any(
        isinstance(names, tuple) and not _DESTINATIONS.isdisjoint(_list_texts(names)) for names in code.co_consts
    )


def _list_texts(values: Sequence[Any]) -> list[str]:
    return [value for value in values if isinstance(value, str)]


def read_command(results: Sequence[Any], tool: str) -> ToolMessage | str:
    """Return the observation of one or several `Command` and `ToolMessage`: the tool's message, or the text of all.

    The tool has run, so what cannot be done with the rest is logged and not held against it.
    """
    messages = [message for result in results for message in _list_messages(result, tool)]
    answers = [message for message in messages if isinstance(message, ToolMessage)]
    if len(answers) == 1:
        return answers[0]
    return "\n".join(str(message.text) for message in answers or messages)


def _list_messages(result: Any, tool: str) -> Iterator[BaseMessage]:
    if isinstance(result, BaseMessage):
        yield result
        return
    update = result.update
    values = dict(update) if isinstance(update, dict) else {"messages": update}
    raw = values.pop("messages", None) or []
    messages = convert_to_messages(raw if isinstance(raw, list | tuple) else [raw])
    ignored = [f"update of {key!r}" for key in values]
    ignored += [name for name in sorted(_DESTINATIONS) if getattr(result, name)]
    ignored += ["removal of messages"] * any(isinstance(message, RemoveMessage) for message in messages)
    if ignored:
        _logger.warning("%s ran; of its Command only the messages are used, not: %s.", tool, ", ".join(ignored))
    yield from (message for message in messages if not isinstance(message, RemoveMessage))
