"""OpenAPI's schemas → plain JSON Schema without references, as a tool's arguments need it.

OpenAPI 3.0 has its own dialect (``nullable``, a boolean ``exclusiveMinimum``), and real documents have mistakes. What
is malformed restricts nothing: the server decides what it accepts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urljoin

from alpha_umi.tools.openapi.document import BadReference, Document
from alpha_umi.tools.spec.schema import is_pattern

# References are inlined, because models read arguments in place; these bound what that makes of a large document.
_MAX_NODES = 250
_MAX_DEPTH = 30
_MAX_DESCRIPTION_CHARS = 300
_TYPES = {
    **{kind: kind for kind in ("string", "integer", "number", "boolean", "array", "object", "null")},
    **{"str": "string", "date": "string", "datetime": "string", "file": "string", "binary": "string"},
    **{"int": "integer", "long": "integer", "float": "number", "double": "number", "bool": "boolean"},
    **{"list": "array", "dict": "object", "map": "object"},
}
_BOUNDS = {"minimum": "exclusiveMinimum", "maximum": "exclusiveMaximum"}
_PARTS = (
    *("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"),
    *("unevaluatedItems", "unevaluatedProperties"),
)
# As what lists of schemas are read. Of most documents more than one part of a `oneOf` fits, which only a server that
# knows what is meant can tell apart.
_LISTS = {"anyOf": "anyOf", "oneOf": "anyOf", "allOf": "allOf", "prefixItems": "prefixItems"}
_ROOT_KEYS = frozenset({"$id", "$defs", "definitions"})
_NOTES = frozenset({"description", "nullable", "x-nullable", "default", "readOnly", "writeOnly", "title", "deprecated"})


def read_schema(document: Document, node: Any, *, is_reply: bool = False) -> tuple[dict[str, Any], list[str]]:
    """Return a schema as JSON Schema, and what of it could not be read.

    Where it contains itself or is very large, the inner parts only name a type; a reference that leads nowhere allows
    anything.

    Example:
        >>> pet = {"type": "object", "properties": {"name": {"type": "string", "nullable": True}}}
        >>> document = Document({"components": {"schemas": {"Pet": pet}}}, "pets")
        >>> read_schema(document, {"$ref": "#/components/schemas/Pet"})
        ({'type': 'object', 'properties': {'name': {'type': ['string', 'null']}}}, [])
    """
    reader = _SchemaReader(document, hidden="writeOnly" if is_reply else "readOnly")
    return reader.read(node, (), 0), reader.problems


def tidy_text(text: Any, max_chars: int = _MAX_DESCRIPTION_CHARS) -> str:
    """Return a description as one line of bounded length; anything but text is left out."""
    line = " ".join(text.split()) if isinstance(text, str) else ""
    return line if len(line) <= max_chars else f"{line[: max_chars - 1]}…"


class _SchemaReader:
    """Reads one schema; counts what it has read."""

    def __init__(self, document: Document, hidden: str) -> None:
        self.problems: list[str] = []
        self._hidden = hidden
        self._document = document
        self._n_nodes = 0
        self._roots: list[Mapping[str, Any]] = []

    def read(self, node: Any, inside: tuple[int, ...], depth: int) -> dict[str, Any]:
        """Return a node's schema; `inside` are the targets, by `id`, of the references that led here."""
        self._n_nodes += 1
        if node is False:
            return {"not": {}}
        if not isinstance(node, Mapping):
            return {}
        is_root = not _ROOT_KEYS.isdisjoint(node)
        self._roots += [node] * is_root
        try:
            return self._read_node(node, inside, depth)
        finally:
            del self._roots[len(self._roots) - is_root :]

    def _read_node(self, node: Mapping[str, Any], inside: tuple[int, ...], depth: int) -> dict[str, Any]:
        reference = node.get("$ref")
        if isinstance(reference, str):
            return self._read_reference(node, reference, inside, depth)
        if "$dynamicRef" in node:
            self.problems.append("a schema has a $dynamicRef, which is not followed; it takes anything")
        if self._n_nodes > _MAX_NODES or depth > _MAX_DEPTH:
            return _read_type_alone(node)
        node = _move_enum(node)
        schema = _read_keywords(node)
        for key in _PARTS:
            if isinstance(node.get(key), Mapping | bool):
                schema[key] = node[key] if isinstance(node[key], bool) else self.read(node[key], inside, depth + 1)
        for key in ("patternProperties", "dependentSchemas"):
            if isinstance(node.get(key), Mapping) and (key != "patternProperties" or all(map(is_pattern, node[key]))):
                schema[key] = {name: self.read(part, inside, depth + 1) for name, part in node[key].items()}
        if schema.get("not") == {} != node["not"]:  # nothing of it could be read
            del schema["not"]
        if isinstance(properties := node.get("properties"), Mapping):
            self._read_properties({**node, "properties": self._follow_all(properties)}, schema, inside, depth)
        elif required := _read_names(node.get("required")):
            schema["required"] = required
        for key, written in _LISTS.items():
            if isinstance(node.get(key), list) and node[key]:
                parts = [self.read(part, inside, depth + 1) for part in node[key]]
                if written in schema:  # anyOf beside oneOf
                    schema.setdefault("allOf", []).append({written: parts})
                else:
                    schema[written] = parts
        return _allow_null(node, _merge_all_of(schema))

    def _read_reference(
        self, node: Mapping[str, Any], reference: str, inside: tuple[int, ...], depth: int
    ) -> dict[str, Any]:
        """Read what a reference names. Notes beside it replace those of the target; anything else holds as well."""
        try:
            target = self._look_up(reference)
        except BadReference as error:
            self.problems.append(f"a schema refers to {error}")
            return {}
        if not isinstance(target, Mapping):
            return self.read(target, inside, depth + 1)
        if id(target) in inside:
            return _read_type_alone(target)
        notes = {key: value for key, value in node.items() if key in _NOTES}
        others = {key: value for key, value in node.items() if key not in _NOTES and key != "$ref"}
        schema = self.read({**target, **notes}, (*inside, id(target)), depth + 1)
        if _read_keywords(others) or others.keys() & {*_PARTS, *_LISTS, "properties", "required"}:
            return _merge_all_of({"allOf": [schema, self.read(others, inside, depth + 1)]})
        return schema

    def _look_up(self, reference: str) -> Any:
        """Find a target, also in a schema around that has definitions or an id of its own."""
        try:
            return self._document.lookup(reference)
        except BadReference:
            for root in reversed(self._roots):
                with suppress(BadReference, ValueError):
                    if isinstance(name := root.get("$id"), str) and not reference.startswith("#"):
                        return self._document.lookup(urljoin(name, reference))
                    return self._document.find_within(root, reference)
            raise

    def _follow_all(self, properties: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return properties that may be a reference themselves, as in documents of many files."""
        if not isinstance(properties.get("$ref"), str):
            return properties
        try:
            found = self._document.resolve(properties)
        except BadReference as error:
            self.problems.append(f"a schema refers to {error}")
            return {}
        return found if isinstance(found, Mapping) else {}

    def _read_properties(
        self, node: Mapping[str, Any], schema: dict[str, Any], inside: tuple[int, ...], depth: int
    ) -> None:
        """Add what a caller may write, or may read, and which of it is required."""
        required = _read_names(node.get("required"))
        schema.setdefault("type", "object")
        schema["properties"] = {}
        for name, part in node["properties"].items():
            if isinstance(part, Mapping):
                if part.get(self._hidden) is True:
                    required = [other for other in required if other != name]
                    continue
                if part.get("required") is True and name not in required:
                    required.append(str(name))
            schema["properties"][str(name)] = self.read(part, inside, depth + 1)
        if required:
            schema["required"] = list(dict.fromkeys(required))


def _move_enum(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """Let values that are listed beside a list be those of its items, if none of them is a list."""
    values, items = node.get("enum"), node.get("items")
    if node.get("type") != "array" or not isinstance(values, list) or any(isinstance(each, list) for each in values):
        return node
    moved = {"enum": values, **(items if isinstance(items, Mapping) else {})}
    return {**{key: value for key, value in node.items() if key != "enum"}, "items": moved}


def _read_type_alone(node: Mapping[str, Any]) -> dict[str, Any]:
    return _read_keywords({key: node[key] for key in ("type", "description", "nullable", "x-nullable") if key in node})


def _read_keywords(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a schema itself says, leaving out what is malformed."""
    kinds = _read_types(node)
    schema: dict[str, Any] = {}
    if isinstance(node.get("enum"), list) and node["enum"]:
        values = [*node["enum"], None] if _is_nullable(node) else node["enum"]
        # a null among the values is meant, also where the type forgets it
        schema["enum"], kinds = _fit_enum(values, [*kinds, "null"] if kinds and None in values else kinds)
    if kinds:
        schema = {"type": _write_types(kinds), **schema}
    if description := tidy_text(node.get("description")):
        schema["description"] = description
    schema |= {key: node[key] for key, is_usable in _KEYWORDS.items() if key in node and is_usable(node[key])}
    for key in ("const", "default"):
        if key in schema:
            schema[key] = _coerce(schema[key], kinds)
    return schema | _read_bounds(node)


def _fit_enum(values: list[Any], kinds: list[str]) -> tuple[list[Any], list[str]]:
    """Return the values as the types want them, and the types: none where no value can be of them."""
    found = [_coerce(value, kinds) for value in values]
    usable = [value for value in found if not kinds or _is_kind(value, kinds)]
    if not any(value is not None for value in usable):
        usable, kinds = values, []
    return list({json.dumps(value): value for value in usable}.values()), kinds


def _coerce(value: Any, kinds: list[str]) -> Any:
    """Return a value as one of the types, as YAML's numbers without quotes are meant; as it is if that fails."""
    if not kinds or value is None or _is_kind(value, kinds):
        return value
    if "string" in kinds and isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, str):
        try:
            read = json.loads(value.lower() if value.lower() in ("true", "false") else value)
        except (ValueError, RecursionError):
            return value
        return read if _is_kind(read, kinds) else value
    return value


