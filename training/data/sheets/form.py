"""The form of a sheet, its reader and its checks; every fault names file and line."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from alpha_umi.errors import ConfigError
from alpha_umi.training.data.sheets.wording import (
    SLOT,
    ToolWording,
    ValueSource,
    WordLists,
    parse_result,
    parse_source,
    parse_wording,
)
from alpha_umi.yaml_files import YamlFile, read_yaml

FOLDER = Path(__file__).parent
Scalar: TypeAlias = str | int | float | bool
JsonType: TypeAlias = Literal["string", "integer", "number", "boolean", "array", "object"]
_SCHEMA_KEYS = ("description", "enum", "format", "pattern", "minimum", "maximum", "default")
_FORMATS = {"date": "date", "past date": "date", "recent date": "date", "datetime": "date-time"}


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


class PlainLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads ``on``, ``no``, ``2027-05-03`` and ``12:30`` as the texts they are, as YAML 1.2 does."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


for _tag, _pattern, _first in (
    ("bool", r"true|false", "tf"),
    ("int", r"-?(?:0|[1-9][0-9]*)", "-0123456789"),
    ("float", r"-?[0-9]+\.[0-9]+", "-0123456789"),
    ("null", r"null|~|", ["n", "~", ""]),
):
    PlainLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))


class SheetParameter(BaseModel):
    """One argument of a tool: what the model is told, where values come from, how people say them."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    type: JsonType | None = None
    description: str = ""
    enum: list[Scalar] | None = None
    format: str | None = None
    pattern: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    default: Any = None
    source: str | list[Scalar] | None = Field(default=None, alias="from")
    say: dict[Scalar, Annotated[list[str], BeforeValidator(_as_list)]] = {}
    optional: bool = False
    said: float = Field(default=0.5, ge=0, le=1)
    what: str = ""
    items: SheetParameter | None = None
    count: tuple[int, int] = (1, 3)
    properties: dict[str, SheetParameter] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (
            self.properties is None
            and self.items is None
            and self.source is None
            and self.enum is None
            and not self.say
        ):
            raise ValueError("say where values come from: from, enum, say, items or properties")
        if self.enum and self.say and (unknown := [key for key in self.say if key not in self.enum]):
            raise ValueError(f"say: {unknown[0]!r} is not in enum")
        return self

    @cached_property
    def json_type(self) -> JsonType:
        """The JSON type; told from where the values come from if the sheet does not say it."""
        if self.type:
            return self.type
        if self.properties is not None:
            return "object"
        if self.items is not None:
            return "array"
        if isinstance(self.source, str) and self.source.startswith(("int ", "decimal ")):
            return "integer" if self.source.startswith("int ") else "number"
        samples = self.enum or (self.source if isinstance(self.source, list) else list(self.say)) or [""]
        kinds: dict[type, JsonType] = {bool: "boolean", int: "integer", float: "number"}
        return kinds.get(type(samples[0]), "string")

    def to_schema(self) -> dict[str, Any]:
        """Return the JSON Schema that the model is told."""
        schema: dict[str, Any] = {"type": self.json_type}
        schema |= {key: value for key in _SCHEMA_KEYS if (value := getattr(self, key)) not in (None, "")}
        if self.format is None and isinstance(self.source, str) and _FORMATS.get(self.source):
            schema["format"] = _FORMATS[self.source]
        if self.items is not None:
            schema["items"] = self.items.to_schema()
        if self.properties is not None:
            schema |= make_object_schema(self.properties)
        return schema


