"""Tools from and to what LangChain calls a tool; the only place that knows LangChain's tool classes.

Everything that runs is a LangChain `BaseTool`: a user's own, a plain function, or a function behind a `ToolSpec`.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Annotated, Any, TypeAlias, TypeVar

from langchain_core.tools import BaseTool, StructuredTool, Tool
from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo
from pydantic.v1 import BaseModel as OldModel

from alpha_umi.errors import ConfigError
from alpha_umi.tools.commands import refuse_destinations
from alpha_umi.tools.names import say_name
from alpha_umi.tools.spec import Effects, ToolSpec, log_omissions, read_hints
from alpha_umi.tools.spec.satisfiable import require_satisfiable
from alpha_umi.tools.spec.schema import map_schema

ToolLike: TypeAlias = BaseTool | Callable[..., Any]
T = TypeVar("T", bound=ToolLike)

# StructuredTool takes these two for itself, so the function never sees the model's value.
_MAX_NAME_CHARS = 64  # of model APIs
_TAKEN_BY_LANGCHAIN = frozenset({"config", "run_manager"})


class SpecTool(StructuredTool):
    """A function behind a spec; unlike its base it may have arguments named `config` or `run_manager`."""

    # A field and not metadata, which a remote server may fill in: it must not pass for another source.
    source: str
    own_name: str = ""
    returns: Mapping[str, Any] | None = None  # JSON Schema of what it replies, where its source tells

    def _run(self, /, **arguments: Any) -> Any:  # type: ignore[override]
        if self.func is None:
            raise NotImplementedError(f"Tool {self.name!r} is asynchronous; call it with ainvoke.")
        return self.func(**arguments)

    async def _arun(self, /, **arguments: Any) -> Any:  # type: ignore[override]
        if self.coroutine is None:
            return await asyncio.to_thread(self._run, **arguments)
        return await self.coroutine(**arguments)


def make_tool(spec: ToolSpec, function: Callable[..., Any], *, returns: Mapping[str, Any] | None = None) -> BaseTool:
    """Put a function, sync or async, behind a spec; `returns` is the JSON Schema of what it replies, if known."""
    function = _collecting(function)
    is_async = inspect.iscoroutinefunction(function)
    return SpecTool(
        name=spec.name,
        description=spec.description,
        args_schema=deepcopy(dict(spec.parameters)),
        func=None if is_async else function,
        coroutine=function if is_async else None,
        metadata={"effects": spec.effects},
        source=spec.source,
        own_name=spec.own_name,
        returns=returns,
    )


def tell_apart(tools: Sequence[BaseTool]) -> list[BaseTool]:
    """Put the name of its source before that of every tool whose name another one has too, and say so.

    All of them change: if the first kept the name, a server could take it, and the rules about it, from another.
    """
    found = list(tools)
    changed: dict[int, str] = {}
    while True:
        count = Counter(tool.name for tool in found)
        same = [i for i, tool in enumerate(found) if count[tool.name] > 1 and i not in changed and _label(tool)]
        if not same:
            break
        for i in same:
            own, label = found[i].name, _label(found[i])
            name = re.sub(r"[^A-Za-z0-9_.-]+", "_", f"{label}_{own}")[:_MAX_NAME_CHARS]
            kept = getattr(found[i], "own_name", "") or own
            found[i] = found[i].model_copy(update={"name": name, "own_name": kept})
            changed[i] = f"{own!r} of {getattr(found[i], 'source', '')} is offered as {name!r}: others have its name"
    log_omissions("Tools", list(changed.values()))
    return found


def _label(tool: BaseTool) -> str:
    """Return the name that the user gave to the source of a tool."""
    return tool.source.partition(":")[2] if isinstance(tool, SpecTool) else ""


def declare_effects(effects: Effects) -> Callable[[T], T]:
    """Say what a call changes outside the agent, see `ToolSpec`: a decorator for functions and LangChain tools.

    A LangChain tool comes back as a copy.

    Example:
        >>> @declare_effects("idempotent")
        ... def set_lamp(on: bool) -> str:
        ...     '''Turn the lamp on or off.'''
        ...     return "on" if on else "off"
    """

    def declare(tool: T) -> T:
        if isinstance(tool, BaseTool):
            return tool.model_copy(update={"metadata": {**(tool.metadata or {}), "effects": effects}})
        tool.effects = effects  # type: ignore[attr-defined]  # functions take any attribute
        return tool

    return declare


def to_base_tool(tool: ToolLike) -> BaseTool:
    """Return a LangChain tool as it is, but for aliases of its arguments, and a plain function as one.

    What an async generator yields is collected, on the event loop.
    The function's name, docstring (Google style) and type hints become name, descriptions and schema; without a
    docstring the name in words is the description.

    Raises:
        ConfigError: If it is neither, or the function lacks what the model must be told.
    """
    if isinstance(tool, BaseTool):
        return _name_by_field(_collect_stream(tool))
    if not (inspect.ismethod(tool) or inspect.isfunction(inspect.unwrap(tool))):
        raise ConfigError(
            f"{tool!r} cannot be used as a tool: give a LangChain tool, or a function or method with a docstring; "
            "wrap anything else in a function."
        )
    if not tool.__name__.isidentifier():
        raise ConfigError(f"{tool!r} needs a name and a docstring, which tell the model what it does: write a def.")
    _refuse_positional(tool)
    if not (has_text := bool(inspect.getdoc(tool))):
        log_omissions("Tools", [f"{tool.__name__} has no docstring, so the models are told no more than its name"])
    tool = _collecting(tool)
    is_async = inspect.iscoroutinefunction(tool)
    declared = getattr(tool, "effects", None)
    try:
        made = StructuredTool.from_function(
            func=None if is_async else tool,
            coroutine=tool if is_async else None,
            description=None if has_text else say_name(tool.__name__),
            parse_docstring=has_text,
            metadata={"effects": declared} if declared else None,
        )
        return _name_by_field(made)
    except Exception as error:
        raise ConfigError(
            f"Function {tool.__name__!r} cannot be used as a tool: {error}. "
            "Give its arguments type hints that JSON Schema can express."
        ) from error


def _refuse_positional(function: Callable[..., Any]) -> None:
    """Refuse arguments that have no name to give them by, as models and LangChain do."""
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            name = str(parameter).partition(":")[0]
            raise ConfigError(
                f"Function {function.__name__!r} cannot be used as a tool: {name!r} cannot be given by its name. "
                "Make it a plain argument, a list where there can be several."
            )


def _collecting(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a coroutine function of one that is an async generator."""
    if not inspect.isasyncgenfunction(function):
        return function

    @functools.wraps(function)
    async def collect_all(*args: Any, **kwargs: Any) -> list[Any]:
        return [item async for item in function(*args, **kwargs)]

    return collect_all


