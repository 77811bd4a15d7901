"""A tool's JSON Schema, tightened for a caller that writes by it: nothing unknown, and no list without an end.

What the schema says itself is kept. A part that describes a value together with others (`allOf`, a reference with
siblings) is left open, since closing it would forbid what the others describe.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import unquote

from alpha_umi.tools.spec.schema import DATA_KEYS, SCHEMA_MAPS, adapt, map_schema, modernize

MAX_ITEMS = 32
"""A list has no more items, unless its schema says how many."""
MAX_CHOICES = 64
"""Of so many values a grammar can remember which were written."""

ANNOTATIONS = frozenset(
    {"title", "description", "default", "example", "examples", "deprecated", "readOnly", "writeOnly", "$comment"}
)
DEFINITIONS = frozenset({"$defs", "definitions"})
_NEEDED = frozenset({"required", "minProperties", "dependentRequired"})
_IN_PLACE = frozenset({"$ref", "$dynamicRef", "$recursiveRef", "anyOf", "oneOf", "allOf"})
# The grammar does not know them, so they add nothing to what may be written.
_CONDITIONS = frozenset({"not", "if", "then", "else", "dependentSchemas", "dependencies"})
_FURTHER = frozenset({"additionalProperties", "patternProperties", "unevaluatedProperties"})
_MOVED = frozenset({"$id", "id", "$anchor", "$dynamicAnchor", "$recursiveAnchor", "$dynamicRef", "$recursiveRef"})
_MAX_PASSES = 10

# As pydantic takes them, which is RFC 3339, but seconds and offset may be left out, as most people do, and a space may
# stand for the T. The library's own rules for the last two know no letters beyond ASCII.
_DATE = "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_TIME = "([01][0-9]|2[0-3]):[0-5][0-9]"
_CLOCK = rf"{_TIME}(:[0-5][0-9](\.[0-9]+)?)?([Zz]|[+-]([01][0-9]|2[0-3]):?[0-5][0-9])?"
_COUNT = "[0-9]{1,6}"  # bounded, so that a text comes to its end
_SECONDS = rf"{_COUNT}(\.{_COUNT})?S"
_SPAN = f"T({_COUNT}H)?(({_COUNT}M)?{_SECONDS}|{_COUNT}M)|T{_COUNT}H"
_KNOWN_FORMATS = ("date", "uuid", "ipv4", "ipv6", "hostname")  # by the library
_FORMATS = {
    "time": f"^{_CLOCK}$",
    "date-time": f"^{_DATE}[Tt ]{_CLOCK}$",
    "duration": f"^[+-]?P(({_COUNT}[YMWD]){{1,4}}({_SPAN})?|{_SPAN})$",
    "uri": r"^[A-Za-z][A-Za-z0-9+.-]{0,15}:[^\s\"\\\\<>]+$",
    "email": r"^[^\s@\"\\<>{}\[\],]+@[^\s@\"\\<>{}\[\],]+$",
}


def tighten(schema: Mapping[str, Any], *, may_omit: bool) -> dict[str, Any]:
    """Return a schema for fewer arguments than `schema` allows; with `may_omit`, required ones may be missing.

    Example:
        >>> tighten({"properties": {"to": {"type": "array", "items": {"enum": ["a", "b"]}}}}, may_omit=False)
        {'properties': {'to': {'type': 'array', 'items': {'enum': ['a', 'b']}, 'maxItems': 2}}, \
'additionalProperties': False}
    """
    adapted: dict[str, Any] = map_schema(schema, partial(_tighten_part, may_omit=may_omit))
    if not adapted.get("properties") and not (_FURTHER | _IN_PLACE) & adapted.keys():
        adapted["additionalProperties"] = False  # a tool whose schema names no arguments takes none
    return _Closing(adapted).close()


def list_choices(array: Mapping[str, Any], root: Mapping[str, Any]) -> list[str]:
    """Return the texts that a list may hold, if each may occur once; an empty list otherwise.

    A list of such values is taken for a set, unless its schema says ``uniqueItems: false`` or allows more items.
    """
    items = array.get("items")
    if isinstance(items, dict) and "$ref" in items:
        items = find_definition(items["$ref"], root)
    values = items.get("enum") if isinstance(items, dict) else None
    if not isinstance(items, dict) or not isinstance(values, list) or items.keys() - ANNOTATIONS - {"enum", "type"}:
        return []
    if items.get("type") == "string":
        values = [value for value in values if isinstance(value, str)]  # no other can be written
    texts = [value for value in values if isinstance(value, str)]
    choices = list(dict.fromkeys(texts))
    is_set = len(texts) == len(values) <= MAX_CHOICES and items.get("type", "string") == "string"
    limits = [_read_limit(array, "minItems"), _read_limit(array, "maxItems")]
    return choices if is_set and array.get("uniqueItems") is not False and max(limits) <= len(choices) else []


def find_definition(reference: Any, root: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the definition that a reference names, None if it names anything else."""
    keyword, _, name = unquote(str(reference).removeprefix("#/")).partition("/")
    definitions = root.get(keyword) if keyword in DEFINITIONS else None
    part = definitions.get(name) if isinstance(definitions, dict) else None
    return part if isinstance(part, dict) else None


