"""The parameters and the body of an OpenAPI operation → one flat set of arguments for the model."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from alpha_umi.tools.openapi.document import Document
from alpha_umi.tools.openapi.schema import read_schema, tidy_text

ArgumentPlace: TypeAlias = Literal["path", "query", "header", "cookie", "body"]
BodyKind: TypeAlias = Literal["json", "form", "multipart", "text"]

_STYLES = {
    "path": ("simple",),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
    "header": ("simple",),
    "cookie": ("form",),
}
# What the connection, the body and the credentials decide is no argument of a model.
_RESERVED_HEADERS = frozenset(
    {"accept", "authorization", "connection", "content-length", "content-type", "cookie", "host", "transfer-encoding"}
)
_BODY_KINDS: tuple[tuple[str, BodyKind], ...] = (
    (r"application/([\w.-]+\+)?json|\*/\*", "json"),
    (r"application/x-www-form-urlencoded", "form"),
    (r"multipart/form-data", "multipart"),
    (r"text/.*", "text"),
)


class Unusable(Exception):
    """An operation that no tool can be made of; its message says why."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of the model, and where it goes in the request.

    The server calls it `wire_name`, which is ``""`` if it is the whole body. `style` is OpenAPI's name for how lists
    and objects are written; with `explode` each item of a list gets its own pair.
    """

    name: str
    wire_name: str
    place: ArgumentPlace
    style: str = "form"
    explode: bool = True
    is_json: bool = False
    is_file: bool = False


class ArgumentReader:
    """Collects the arguments of one operation.

    Two parameters that share a name, in different places, get different ones for the model.
    """

    def __init__(self, document: Document) -> None:
        """Start without arguments."""
        self.arguments: list[Argument] = []
        self.problems: list[str] = []
        self._document = document
        self._properties: dict[str, Any] = {}
        self._required: list[str] = []

    @property
    def parameters(self) -> dict[str, Any]:
        """JSON Schema of the arguments."""
        schema: dict[str, Any] = {"type": "object", "properties": self._properties, "additionalProperties": False}
        return schema | {"required": self._required} if self._required else schema

    def add_parameters(
        self, path: str, shared: Mapping[str, Any], node: Mapping[str, Any], hidden: Collection[tuple[str, str]]
    ) -> None:
        """Add the operation's parameters and those of its path that it does not replace."""
        found: dict[tuple[str, str], Mapping[str, Any]] = {}
        for listed in (shared.get("parameters"), node.get("parameters")):
            for item in listed if isinstance(listed, list) else ():
                parameter = self._document.resolve(item)
                if not isinstance(parameter, Mapping) or not isinstance(parameter.get("name"), str):
                    raise Unusable("one of its parameters has no name")
                if not isinstance(parameter.get("in"), str) or parameter["in"] not in _STYLES:
                    raise Unusable(f"parameter {parameter['name']!r} is in {parameter.get('in')!r}")
                found[parameter["in"], parameter["name"]] = parameter
        for (place, name), parameter in found.items():
            is_reserved = place == "header" and name.lower() in _RESERVED_HEADERS
            if not is_reserved and (place, name.lower()) not in hidden:
                self._add_parameter(parameter)
        self._match_path(path)

    def add_body(self, node: Mapping[str, Any]) -> tuple[BodyKind | None, str]:
        """Make arguments of the body, one per property of an object, one for anything else; return kind and type."""
        request_body = self._document.resolve(node.get("requestBody"))
        content = request_body.get("content") if isinstance(request_body, Mapping) else None
        if not isinstance(content, Mapping) or not content:
            return None, ""
        for pattern, kind in _BODY_KINDS:
            for media_type, media in content.items():
                if re.fullmatch(pattern, str(media_type).partition(";")[0].strip().lower()):
                    schema = self._read_schema(media.get("schema", {}) if isinstance(media, Mapping) else {})
                    self._add_body_arguments(kind, schema, request_body)
                    return kind, "application/json" if media_type == "*/*" else str(media_type)
        if request_body.get("required") is True:
            raise Unusable(f"its body can only be written as {', '.join(map(str, content))}")
        return None, ""

    def _add_parameter(self, parameter: Mapping[str, Any]) -> None:
        name, place = parameter["name"], parameter["in"]
        style = parameter.get("style", _STYLES[place][0])
        if style not in _STYLES[place]:
            raise Unusable(f"parameter {name!r} is written in style {style!r}")
        content = parameter.get("content")
        # Machine-written documents often put the schema's keys into the parameter itself, as Swagger 2 did.
        node = parameter.get("schema", {key: parameter[key] for key in ("type", "enum", "items") if key in parameter})
        if isinstance(content, Mapping) and content:
            media = next(iter(content.values()))
            node = media.get("schema", {}) if isinstance(media, Mapping) else {}
        schema = self._read_schema(node)
        if description := tidy_text(parameter.get("description")):
            schema["description"] = description
        explode = parameter.get("explode", style == "form") is True
        argument = Argument(
            self._free_name(name, place), name, place, style, explode, is_json=isinstance(content, Mapping)
        )
        self._add(argument, schema, is_required=place == "path" or parameter.get("required") is True)

    def _match_path(self, path: str) -> None:
        """Add what the path names and the parameters forgot."""
        declared = {argument.wire_name for argument in self.arguments if argument.place == "path"}
        named = dict.fromkeys(re.findall(r"\{([^{}]+)\}", path))
        if unnamed := declared - named.keys():
            raise Unusable(f"its path does not name its path parameter {', '.join(sorted(unnamed))}")
        for name in [name for name in named if name not in declared]:
            self.problems.append(f"its path names {name!r}, which is no parameter of it; taken as text")
            self._add(Argument(self._free_name(name, "path"), name, "path", "simple"), {"type": "string"}, True)

    def _add_body_arguments(self, kind: BodyKind, schema: dict[str, Any], request_body: Mapping[str, Any]) -> None:
        properties = schema.get("properties")
        if kind == "text" or not properties:
            if description := tidy_text(request_body.get("description")):
                schema.setdefault("description", description)
            argument = Argument(self._free_name("body", "body"), "", "body")
            self._add(argument, schema, is_required=request_body.get("required") is True)
            return
        for name, part in properties.items():
            is_file = part.get("format") == "binary"
            argument = Argument(self._free_name(name, "body"), name, "body", is_file=is_file)
            self._add(argument, part, is_required=name in schema.get("required", ()))

    def _add(self, argument: Argument, schema: dict[str, Any], is_required: bool) -> None:
        self.arguments.append(argument)
        self._properties[argument.name] = schema
        if is_required:
            self._required.append(argument.name)

    def _read_schema(self, node: Any) -> dict[str, Any]:
        schema, problems = read_schema(self._document, node)
        self.problems += problems
        return schema

    def _free_name(self, name: str, place: str) -> str:
        while name in self._properties:
            name = f"{place}_{name}"
        return name
