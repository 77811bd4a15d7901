"""JSON Schemas of tools: whether one can be used, and whether arguments satisfy it, in bounded time.

A schema comes from a tool's author and the arguments from a model. So patterns are matched by an engine that does not
backtrack, nothing is fetched, and a schema whose references expand to a billion others, or to themselves, is refused.
"""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from typing import Any, NoReturn
from urllib.parse import quote

from jsonschema_rs import Draft202012Validator, RegexOptions, ValidationError, Validator, validator_cls_for
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012, EMPTY_REGISTRY

from alpha_umi.tools.observation import cut, make_storable
from alpha_umi.tools.spec.step_bound import StepBound, list_in_place

_MAX_EXPANDED_NODES = 100_000
_MAX_STEPS_OF_ERRORS = 10_000
_MAX_DEPTH = 255  # of arguments; the validator has the same bound
_MAX_PATTERN_CHARS = 1000
_MAX_MESSAGE_CHARS = 500
_LINEAR = RegexOptions(size_limit=16 * 2**20)  # bytes of a compiled pattern, which counted repeats make large
# Keywords whose value maps names to schemas, or is data.
SCHEMA_MAPS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"})
# Bounds that every number keeps; pydantic writes them.
_NO_BOUNDS = dict.fromkeys(("maximum", "exclusiveMaximum"), math.inf)
_NO_BOUNDS |= dict.fromkeys(("minimum", "exclusiveMinimum"), -math.inf)
# What RFC 3986 wants quoted in a fragment. Names of generic classes, `Box[int]`, hold such characters.
_NOT_IN_FRAGMENT = re.compile(r"%(?![0-9A-Fa-f]{2})|[^\w.~!$&'()*+,;=:@/?%-]|[^\x00-\x7f]")
_CLASSES = {"d": r"\p{Nd}", "D": r"\P{Nd}", "w": r"[\p{L}\p{N}_]", "W": r"[^\p{L}\p{N}_]"}
_NOT_NULL = frozenset({"$ref", "const", "anyOf", "oneOf", "allOf", "not", "if"})  # may refuse null beside any type
DATA_KEYS = frozenset({"const", "enum", "default", "example", "examples"})
_NESTED = (float, Mapping, list, tuple)


class Undecided(ValueError):
    """Arguments cannot be checked in full, so nothing is known about them."""


class ArgumentValidator:
    """Checks arguments against one schema. What the linear engine cannot read restricts nothing: see `relax`.

    The validator is of the relaxed schema, the paths of errors lead in the schema itself. With `is_exact` nothing was
    relaxed, and nothing may be.
    """

    def __init__(self, schema: Any, validator: Validator, is_exact: bool, bound: StepBound) -> None:
        """Take a compiled schema, and the bound of its steps."""
        self.schema = schema
        self._validator = validator
        self._is_exact = is_exact
        self._bound = bound

    def is_valid(self, arguments: Any) -> bool:
        """Say whether arguments satisfy the schema.

        Raises:
            Undecided: If they are to be checked exactly, and cannot be.
            RecursionError: If they are too large or nested too deeply to be checked, or to be checked soon.
        """
        if find_non_finite(arguments):
            if self._is_exact:
                raise Undecided("NaN and Infinity are no JSON numbers")
            return False
        return next(self.iter_errors(arguments), None) is None

    def iter_errors(self, arguments: Any) -> Iterator[ValidationError]:
        """Yield what is wrong with arguments whose numbers are finite; raises as `is_valid`."""
        n_steps = self._bound.count(arguments)
        try:
            return self._iter_errors(arguments, n_steps)
        except ValueError as error:
            if self._is_exact:
                raise Undecided(str(error)) from error
        try:  # lone surrogates, which JSON may hold and UTF-8 not
            text = json.dumps(arguments, ensure_ascii=False, default=str)
            return self._iter_errors(json.loads(make_storable(text)), n_steps)
        except ValueError as error:
            raise RecursionError(str(error)) from error

    def _iter_errors(self, arguments: Any, n_steps: int) -> Iterator[ValidationError]:
        """Yield the errors, of many the first: they cost far more than the verdict."""
        if n_steps <= _MAX_STEPS_OF_ERRORS:
            return self._validator.iter_errors(arguments)
        try:
            self._validator.validate(arguments)
        except ValidationError as error:
            return iter([error])
        return iter(())


def find_non_finite(arguments: Any) -> list[tuple[list[str | int], float]]:
    """Return each NaN and Infinity with its path. JSON knows neither, and the validator would read them as null."""
    found: list[tuple[list[str | int], float]] = []
    pending: list[tuple[list[str | int], Any]] = [([], arguments)]
    while pending:
        path, value = pending.pop()
        if len(path) > _MAX_DEPTH:
            raise RecursionError("it is nested too deeply")
        if isinstance(value, float) and not math.isfinite(value):
            found.append((path, value))
        elif isinstance(value, Mapping):
            pending += [([*path, key], part) for key, part in value.items() if isinstance(part, _NESTED)]
        elif isinstance(value, list | tuple):
            pending += [([*path, index], part) for index, part in enumerate(value) if isinstance(part, _NESTED)]
    return found[::-1]