def _read_limit(array: Mapping[str, Any], key: str) -> int:
    limit = array.get(key)
    return limit if isinstance(limit, int) else 0


def _tighten_part(schema: dict[str, Any], *, may_omit: bool) -> dict[str, Any]:
    """Write formats as people do, names as they may be, and require nothing where arguments may be left out."""
    part = {key: value for key, value in modernize(adapt(schema)).items() if not (may_omit and key in _NEEDED)}
    name = part.pop("format", None)
    if name in _FORMATS and "pattern" not in part:
        part["pattern"] = _FORMATS[name]
    elif name in _KNOWN_FORMATS:
        part["format"] = name
    names = part.get("propertyNames")
    if isinstance(names, dict) and not {"properties", "patternProperties"} & part.keys():
        part |= _name_properties(names, part.get("additionalProperties", {}))
    return part


def _name_properties(names: Mapping[str, Any], further: Any) -> dict[str, Any]:
    """Return what the names of properties may be in words that the grammar knows."""
    if isinstance(listed := names.get("enum"), list):
        known = {name: further for name in listed if isinstance(name, str) and further is not False}
        return {"properties": known, "additionalProperties": False}
    if isinstance(pattern := names.get("pattern"), str):
        return {"patternProperties": {pattern: further}, "additionalProperties": False}
    return {}


def list_kinds(schema: Mapping[str, Any]) -> list[str]:
    """Return the types that a schema names."""
    kind = schema.get("type")
    return [each for each in (kind if isinstance(kind, list) else [kind]) if isinstance(each, str)]


class _Closing:
    """Closes objects and bounds lists where no other part describes the same value."""

    def __init__(self, root: dict[str, Any]) -> None:
        """Take a schema."""
        self._root = root
        self._shared: set[str] = set()  # targets of references that describe a value together with others

    def close(self) -> dict[str, Any]:
        """Return the closed schema; one whose references are too entangled is left as it is."""
        for _ in range(_MAX_PASSES):
            n_known = len(self._shared)
            closed: dict[str, Any] = self._visit(self._root, "#", is_alone=True)
            if len(self._shared) == n_known:
                return closed
        return self._root

    def _visit(self, schema: Any, place: str, *, is_alone: bool) -> Any:
        if not isinstance(schema, dict):
            return schema
        describers = _list_describers(schema)
        is_alone = is_alone and place not in self._shared and _MOVED.isdisjoint(schema) and len(describers) <= 1
        if not is_alone and isinstance(reference := schema.get("$ref"), str):
            self._shared.add(unquote(reference))
        visited = {key: self._visit_keyword(key, value, place, is_alone=is_alone) for key, value in schema.items()}
        return self._bound(visited) if is_alone and _IN_PLACE.isdisjoint(describers) else visited

    def _visit_keyword(self, key: str, value: Any, place: str, *, is_alone: bool) -> Any:
        if key in DATA_KEYS or key.startswith("x-"):
            return value
        is_alone = (is_alone and key not in _CONDITIONS) or key in DEFINITIONS
        if key in SCHEMA_MAPS and isinstance(value, dict):
            parts = ((name, part, name.replace("~", "~0").replace("/", "~1")) for name, part in value.items())
            return {name: self._visit(part, f"{place}/{key}/{end}", is_alone=is_alone) for name, part, end in parts}
        if isinstance(value, list):
            return [self._visit(part, f"{place}/{key}/{i}", is_alone=is_alone) for i, part in enumerate(value)]
        return self._visit(value, f"{place}/{key}", is_alone=is_alone)

    def _bound(self, schema: dict[str, Any]) -> dict[str, Any]:
        if schema.get("properties") and _FURTHER.isdisjoint(schema):
            schema["additionalProperties"] = False
        is_list = "array" in list_kinds(schema) or ("type" not in schema and "items" in schema)
        if is_list and {"maxItems", "enum", "const"}.isdisjoint(schema):
            first = schema.get("prefixItems")
            n_first = len(first) if isinstance(first, list) else 0
            n_most = len(list_choices(schema, self._root)) or MAX_ITEMS
            schema["maxItems"] = max(n_most, n_first, _read_limit(schema, "minItems"))
        return schema


def _list_describers(schema: Mapping[str, Any]) -> list[str]:
    """Return the keywords of the parts that say what one value is like; those of the schema itself are one part."""
    others = _IN_PLACE | _CONDITIONS | DEFINITIONS | ANNOTATIONS | {"type"}
    own = [key for key in schema if key not in others and not key.startswith("x-")]
    described = own[:1]
    for key in _IN_PLACE & schema.keys():
        parts = schema[key] if isinstance(schema[key], list) else [schema[key]]
        if not all(isinstance(part, dict) and part.keys() <= _NEEDED for part in parts):
            described += [key] * (len(parts) if key == "allOf" else 1)
    return described