def _collect_stream(tool: BaseTool) -> BaseTool:
    function, coroutine = getattr(tool, "func", None), getattr(tool, "coroutine", None)
    if inspect.isasyncgenfunction(coroutine):
        return tool.model_copy(update={"coroutine": _collecting(coroutine)})
    if not inspect.isasyncgenfunction(function) or coroutine is not None:
        return tool
    return tool.model_copy(update={"func": None, "coroutine": _collecting(function)})


def spec_from_tool(tool: BaseTool) -> ToolSpec:
    """Return the description of a LangChain tool for the model.

    Raises:
        ConfigError: If its name or schema cannot be used, no arguments can satisfy it, or it wants to say where the
            graph goes.
    """
    spec = _describe(_name_by_field(tool))
    require_satisfiable(spec)
    return spec


def _describe(tool: BaseTool) -> ToolSpec:
    refuse_destinations(tool)
    if isinstance(tool, Tool) and tool.args_schema is None:
        # Its own schema is that of a wrapper; the tool takes one string.
        parameters = _as_object(tool.args) | {"required": list(tool.args)}
        return _make_spec(tool, parameters)
    schema = tool.tool_call_schema
    if isinstance(schema, Mapping):
        parameters = _tidy(schema)
    else:
        # Pydantic drops unknown arguments silently; the model should learn that it made one up.
        parameters = {"additionalProperties": False} | _tidy(_json_schema(tool, schema))
    parameters.pop("description", None)
    properties = parameters.pop("properties", {})
    _refuse_taken(tool, properties)
    return _make_spec(tool, _as_object(properties) | parameters)


