"""A sheet's words about a tool that exists, completed with what the tool's own schema says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from alpha_umi.tools.spec.schema import make_lookup
from alpha_umi.training.data.sheets.form import SheetParameter, SheetTool, ToolReference
from alpha_umi.training.data.sheets.real_tool import RealTool

Keys: TypeAlias = tuple[str | int, ...]
_FROM_TOOL = frozenset(SheetParameter.model_fields) - {
    "source",
    "say",
    "said",
    "what",
    "items",
    "count",
    "properties",
    "words",
}
_MAX_DEPTH = 16  # of keys; a schema may contain itself


def resolve(reference: ToolReference, real: RealTool) -> tuple[SheetTool, list[tuple[Keys, str]]]:
    """Return what a sheet says as if all of it stood there, and its faults: keys that lead there, and what to do."""
    spec = real.spec
    completion = _Completion(spec.parameters)
    parameters = completion.complete_all(reference.parameters, spec.parameters, ("parameters",))
    said = {name: getattr(reference, name) for name in ToolReference.model_fields if name != "tool"}
    effects = reference.effects or spec.effects
    said |= {"name": spec.name, "description": spec.description, "parameters": parameters, "effects": effects}
    faults = completion.faults
    if reference.reply is None and effects != "none":
        advice = "write the reply that it would give, or 'effects: none' if it only looks up."
        faults.append((("tool",), f"it has the effects {effects!r}, so it is not run: {advice}"))
    elif reference.reply is None and reference.returns:
        faults.append((("returns",), "the tool is run, so nothing is made up: leave returns out, or write a reply."))
    # Its name may be longer than those of invented tools.
    return SheetTool.model_construct(**said), faults


class _Completion:
    """Completes parameters by a tool's schema, and collects what does not fit."""

    def __init__(self, root: Any) -> None:
        self.faults: list[tuple[Keys, str]] = []
        self._lookup: Callable[[str], Any] = make_lookup(root)

    def complete_all(
        self, given: Mapping[str, SheetParameter], schema: Mapping[str, Any], keys: Keys
    ) -> dict[str, SheetParameter]:
        """Complete the parameters of an object: those that the sheet gives, and those that the tool needs."""
        properties, required = schema.get("properties", {}), schema.get("required", ())
        for name in given.keys() - properties.keys():
            known = ", ".join(properties) or "none"
            self.faults.append(((*keys, name), f"the tool has no parameter {name!r}; there are {known}."))
        return {
            name: self._complete(given.get(name), node, (*keys, name), is_optional=name not in required)
            for name, node in properties.items()
            if name in given or name in required
        }

    def _complete(self, given: SheetParameter | None, node: Any, keys: Keys, *, is_optional: bool) -> SheetParameter:
        node = unfold(node, self._lookup)
        parameter = given or SheetParameter()
        for name in sorted(parameter.model_fields_set & _FROM_TOOL):
            self.faults.append(((*keys, name), f"{name} comes from the tool; leave it out."))
        has_values = parameter.source is not None or bool(parameter.say)
        kinds = node.get("type")
        kind = next((each for each in kinds if each != "null"), None) if isinstance(kinds, list) else kinds
        changes: dict[str, Any] = {"type": kind, "optional": is_optional}
        if "enum" in node or "const" in node:
            changes["enum"] = node.get("enum", [node.get("const")])
        elif not has_values and len(keys) < _MAX_DEPTH:
            changes |= self._complete_parts(parameter, node, keys)
        return parameter.model_copy(update=changes)

    def _complete_parts(self, parameter: SheetParameter, node: Mapping[str, Any], keys: Keys) -> dict[str, Any]:
        """Return the properties of an object, or the items of a list; neither for anything else."""
        if node.get("properties"):
            return {"properties": self.complete_all(parameter.properties or {}, node, (*keys, "properties"))}
        if parameter.items is not None or "items" in node:
            items = self._complete(parameter.items, node.get("items", {}), (*keys, "items"), is_optional=False)
            return {"items": items}
        return {}


def unfold(node: Any, lookup: Callable[[str], Any]) -> Mapping[str, Any]:
    """Follow the references of a schema, and of alternatives take the first that is not null."""
    for _ in range(_MAX_DEPTH):
        if not isinstance(node, Mapping):
            return {}
        parts = [part for key in ("anyOf", "oneOf", "allOf") for part in node.get(key, ()) if not _is_null(part)]
        if "$ref" in node:
            node = lookup(node["$ref"])
        elif parts and "type" not in node and "properties" not in node:
            node = parts[0]
        else:
            return node
    return {}


def _is_null(node: Any) -> bool:
    return isinstance(node, Mapping) and node.get("type") == "null"