class SheetTool(BaseModel):
    """One tool and how people ask for it."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z_][\w.\-/]{0,63}$")
    description: str
    parameters: dict[str, SheetParameter] = {}
    effects: Literal["none", "idempotent", "once"] = "none"
    ask: list[str] = Field(min_length=1)
    again: list[str] = []
    then: dict[str, list[str]] = {}
    cannot: str
    returns: dict[str, str | list[Scalar]] = {}
    reply: Any
    answer: str | None = None
    fails: list[str] = []
    missing: Literal["give up", "ask"] = "give up"


class _SheetFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    domain: str
    held_out: bool = False
    values: dict[str, Annotated[list[Scalar], Field(min_length=2)]] = {}
    tools: list[SheetTool] = Field(min_length=1)


@dataclass(frozen=True)
class ToolSheet:
    """One tool of one domain, checked."""

    domain: str
    held_out: bool
    tool: SheetTool
    lists: WordLists
    where: str

    @cached_property
    def wordings(self) -> tuple[ToolWording, ...]:
        """The ways to ask for it."""
        return tuple(parse_wording(text, list(self.sources)) for text in self.tool.ask)

    @cached_property
    def follow_ups(self) -> tuple[ToolWording, ...]:
        """The ways to ask for it again with one other value."""
        return tuple(parse_wording(text, list(self.sources)) for text in self.tool.again)

    @cached_property
    def sources(self) -> Mapping[str, SheetParameter]:
        """Parameters that are said in one piece, by their path: ``date``, ``address.street``."""
        return dict(_iter_leaves(self.tool.parameters))

    @cached_property
    def links(self) -> Mapping[tuple[str, str], tuple[str, tuple[ToolWording, ...]]]:
        """What may be asked right after another tool: (its name, its value) → parameter, and wordings without it."""
        links: dict[tuple[str, str], tuple[str, tuple[ToolWording, ...]]] = {}
        for path, texts in self.tool.then.items():
            wordings = tuple(parse_wording(text, [name for name in self.sources if name != path]) for text in texts)
            links |= {result: (path, wordings) for result in list_results(self.sources[path])}
        return links

    def check_source(self, parameter: SheetParameter, results: Collection[str]) -> None:
        """Refuse a parameter whose values cannot be drawn.

        Raises:
            ConfigError: If its ``from`` names nothing.
        """
        if parameter.items is not None:
            self.check_source(parameter.items, results)
        if parameter.source is not None:
            parse_source(first_source(parameter), self.lists)
        if wrong := [".".join(part) for part in list_results(parameter) if ".".join(part) not in results]:
            raise ConfigError(
                f"from: {wrong[0]!r} is no TOOL.VALUE of this file; there are {', '.join(sorted(results))}."
            )

    @cached_property
    def made_up(self) -> Mapping[str, ValueSource]:
        """What draws the values that the tool makes up."""
        return {name: parse_source(text, self.lists) for name, text in self.tool.returns.items()}


def first_source(parameter: SheetParameter) -> str | list[Scalar]:
    """Return where a value comes from that is not another tool's: all before the first `` or ``."""
    source = parameter.source or ""
    return source.split(" or ")[0].strip() if isinstance(source, str) else source


def list_results(parameter: SheetParameter) -> list[tuple[str, str]]:
    """Return the results of other tools that can be the value: (tool, value)."""
    source = parameter.source
    return [parse_result(part.strip()) for part in source.split(" or ")[1:]] if isinstance(source, str) else []


def make_object_schema(parameters: Mapping[str, SheetParameter]) -> dict[str, Any]:
    """Return the JSON Schema of an object with these properties."""
    required = [name for name, parameter in parameters.items() if not parameter.optional]
    properties = {name: parameter.to_schema() for name, parameter in parameters.items()}
    return {"type": "object", "properties": properties, "required": required}


def _iter_leaves(parameters: Mapping[str, SheetParameter], prefix: str = "") -> Iterator[tuple[str, SheetParameter]]:
    for name, parameter in parameters.items():
        if parameter.properties is None:
            yield prefix + name, parameter
        else:
            yield from _iter_leaves(parameter.properties, f"{prefix}{name}.")


def load_sheets(place: Path) -> tuple[ToolSheet, ...]:
    """Read all sheets of a folder, or those of one file.

    Raises:
        ConfigError: If a file cannot be read or a sheet is wrong: with file, line, and what to write there.
    """
    paths = sorted(place.glob("*.yaml")) if place.is_dir() else [place]
    if not paths:
        raise ConfigError(f"{place} holds no .yaml file; write a sheet there, see docs/tool-sheets.md.")
    sheets = [sheet for path in paths for sheet in _read_sheets(path)]
    seen: dict[str, str] = {}
    for sheet in sheets:
        if other := seen.get(sheet.tool.name):
            raise ConfigError(f"{sheet.where}: there is a tool {sheet.tool.name!r} already, in {other}; rename one.")
        seen[sheet.tool.name] = sheet.where
    return tuple(sheets)