def _make_spec(tool: BaseTool, parameters: dict[str, Any]) -> ToolSpec:
    own_name = tool.own_name if isinstance(tool, SpecTool) else ""
    return ToolSpec(tool.name, tool.description, parameters, _read_effects(tool), _read_source(tool), own_name)


def _name_by_field(tool: BaseTool) -> BaseTool:
    """Return a tool whose arguments go by the names of their fields, if they have aliases.

    LangChain validates by alias and then looks for the names of the fields, so that it drops every aliased argument.
    """
    model = tool.args_schema
    if isinstance(model, type) and issubclass(model, OldModel):
        return tool.model_copy(update={"args_schema": _name_old_by_field(model)})
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return tool
    fields = {name: (field, field.validation_alias) for name, field in model.model_fields.items()}
    if all(alias in (None, name) for name, (_, alias) in fields.items()):
        return tool
    plain = type(model.__name__, (model,), {"model_config": ConfigDict(alias_generator=None), "__module__": __name__})
    return tool.model_copy(
        update={
            "args_schema": create_model(
                model.__name__,
                __base__=plain,
                __doc__=model.__doc__,
                **{name: _drop_alias(field) for name, (field, _) in fields.items()},
            )
        }
    )


def _name_old_by_field(model: type[OldModel]) -> type[OldModel]:
    """Do the same for a model of pydantic 1, whose subclass has copies of its fields."""
    plain: type[OldModel] = type(model.__name__, (model,), {"__doc__": model.__doc__, "__module__": __name__})
    for field in plain.__fields__.values():
        field.alias, field.field_info.alias = field.name, None
    return plain


def _drop_alias(field: FieldInfo) -> Any:
    parts = field.asdict()
    kind, marks = parts["annotation"], parts["metadata"]
    attributes = {key: value for key, value in parts["attributes"].items() if "alias" not in key}
    return Annotated[(kind, *marks, Field(**attributes))]


def runs_async(tool: BaseTool, *, on_loop: bool) -> bool:
    """Say whether the tool is to be run as a coroutine.

    On an event loop that is preferred, otherwise only done for tools that are nothing else (as MCP tools are).
    """
    if not on_loop:
        return getattr(tool, "func", tool) is None
    if hasattr(tool, "coroutine"):
        return tool.coroutine is not None
    return type(tool)._arun is not BaseTool._arun


def _read_effects(tool: BaseTool) -> Effects:
    """Return what a tool declares, as a field of its class, in its metadata, or as an MCP server's hints there."""
    metadata = tool.metadata or {}
    declared: Effects = getattr(tool, "effects", None) or metadata.get("effects") or read_hints(metadata)
    return declared


def _read_source(tool: BaseTool) -> str:
    if isinstance(tool, SpecTool):
        return tool.source
    module = getattr(getattr(tool, "func", None), "__module__", None) or ""
    return "builtin" if module.startswith("alpha_umi.tools.builtin.") else "langchain"


def _as_object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties)}


def _json_schema(tool: BaseTool, model: Any) -> dict[str, Any]:
    try:
        schema: dict[str, Any] = model.model_json_schema() if issubclass(model, BaseModel) else model.schema()
    except Exception as error:
        raise ConfigError(
            f"Tool {tool.name!r}: its arguments have no JSON Schema ({error}). "
            "Use plain types (str, int, float, bool, list, dict, Literal, pydantic models)."
        ) from error
    return schema


def _tidy(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a schema without the titles that pydantic derives from names; `$defs` and references stay."""
    tidy: dict[str, Any] = map_schema(
        deepcopy(dict(schema)), lambda part: {key: value for key, value in part.items() if key != "title"}
    )
    return tidy


def _refuse_taken(tool: BaseTool, properties: Mapping[str, Any]) -> None:
    taken = sorted(_TAKEN_BY_LANGCHAIN.intersection(properties))
    if taken and isinstance(tool, StructuredTool) and not isinstance(tool, SpecTool):
        raise ConfigError(
            f"Tool {tool.name!r}: LangChain keeps the argument name {taken[0]!r} for itself and would drop the model's "
            "value. Rename the argument, or build the tool with alpha_umi.tools.make_tool. If it is to be the run's "
            "config, annotate it as exactly `config: RunnableConfig`."
        )