def make_validator(schema: Mapping[str, Any], *, is_exact: bool = False) -> ArgumentValidator:
    """Return a validator; it reads `$ref` inside the schema only, never from the network.

    The draft is the one that `$schema` names, by default 2020-12; with `is_exact` nothing may be left unchecked.

    Raises:
        ValueError: If the schema cannot be used.
        Undecided: If it is to be exact and holds a pattern that is not checked.
    """
    return _make_validator(make_storable(json.dumps(schema, ensure_ascii=False)), is_exact)


@lru_cache(maxsize=4096)
def _make_validator(text: str, is_exact: bool) -> ArgumentValidator:
    """Make a validator once: every row of a training file repeats its tools."""
    schema = json.loads(text)
    draft = validator_cls_for(schema) if isinstance(schema.get("$schema"), str) else Draft202012Validator
    relaxed = map_schema(schema, relax)
    if draft is Draft202012Validator:
        relaxed = map_schema(relaxed, modernize)
    try:
        validator = draft(relaxed, pattern_options=_LINEAR, retriever=_refuse, validate_formats=False)
    except ValidationError as error:
        if error.kind.name == "$ref":
            _check_references(relaxed, make_lookup(relaxed))
        raise ValueError(f"it is not valid JSON Schema: {cut(error.message, _MAX_MESSAGE_CHARS)}") from error
    lookup = make_lookup(relaxed)
    if '"$ref"' in text:
        _check_references(relaxed, lookup)
    if is_exact and map_schema(schema, adapt) != relaxed:
        raise Undecided("it holds a pattern that is not checked")
    return ArgumentValidator(schema, validator, is_exact, StepBound(relaxed, lookup))