def load_world() -> tuple[ToolSheet, ...]:
    """Read the sheets of invented tools that ship with the package."""
    return load_sheets(FOLDER / "world")


def _read_sheets(path: Path) -> Iterator[ToolSheet]:
    try:
        file = read_yaml(path, PlainLoader)
        content = _SheetFile.model_validate(file.values)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}. Correct the path.") from error
    except ValidationError as error:
        faults = [(fault["loc"], f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}") for fault in error.errors()]
        raise ConfigError("\n".join(f"{_locate(path, file, keys)}: {text}" for keys, text in faults)) from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    lists = {**_load_common(), **content.values}
    results = {f"{tool.name}.{name}" for tool in content.tools for name in tool.returns}
    for number, tool in enumerate(content.tools):
        where = _locate(path, file, ("tools", number, "name"))
        sheet = ToolSheet(content.domain, content.held_out, tool, lists, where)
        for keys, problem in _find_faults(sheet, results):
            raise ConfigError(f"{_locate(path, file, ('tools', number, *keys))}: {tool.name}: {problem}")
        yield sheet


def _locate(path: Path, file: YamlFile, keys: Iterable[str | int]) -> str:
    return f"{path}, line {file.find_line(keys)}"


@cache
def _load_common() -> WordLists:
    """Return the word lists that every sheet may use."""
    lists: WordLists = read_yaml(FOLDER / "common.yaml", PlainLoader).values
    return lists


def _find_faults(sheet: ToolSheet, results: Collection[str]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield what is wrong: the keys that lead to it, and what to do."""
    tool = sheet.tool
    for path, parameter in sheet.sources.items():
        yield from _catch(("parameters", *path.split(".")), sheet.check_source, parameter, results)
    for key, texts in (("ask", tool.ask), ("again", tool.again)):
        for i, text in enumerate(texts):
            yield from _catch((key, i), parse_wording, text, list(sheet.sources))
    for path in tool.then:
        if path not in sheet.sources or not list_results(sheet.sources[path]):
            yield ("then", path), f"then: {path} is no parameter whose 'from' ends with 'or TOOL.VALUE'."
            return
    yield from _catch(("then",), lambda: sheet.links)
    required = {path for path in sheet.sources if not is_optional(tool.parameters, path)}
    for i, wording in enumerate(sheet.wordings):
        if unsaid := required - wording.slots:
            yield ("ask", i), f"{wording.text!r} does not say {{{min(unsaid)}}}, which the tool needs."
        if optional := wording.always_said - required:
            yield ("ask", i), f"{wording.text!r}: put {{{min(optional)}}} in brackets; it is optional."
    for name, source in tool.returns.items():
        yield from _catch(("returns", name), parse_source, source, sheet.lists)
    known = {*sheet.sources, *tool.parameters, *tool.returns}
    said = {"reply": list(iter_texts(tool.reply)), "answer": [tool.answer or ""], "fails": tool.fails}
    for key, texts in said.items():
        for unknown in (slot for text in texts for slot in SLOT.findall(text) if slot not in known):
            yield (key,), f"{{{unknown}}} is neither a parameter nor one of returns."
    if tool.answer is None and not isinstance(tool.reply, str):
        yield ("reply",), "a reply that is no text needs an answer: how it is said to the user."


def _catch(
    keys: tuple[str | int, ...], check: Callable[..., object], *arguments: Any
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    try:
        check(*arguments)
    except ConfigError as error:
        yield keys, str(error)


def is_optional(parameters: Mapping[str, SheetParameter], path: str) -> bool:
    """Tell whether a value may be left out, because it or an object around it is optional."""
    name, _, rest = path.partition(".")
    parameter = parameters[name]
    return parameter.optional or (parameter.properties is not None and is_optional(parameter.properties, rest))


def iter_texts(reply: Any) -> Iterator[str]:
    """Yield every text in a reply."""
    if isinstance(reply, Mapping):
        reply = [*reply.values()]
    if isinstance(reply, list):
        for part in reply:
            yield from iter_texts(part)
    elif isinstance(reply, str):
        yield reply