def _is_kind(value: Any, kinds: list[str]) -> bool:
    if isinstance(value, bool):
        return "boolean" in kinds
    if isinstance(value, float):
        return math.isfinite(value) and ("number" in kinds or (value.is_integer() and "integer" in kinds))
    return any(isinstance(value, _KINDS[kind]) for kind in kinds)


def _list_types(kinds: str | list[str]) -> list[str]:
    return [kinds] if isinstance(kinds, str) else kinds


def _write_types(kinds: list[str]) -> str | list[str]:
    unique = list(dict.fromkeys(kinds))
    return unique[0] if len(unique) == 1 else unique


def _allow_null(node: Mapping[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Let null be a value of a schema that says so, also beside parts that do not, as generators write it."""
    if not _is_nullable(node):
        return schema
    if schema.keys().isdisjoint({*_LISTS, "const", "not", "if"}):
        types = {"type": _write_types([*_list_types(schema["type"]), "null"])} if "type" in schema else {}
        values = {"enum": [*schema["enum"], None]} if None not in schema.get("enum", [None]) else {}
        return {**schema, **types, **values}
    notes: dict[str, Any] = {key: schema[key] for key in ("description", "default") if key in schema}
    rest = {key: value for key, value in schema.items() if key not in notes}
    parts = rest["anyOf"] if rest.keys() == {"anyOf"} else [rest]
    return {"anyOf": [*parts, *([] if {"type": "null"} in parts else [{"type": "null"}])], **notes}


def _is_nullable(node: Mapping[str, Any]) -> bool:
    return node.get("nullable") is True or node.get("x-nullable") is True


def _read_names(listed: Any) -> list[str]:
    """Return each name of a list once."""
    return list(dict.fromkeys(name for name in listed if isinstance(name, str))) if isinstance(listed, list) else []


def _read_types(node: Mapping[str, Any]) -> list[str]:
    wanted = node.get("type")
    names = wanted if isinstance(wanted, list) else [wanted]
    kinds = [_TYPES[name.lower()] for name in names if isinstance(name, str) and name.lower() in _TYPES]
    if kinds and _is_nullable(node):
        kinds.append("null")
    return list(dict.fromkeys(kinds))


def _read_bounds(node: Mapping[str, Any]) -> dict[str, Any]:
    bounds: dict[str, Any] = {}
    for key, exclusive in _BOUNDS.items():
        if _is_number(node.get(key)):
            bounds[exclusive if node.get(exclusive) is True else key] = node[key]
        if _is_number(node.get(exclusive)):
            bounds[exclusive] = node[exclusive]
    if _is_number(node.get("multipleOf")) and node["multipleOf"] > 0:
        bounds["multipleOf"] = node["multipleOf"]
    return bounds


def _merge_all_of(schema: dict[str, Any]) -> dict[str, Any]:
    """Make one object of an ``allOf`` whose parts do not contradict each other, as inheritance is written."""
    merged = {key: value for key, value in schema.items() if key != "allOf"}
    for part in schema.get("allOf", []):
        for key, value in part.items():
            if key == "properties":
                merged["properties"] = _merge_properties(merged.get("properties", {}), value)
            elif key == "required":
                merged["required"] = list(dict.fromkeys([*merged.get("required", []), *value]))
            elif key == "type" and (shared := _share_types(merged.get("type", value), value)):
                merged["type"] = shared
            elif key in ("description", "default"):
                merged.setdefault(key, value)
            elif key in merged and merged[key] != value:
                return schema
            else:
                merged[key] = value
    if "enum" in merged and "type" in merged:
        merged["enum"], kinds = _fit_enum(merged["enum"], _list_types(merged["type"]))
        merged["type"] = _write_types(kinds or list(_KINDS))
    return merged


def _merge_properties(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Return all properties; what both describe is as both say."""
    both = {name: _merge_all_of({"allOf": [first[name], part]}) for name, part in second.items() if name in first}
    return {**first, **second, **both}


def _share_types(first: Any, second: Any) -> Any:
    """Return the types that two lists, or names, of types have in common; None if there are none."""
    names, others = map(_list_types, (first, second))
    shared = [name for name in names if name in others or (name == "integer" and "number" in others)]
    return _write_types(shared) if shared else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_KINDS: Mapping[str, Any] = {
    **{"string": str, "integer": int, "number": (int, float), "boolean": bool},
    **{"array": list, "object": dict, "null": type(None)},
}
_KEYWORDS: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("const", "default"), lambda value: True),
    **dict.fromkeys(("format", "contentMediaType", "contentEncoding"), lambda value: isinstance(value, str)),
    "pattern": lambda value: isinstance(value, str) and is_pattern(value),
    "uniqueItems": lambda value: isinstance(value, bool),
    **dict.fromkeys(_COUNTS, lambda value: _is_number(value) and value >= 0),
}