def map_schema(schema: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """Return a copy of a schema in which every subschema, the innermost first, is changed by a function."""
    if isinstance(schema, list):
        return [map_schema(part, change) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    copied: dict[str, Any] = {}
    for key, value in schema.items():
        if key in DATA_KEYS or key.startswith("x-"):
            copied[key] = value
        elif key in SCHEMA_MAPS and isinstance(value, Mapping):
            copied[key] = {name: map_schema(part, change) for name, part in value.items()}
        else:
            copied[key] = map_schema(value, change)
    return change(copied)


def relax(schema: dict[str, Any]) -> dict[str, Any]:
    """Drop the patterns that the linear engine cannot read; the tool itself has to check them.

    Raises:
        ValueError: If one is no regular expression at all.
    """
    relaxed = adapt(schema)
    if isinstance(pattern := schema.get("pattern"), str) and not _is_linear_or_refused(pattern):
        del relaxed["pattern"]
    patterns = schema.get("patternProperties")
    if isinstance(patterns, dict):
        kept = {_widen(pattern): part for pattern, part in patterns.items() if _is_linear_or_refused(pattern)}
        if len(kept) < len(patterns):  # who knows what the others describe
            relaxed.pop("additionalProperties", None)
            relaxed.pop("unevaluatedProperties", None)
            relaxed["patternProperties"] = kept
    return relaxed


def is_pattern(text: str) -> bool:
    """Say whether a text is a regular expression of a reasonable length; dialects differ, so one engine is enough."""
    if len(text) > _MAX_PATTERN_CHARS:
        return False
    if _is_linear(text):
        return True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            re.compile(text)
        except (re.error, OverflowError, RecursionError):
            return False
    return True


def adapt(schema: dict[str, Any]) -> dict[str, Any]:
    """Write what the validator would refuse or look up in another way that means the same.

    Bounds that everything keeps are dropped. One draft is stayed in: a part that named another would be looked up.
    """
    ignored = {
        "$schema",
        *["required"] * (schema.get("required") == []),
        *(key for key, bound in _NO_BOUNDS.items() if schema.get(key) == bound),
    }
    adapted = {key: value for key, value in schema.items() if key not in ignored}
    if isinstance(reference := schema.get("$ref"), str) and reference.startswith("#"):
        adapted["$ref"] = "#" + _NOT_IN_FRAGMENT.sub(lambda found: quote(found[0]), reference[1:])
    if isinstance(pattern := schema.get("pattern"), str):
        adapted["pattern"] = _widen(pattern)
    if isinstance(patterns := schema.get("patternProperties"), dict):
        wide = {_widen(pattern): part for pattern, part in patterns.items()}
        adapted["patternProperties"] = wide if len(wide) == len(patterns) else patterns
    return _allow_null(adapted) if schema.get("nullable") is True else adapted


def modernize(schema: dict[str, Any]) -> dict[str, Any]:
    """Write what older drafts say in other words as draft 2020-12 does; many schemas do not name their draft."""
    modern = dict(schema)
    if isinstance(first := schema.get("items"), list):
        modern["prefixItems"] = first
        del modern["items"]
        if "additionalItems" in modern:
            modern["items"] = modern.pop("additionalItems")
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(schema.get(exclusive), bool):
            del modern[exclusive]
            if schema[exclusive] and bound in modern:
                modern[exclusive] = modern.pop(bound)
    return modern


def _allow_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without OpenAPI's ``nullable``, which generators also write into other schemas."""
    rest = {key: value for key, value in schema.items() if key != "nullable"}
    if "type" not in rest or not _NOT_NULL.isdisjoint(rest):
        return {"anyOf": [rest, {"type": "null"}]}
    kinds = rest["type"] if isinstance(rest["type"], list) else [rest["type"]]
    values = {"enum": [*rest["enum"], None]} if isinstance(rest.get("enum"), list) else {}
    return {**rest, "type": [*dict.fromkeys([*kinds, "null"])], **values}


def _widen(pattern: str) -> str:
    r"""Let `\d` and `\w` hold the digits and letters of all languages, as in Python; the validator's are ASCII."""
    return re.sub(r"\\(.)", lambda found: _CLASSES.get(found[1], found[0]), pattern, flags=re.DOTALL)


def _is_linear_or_refused(pattern: str) -> bool:
    if not is_pattern(pattern):
        raise ValueError(f"it is not valid JSON Schema: {pattern!r:.200} is not a regular expression")
    return _is_linear(_widen(pattern))


@lru_cache(maxsize=4096)
def _is_linear(pattern: str) -> bool:
    try:
        Draft202012Validator({"pattern": pattern}, pattern_options=_LINEAR)
    except ValueError:
        return False
    return True


def _refuse(uri: str) -> NoReturn:
    raise ValueError(f"{uri} is not fetched")


def make_lookup(schema: Any) -> Callable[[str], Any]:
    """Return what finds the target of a ``$ref``; it raises `ValueError` for one that leads nowhere."""
    resolver = EMPTY_REGISTRY.with_resource("", DRAFT202012.create_resource(schema)).resolver()

    def lookup(reference: str) -> Any:
        try:
            return resolver.lookup(reference).contents
        except (Unresolvable, AttributeError, TypeError) as error:  # the latter if it is no valid schema either
            raise ValueError(f"reference {reference!r} leads nowhere; put its target into '$defs'.") from error

    return lookup


def _check_references(schema: Any, lookup: Callable[[str], Any]) -> None:
    """Refuse references that lead nowhere, back to themselves, or to too much."""
    targets = {reference: lookup(reference) for reference in set(_find_references(schema))}
    if loop := _find_cycle({reference: set(_find_in_place(target)) for reference, target in targets.items()}):
        raise ValueError(f"reference {loop!r} leads back to itself; describe what it stands for.")
    if count_expanded(schema, lookup) > _MAX_EXPANDED_NODES:
        raise ValueError("it is too large when its references are followed; describe fewer levels.")


def _find_cycle(graph: Mapping[str, set[str]]) -> str | None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return str(error.args[1][0])
    return None


def _find_references(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping) and isinstance(reference := schema.get("$ref"), str):
        yield reference
    for part in schema.values() if isinstance(schema, Mapping) else schema if isinstance(schema, list) else ():
        yield from _find_references(part)


def _find_in_place(schema: Any) -> Iterator[str]:
    """Yield the references that apply to the same value as the schema."""
    if not isinstance(schema, Mapping):
        return
    if isinstance(reference := schema.get("$ref"), str):
        yield reference
    for part in list_in_place(schema):
        yield from _find_in_place(part)


def count_expanded(schema: Any, lookup: Callable[[str], Any]) -> int:
    """Return the number of nodes of a schema if each ``$ref`` were replaced by what `lookup` returns.

    Example:
        >>> parts = {"b": {"allOf": [{"$ref": "a"}, {"$ref": "a"}]}, "a": {"type": "string"}}
        >>> count_expanded({"$ref": "b"}, parts.__getitem__)
        12
    """
    sizes: dict[str, int] = {}

    def count(node: Any) -> int:
        if isinstance(node, list):
            return 1 + sum(map(count, node))
        if not isinstance(node, Mapping):
            return 1
        reference = node.get("$ref")
        n_behind = count_target(reference) if isinstance(reference, str) else 0
        return 1 + n_behind + sum(map(count, node.values()))

    def count_target(reference: str) -> int:
        if reference not in sizes:
            sizes[reference] = 1  # what it is while it is counted: a schema may contain itself
            sizes[reference] = count(lookup(reference))
        return sizes[reference]

    return count(schema)
