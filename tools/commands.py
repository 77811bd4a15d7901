"""Tools that return LangGraph's `Command`: its messages are the observation.

Where the agent goes next is the planner's to say, so a tool that names a node to go to is refused before it can run.
"""

from __future__ import annotations

import ast
import inspect
import logging
import sys
import textwrap
from collections.abc import Collection, Iterator, Sequence
from types import CodeType
from typing import Any

from langchain_core.messages import BaseMessage, RemoveMessage, ToolMessage, convert_to_messages
from langchain_core.tools import BaseTool
from langgraph.types import Command

from alpha_umi.errors import ConfigError
from alpha_umi.tools.injection import list_parts, read_hints_of
from alpha_umi.tools.observation import render_observation

_logger = logging.getLogger("alpha_umi.tools")
_DESTINATIONS = frozenset({"goto", "graph"})
_NOWHERE = frozenset({"None", "()", "[]"})


def refuse_destinations(tool: BaseTool) -> None:
    """Refuse a tool whose code or return type says that its `Command` goes to a node.

    Raises:
        ConfigError: If it does.
    """
    functions = [
        getattr(tool, name, None) for name in (("func", "coroutine") if hasattr(tool, "func") else ("_run", "_arun"))
    ]
    for function in filter(None, functions):
        if _names_destination(function) or _passes_destination(function, set()):
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


def _passes_destination(function: Any, seen: set[CodeType]) -> bool:
    """Look for ``Command(goto=…)`` in a function, and in those of its module that it calls."""
    function = inspect.unwrap(function)
    code = getattr(function, "__code__", None)
    if code is None or code in seen:
        return False
    seen.add(code)
    known = {name: function.__globals__.get(name) for name in _list_names(code)}
    commands = {name for name, value in known.items() if value is Command or name == "Command"}
    if commands and _calls_with_destination(function, commands):
        return True
    helpers = [value for value in known.values() if getattr(value, "__module__", None) == function.__module__]
    return any(_passes_destination(helper, seen) for helper in helpers if inspect.isfunction(helper))


def _list_names(code: CodeType) -> set[str]:
    inner = [_list_names(part) for part in code.co_consts if isinstance(part, CodeType)]
    return {*code.co_names, *code.co_freevars}.union(*inner)


def _calls_with_destination(function: Any, commands: Collection[str]) -> bool:
    """Read the source, or where there is none the names of arguments that the code holds."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        names = {name for part in function.__code__.co_consts if isinstance(part, tuple) for name in part}
        return not names.isdisjoint(_DESTINATIONS)
    return any(
        isinstance(call, ast.Call)
        and (getattr(call.func, "id", None) in commands or getattr(call.func, "attr", None) == "Command")
        and any(each.arg in _DESTINATIONS and ast.unparse(each.value) not in _NOWHERE for each in call.keywords)
        for call in ast.walk(tree)
    )


def read_command(results: Sequence[Any], tool: str) -> ToolMessage | str:
    """Return the observation of one or several `Command` and other results: the tool's message, or the text of all.

    The tool has run, so what cannot be done with the rest is logged and not held against it.
    """
    messages = [message for result in results for message in _list_messages(result, tool)]
    answers = [message for message in messages if isinstance(message, ToolMessage)]
    if len(answers) == 1:
        return answers[0]
    return "\n".join(str(message.text) for message in answers or messages)


def _list_messages(result: Any, tool: str) -> Iterator[BaseMessage]:
    if not isinstance(result, Command):
        is_message = isinstance(result, BaseMessage)
        yield result if is_message else ToolMessage(render_observation(result, sys.maxsize), tool_call_id="")
        return
    raw: list[Any] = []
    ignored: list[str] = []
    for key, value in result._update_as_tuples():
        if key in ("messages", "__root__"):
            raw += value if isinstance(value, list | tuple) else [value]
        else:
            ignored.append(f"update of {key!r}")
    messages = [_read_message(each) for each in raw if each is not None]
    ignored += [name for name in ("goto", "graph", "resume") if getattr(result, name)]
    ignored += ["removal of messages"] * any(isinstance(message, RemoveMessage) for message in messages)
    if ignored:
        _logger.warning("%s ran; of its Command only the messages are used, not: %s.", tool, ", ".join(ignored))
    yield from (message for message in messages if not isinstance(message, RemoveMessage))


def _read_message(raw: Any) -> BaseMessage:
    try:
        return convert_to_messages([raw])[0]
    except (ValueError, TypeError, NotImplementedError):
        return ToolMessage(render_observation(raw, sys.maxsize), tool_call_id="")
