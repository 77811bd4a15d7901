"""JSON Schema's regular expressions, matched in linear time.

A tool's schema comes from its author and the text from a model; Python's backtracking would let ``(a+)+$`` and forty
letters stop the agent. What the linear engine cannot read restricts nothing: the tool has the last word.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from jsonschema import FormatChecker, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from pydantic_core import SchemaError, SchemaValidator, core_schema

PATTERN_FORMAT = FormatChecker(formats=())
"""Checks the regular expressions of a schema, when the schema itself is checked."""

_MAX_PATTERN_CHARS = 1000
_MAX_TEXT_CHARS = 1000  # linear in the pattern too, which counted repeats make large


class Undecided(ValueError):
    """A value was not checked in full, so that nothing can be said of it."""


@lru_cache(maxsize=4096)
def compile_pattern(pattern: str) -> SchemaValidator | None:
    """Return what finds a pattern anywhere in a text, None if the linear engine cannot read it."""
    if len(pattern) > _MAX_PATTERN_CHARS:
        return None
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex", strict=True))
    except (SchemaError, UnicodeError):
        return None


@PATTERN_FORMAT.checks("regex")
def is_pattern(pattern: object) -> bool:
    """Say whether a text is a regular expression of a reasonable length; dialects differ, so one engine is enough."""
    if not isinstance(pattern, str):
        return True  # `type` has its own complaint about that
    if len(pattern) > _MAX_PATTERN_CHARS:
        return False
    if compile_pattern(pattern) is not None:
        return True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError):
            return False
    return True


def matches(pattern: str, text: str) -> bool | None:
    """Say whether a text holds a pattern, None where that cannot be said cheaply.

    Example:
        >>> matches("^[A-Z]{3}$", "EUR"), matches("(a+)+$", "a" * 40 + "!"), matches("(?=a)b", "b")
        (True, False, None)
    """
    compiled = compile_pattern(pattern)
    return None if compiled is None or len(text) > _MAX_TEXT_CHARS else compiled.isinstance_python(text)


@lru_cache(maxsize=16)
def with_linear_patterns(validator_class: type[Validator], *, is_exact: bool = False) -> type[Validator]:
    """Return a validator class of the same draft that never backtracks.

    Args:
        validator_class: Of the draft.
        is_exact: Raise `Undecided` where else what cannot be checked would restrict nothing.
    """
    keywords: dict[str, Any] = {
        "pattern": _check_pattern,
        "patternProperties": _check_pattern_properties,
        "additionalProperties": _check_additional_properties,
        "unevaluatedProperties": _check_nothing,  # seldom used, and needs the patterns of every schema around it
    }
    if is_exact:
        keywords = {keyword: _make_exact(check) for keyword, check in keywords.items()}
    extended: type[Validator] = extend(validator_class, keywords)  # type: ignore[no-untyped-call]
    usual = extended.evolve

    def evolve(self: Validator, **changes: Any) -> Validator:
        """Stay in the class: `$schema` in a part would change over to jsonschema's own, whose patterns backtrack."""
        schema = changes.get("schema", self.schema)
        if isinstance(schema, dict) and "$schema" in schema:
            changes["schema"] = {key: value for key, value in schema.items() if key != "$schema"}
        return usual(self, **changes)

    extended.evolve = evolve  # type: ignore[method-assign]
    return extended


def _make_exact(check: Callable[..., Iterator[ValidationError]]) -> Callable[..., Iterator[ValidationError]]:
    def check_exactly(validator: Validator, rule: Any, value: Any, schema: Mapping[str, Any]) -> Any:
        patterns: Any = schema.get("patternProperties", ())
        texts: Any = value if isinstance(value, dict) else ()
        if isinstance(value, str):
            patterns, texts = [schema["pattern"]] if "pattern" in schema else (), [value]
        if any(matches(pattern, text) is None for pattern in patterns for text in texts):
            raise Undecided("a pattern cannot be read, or its text is too long")
        if "unevaluatedProperties" in schema and isinstance(value, dict):
            raise Undecided("unevaluatedProperties is not checked")
        return check(validator, rule, value, schema)

    return check_exactly


def _check_pattern(_: Validator, pattern: str, text: Any, __: Any) -> Iterator[ValidationError]:
    if isinstance(text, str) and matches(pattern, text) is False:
        yield ValidationError(f"{text!r} does not match {pattern!r}")


def _check_pattern_properties(
    validator: Validator, patterns: Mapping[str, Any], value: Any, _: Any
) -> Iterator[ValidationError]:
    for pattern, schema in patterns.items() if isinstance(value, dict) else ():
        for name, part in value.items():
            if matches(pattern, name):
                yield from _descend(validator, part, schema, path=name, schema_path=pattern)


def _check_additional_properties(
    validator: Validator, rule: Any, value: Any, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    """Check the properties that neither a name nor a pattern describes."""
    named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    names = list(value) if isinstance(value, dict) else []
    others = [
        name
        for name in names
        if name not in named and not any(matches(pattern, name) is not False for pattern in patterns)
    ]
    if isinstance(rule, dict):
        for name in others:
            yield from _descend(validator, value[name], rule, path=name)
    elif rule is False and others:
        yield ValidationError(f"Additional properties are not allowed ({', '.join(map(repr, others))})")


def _check_nothing(*_: Any) -> Iterator[ValidationError]:
    return iter(())


def _descend(validator: Any, value: Any, schema: Any, **where: str) -> Iterator[ValidationError]:
    found: Iterator[ValidationError] = validator.descend(value, schema, **where)
    return found
