"""Arguments that the program gives a tool, and no model: the graph's state and store, the run, values of the caller.

They are marked as LangChain marks them: `InjectedState`, `InjectedStore`, `ToolRuntime` and `InjectedToolArg`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from langchain_core.tools import BaseTool, InjectedToolArg, InjectedToolCallId, ToolException
from langgraph.prebuilt import InjectedState, InjectedStore, ToolRuntime


@dataclass(frozen=True, slots=True)
class Injected:
    """Where the value of one argument comes from: a field of the state (None for all of it), or a value by its name."""

    kind: Literal["state", "store", "runtime", "value"]
    field: str | None
    has_default: bool


class NotGivenError(ToolException):
    """A value that a tool is to be given is not there, so the tool cannot run."""


def find_injected(tool: BaseTool) -> dict[str, Injected]:
    """Return the arguments of a tool that no model fills, but for those that LangChain itself does."""
    found: dict[str, Injected] = {}
    for name, annotation, has_default in _iter_parameters(tool):
        if (injected := _read_annotation(name, annotation, has_default)) is not None:
            found.setdefault(name, injected)
    return found


def inject(injected: Mapping[str, Injected], runtime: ToolRuntime[Any, Any]) -> dict[str, Any]:
    """Return the values of arguments; one with a default may be missing.

    Raises:
        NotGivenError: If a value is not there.
    """
    values: dict[str, Any] = {}
    for name, each in injected.items():
        try:
            values[name] = _find_value(name, each, runtime)
        except NotGivenError:
            if not each.has_default:
                raise
    return values


def _find_value(name: str, injected: Injected, runtime: ToolRuntime[Any, Any]) -> Any:
    if injected.kind == "runtime":
        return runtime
    if injected.kind == "store":
        if runtime.store is None:
            raise NotGivenError("it needs a store, and the agent has none: give create_umi_agent a store.")
        return runtime.store
    if injected.kind == "value":
        configurable = runtime.config.get("configurable", {})
        if name not in configurable:
            raise NotGivenError(f"it needs {name!r}: give it in the run's config, {{'configurable': {{{name!r}: …}}}}.")
        return configurable[name]
    if injected.field is None:
        return runtime.state
    if injected.field not in runtime.state:
        known = ", ".join(sorted(runtime.state)) or "nothing, as it runs in no graph"
        raise NotGivenError(f"it needs {injected.field!r} of the graph's state, which holds {known}.")
    return runtime.state[injected.field]


def _read_annotation(name: str, annotation: Any, has_default: bool) -> Injected | None:
    for part in list_parts(annotation):
        kind = part if isinstance(part, type) else type(part)
        if part is ToolRuntime:
            return Injected("runtime", None, has_default)
        if issubclass(kind, InjectedState):
            return Injected("state", getattr(part, "field", None), has_default)
        if issubclass(kind, InjectedStore):
            return Injected("store", None, has_default)
        if issubclass(kind, InjectedToolArg) and not issubclass(kind, InjectedToolCallId):
            return Injected("value", None, has_default)
    return None


def list_parts(annotation: Any) -> Iterator[Any]:
    """Yield what an annotation is made of, the outermost first: its origin, its members and marks."""
    yield get_origin(annotation) or annotation
    for part in get_args(annotation):
        yield from list_parts(part)


def _iter_parameters(tool: BaseTool) -> Iterator[tuple[str, Any, bool]]:
    """Yield name, annotation and "has a default" from all places where LangChain looks for injected arguments."""
    for source in (tool.args_schema, getattr(tool, "func", None), getattr(tool, "coroutine", None)):
        if source is not None and not isinstance(source, Mapping):
            yield from _read_parameters(source)
    yield from _read_class_parameters(type(tool))


@lru_cache(maxsize=256)
def _read_class_parameters(kind: type[BaseTool]) -> tuple[tuple[str, Any, bool], ...]:
    """Read a class once: thousands of tools of one source are of one class."""
    return (*_read_parameters(kind._run), *_read_parameters(kind._arun))


def _read_parameters(source: Callable[..., Any]) -> Iterator[tuple[str, Any, bool]]:
    hints = read_hints_of(source)
    for name, parameter in inspect.signature(source).parameters.items():
        yield name, hints.get(name, parameter.annotation), parameter.default is not parameter.empty


def read_hints_of(source: Any) -> dict[str, Any]:
    """Return the type hints of a function or class; none if one cannot be resolved, as LangChain reads it."""
    try:
        return get_type_hints(source, include_extras=True)
    except Exception:  # an unresolvable forward reference is no injection
        return {}
