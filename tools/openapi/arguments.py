"""The parameters of an OpenAPI operation, and its body → one flat set of arguments for the model."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import unquote_plus

from alpha_umi.tools.openapi.body import Body, list_media, may_be_text, read_part
from alpha_umi.tools.openapi.document import Document
from alpha_umi.tools.openapi.schema import read_schema, tidy_text
from alpha_umi.tools.openapi.styles import STYLES, Argument, Unusable, is_json

# What the connection, the body and the credentials decide is no argument of a model.
_RESERVED_HEADERS = frozenset(
    {"accept", "authorization", "connection", "content-length", "content-type", "cookie", "host", "transfer-encoding"}
)
_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
# A body whose schema says no more than this is written as one argument for each property.
_FLAT_KEYS = frozenset({"type", "properties", "required", "description", "default", "additionalProperties"})


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
        self, shared: Mapping[str, Any], node: Mapping[str, Any], hidden: Collection[tuple[str, str]]
    ) -> None:
        """Add the operation's parameters and those of its path that it does not replace."""
        found: dict[tuple[str, str], Mapping[str, Any]] = {}
        for listed in (self._document.resolve(level.get("parameters")) for level in (shared, node)):
            for item in listed if isinstance(listed, list) else ():
                parameter = self._document.resolve(item)
                if not isinstance(parameter, Mapping) or not isinstance(parameter.get("name"), str):
                    raise Unusable("one of its parameters has no name")
                found[str(parameter.get("in")), parameter["name"]] = parameter
        for (place, name), parameter in found.items():
            is_reserved = place == "header" and name.lower() in _RESERVED_HEADERS
            if is_reserved or (place, name.lower()) in hidden:
                continue
            is_required = place == "path" or parameter.get("required") is True
            try:
                self._add_parameter(parameter, place, is_required)
            except Unusable as error:
                if is_required:
                    raise
                self.problems.append(f"{error}, so it is left out")

    def match_address(self, url: str) -> str:
        """Add what the address names and the parameters forgot; return the address without what they add to it."""
        path, _, query = url.partition("?")
        declared = {argument.wire_name for argument in self.arguments if argument.place == "path"}
        if unnamed := declared.difference(_PLACEHOLDER.findall(url)):
            raise Unusable(f"its path does not name its path parameter {', '.join(sorted(unnamed))}")
        for name in dict.fromkeys(_PLACEHOLDER.findall(path)):
            if name not in declared:
                self.problems.append(f"its path names {name!r}, which is no parameter of it; taken as text")
                self._add(Argument(self._free_name(name, "path"), name, "path", "simple"), {"type": "string"}, True)
        asked = {argument.wire_name for argument in self.arguments if argument.place == "query"}
        fixed = []
        for pair in filter(None, query.split("&")):
            if declared.issuperset(_PLACEHOLDER.findall(pair)):
                fixed.append(pair)
            elif (key := unquote_plus(pair.partition("=")[0])) not in asked:
                self.problems.append(f"its path names {key!r}, which is no parameter of it; taken as text")
                self._add(Argument(self._free_name(key, "query"), key, "query"), {"type": "string"}, True)
        return f"{path}?{'&'.join(fixed)}" if fixed else path

    def add_body(self, node: Mapping[str, Any]) -> Body | None:
        """Make arguments of the body, one per property of a plain object, one for anything else."""
        request_body = self._document.resolve(node.get("requestBody"))
        content = self._document.resolve(request_body.get("content")) if isinstance(request_body, Mapping) else None
        if not isinstance(content, Mapping) or not content:
            return None
        is_required = request_body.get("required") is True
        for kind, media_type, found in list_media(content):
            media = self._document.resolve(found)
            media = media if isinstance(media, Mapping) else {}
            schema = self._read_schema(media.get("schema", {}))
            if kind == "text" and not may_be_text(schema):
                continue
            parts = {}
            if kind in ("form", "multipart") and schema.get("properties"):
                parts = self._read_parts(schema, self._document.resolve(media.get("encoding")))
                if not parts:
                    return None
            body = Body(kind, media_type, is_required, parts)
            self._add_body_arguments(body, schema, request_body)
            return body
        problem = f"its body can only be written as {', '.join(map(str, content))}"
        if is_required:
            raise Unusable(problem)
        self.problems.append(f"{problem}, so it is left out")
        return None

    def _add_parameter(self, parameter: Mapping[str, Any], place: str, is_required: bool) -> None:
        name, content = parameter["name"], parameter.get("content")
        if place not in STYLES:
            raise Unusable(f"parameter {name!r} is in {place!r}")
        style = parameter.get("style", STYLES[place][0])
        if style not in STYLES[place]:
            raise Unusable(f"parameter {name!r} is written in style {style!r}")
        # Machine-written documents often put the schema's keys into the parameter itself, as Swagger 2 did.
        node = parameter.get("schema", {key: parameter[key] for key in ("type", "enum", "items") if key in parameter})
        media_type = ""
        if isinstance(content, Mapping) and content:
            media_type = str(next(iter(content)))
            media = self._document.resolve(content[media_type])
            node = media.get("schema", {}) if isinstance(media, Mapping) else {}
        schema = self._read_schema(node)
        if media_type and not is_json(media_type) and not may_be_text(schema):
            raise Unusable(f"parameter {name!r} is written as {media_type}")
        if description := tidy_text(parameter.get("description")):
            schema["description"] = description
        argument = Argument(
            self._free_name(name, place),
            name,
            place,
            style,
            explode=parameter.get("explode", style == "form") is True,
            is_json=is_json(media_type),
            allows_reserved=parameter.get("allowReserved") is True,
        )
        self._add(argument, schema, is_required)

    def _read_parts(self, schema: dict[str, Any], encodings: Any) -> dict[str, Argument]:
        """Return how each property of a form is written; one that cannot be is taken out of the schema."""
        parts: dict[str, Argument] = {}
        for name, part in list(schema["properties"].items()):
            encoding = self._document.resolve(encodings.get(name)) if isinstance(encodings, Mapping) else None
            try:
                parts[name] = read_part(name, part, encoding if isinstance(encoding, Mapping) else {})
            except Unusable as error:
                if name in schema.get("required", ()):
                    raise
                self.problems.append(f"{error}, so it is left out")
                del schema["properties"][name]
        return parts

    def _add_body_arguments(self, body: Body, schema: dict[str, Any], request_body: Mapping[str, Any]) -> None:
        properties = schema.get("properties")
        if body.kind == "text" or not properties or not _is_flat(schema):
            if description := tidy_text(request_body.get("description")):
                schema.setdefault("description", description)
            self._add(Argument(self._free_name("body", "body"), "", "body"), schema, body.is_required)
            return
        for name, part in properties.items():
            argument = Argument(self._free_name(name, "body"), name, "body")
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


def _is_flat(schema: Mapping[str, Any]) -> bool:
    return schema.keys() <= _FLAT_KEYS and not isinstance(schema.get("additionalProperties"), Mapping)
