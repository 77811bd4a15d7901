"""The form of a sheet: what it may say of a tool, and of a tool that exists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from alpha_umi.tools.spec import Effects, ToolSpec
from alpha_umi.training.data.sheets.real_tool import RealTool
from alpha_umi.training.data.sheets.wording import (
    ToolWording,
    ValueSource,
    WordLists,
    parse_result,
    parse_source,
    parse_wording,
)
from alpha_umi.yaml_files import YamlFile

WORLD = Path(__file__).parent / "world"
"""The sheets that ship."""
ENOUGH_WORDINGS = 4
"""A tool that has fewer is warned of, and keeps none for evaluation."""
Scalar: TypeAlias = str | int | float | bool
JsonType: TypeAlias = Literal["string", "integer", "number", "boolean", "array", "object"]
_SCHEMA_KEYS = ("description", "enum", "format", "pattern", "minimum", "maximum", "default")
_FORMATS = {"date": "date", "past date": "date", "recent date": "date", "datetime": "date-time"}


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


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
    words: list[str] = []
    """Of an object in a list: how one is said, with its properties as slots."""

    @cached_property
    def leaves(self) -> Mapping[str, SheetParameter]:
        """The properties that are said in one piece, by their path."""
        return dict(_iter_leaves(self.properties or {}))

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


class ToolAsking(BaseModel):
    """How people ask for a tool, and what comes of it."""

    model_config = ConfigDict(extra="forbid")

    parameters: dict[str, SheetParameter] = {}
    ask: list[str] = Field(min_length=1)
    again: list[str] = []
    then: dict[str, list[str]] = {}
    cannot: str
    returns: dict[str, str | list[Scalar]] = {}
    answer: str | None = None
    fails: list[str] = []
    missing: Literal["give up", "ask"] = "give up"


class SheetTool(ToolAsking):
    """One tool and how people ask for it."""

    name: str = Field(pattern=r"^[A-Za-z_][\w.\-/]{0,63}$")
    description: str
    effects: Effects = "none"
    reply: Any


class ToolReference(ToolAsking):
    """How people ask for a tool that exists; `tool` says where, and what it is comes from there."""

    tool: str
    effects: Effects | None = None
    reply: Any = None


@dataclass(frozen=True, order=True, slots=True)
class SheetFinding:
    """Something to mend in a sheet: where, and what to do."""

    path: Path
    line: int
    text: str

    def __str__(self) -> str:
        """Return one line that names file and line."""
        return f"{self.path}, line {self.line}: {self.text}"


@dataclass(frozen=True, slots=True)
class SheetPlace:
    """Where something stands in a file: behind these keys."""

    path: Path
    file: YamlFile
    keys: tuple[str | int, ...] = ()

    def read(self, key: str) -> Any:
        """Return what the file says here under a key, None if nothing."""
        value = self.file.values
        for each in (*self.keys, key):
            value = value[each] if isinstance(each, int) or each in value else None
        return value

    def find(self, text: str, *keys: str | int) -> SheetFinding:
        """Return a finding about what stands here, or behind further keys."""
        return SheetFinding(self.path, self.file.find_line((*self.keys, *keys)), text)


@dataclass(frozen=True)
class ToolSheet:
    """One tool of one domain, checked.

    Args:
        domain: Of which domain it is.
        held_out: Whether the domain is kept for evaluation.
        tool: What the sheet says.
        lists: The word lists that it can name.
        place: Where it stands.
        real: The tool that it refers to, None if it is invented.
    """

    domain: str
    held_out: bool
    tool: SheetTool
    lists: WordLists
    place: SheetPlace = field(compare=False)
    real: RealTool | None = field(default=None, compare=False)

    @property
    def where(self) -> str:
        """File and line."""
        finding = self.place.find("")
        return f"{finding.path}, line {finding.line}"

    @property
    def ships(self) -> bool:
        """Whether it is one of the invented tools of the package."""
        return self.place.path.parent == WORLD

    @property
    def is_run(self) -> bool:
        """Whether the replies are those of the real tool."""
        return self.real is not None and self.tool.reply is None

    @cached_property
    def spec(self) -> ToolSpec:
        """What the model is told."""
        tool = self.tool
        if self.real:
            return replace(self.real.spec, effects=tool.effects)
        return ToolSpec(tool.name, tool.description, make_object_schema(tool.parameters), effects=tool.effects)

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


def is_optional(parameters: Mapping[str, SheetParameter], path: str) -> bool:
    """Tell whether a value may be left out, because it or an object around it is optional."""
    name, _, rest = path.partition(".")
    parameter = parameters[name]
    return parameter.optional or (parameter.properties is not None and is_optional(parameter.properties, rest))
