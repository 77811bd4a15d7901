"""Which values are right for an argument, where several are: ``$any``, ``$optional`` and ``$matches``.

An expectation is JSON. An object with one of these keys alone stands for several values:

- ``{$any: [a, b]}``: one of them;
- ``{$matches: regex}``: a text, or the JSON of another value, in which the regular expression is found;
- ``{$optional: a}``: may be left out of the object around it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from alpha_umi.training.evaluation.metrics.strict import is_equal

Expectation: TypeAlias = Any
ANY, OPTIONAL, MATCHES = "$any", "$optional", "$matches"
_OPERATORS = (ANY, OPTIONAL, MATCHES)
_NOTHING = object()


def read_operator(wanted: Expectation) -> tuple[str, Any]:
    """Return operator and operand; an empty operator and the expectation itself where there is none."""
    if isinstance(wanted, Mapping) and len(wanted) == 1:
        [(key, operand)] = wanted.items()
        if key in _OPERATORS:
            return key, operand
    return "", wanted


def list_faults(wanted: Expectation, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield where an expectation cannot be read, as the keys that lead there, and what to write."""
    operator, operand = read_operator(wanted)
    if operator == ANY and not (isinstance(operand, list) and operand):
        yield path, f"{ANY} takes a list of values, as in {{{ANY}: [a, b]}}."
    elif operator == MATCHES:
        try:
            re.compile(operand)
        except (re.error, TypeError, RecursionError, OverflowError) as error:
            yield path, f"{MATCHES} takes a regular expression in quotes: {error}."
    elif operator:
        parts = enumerate(operand) if operator == ANY else [(operator, operand)]
        for key, part in parts:
            yield from list_faults(part, (*path, operator, key) if operator == ANY else (*path, key))
    elif isinstance(wanted, Mapping):
        for key, part in wanted.items():
            if str(key).startswith("$") and str(key) not in _OPERATORS:
                yield (*path, key), f"{key} is none of {', '.join(_OPERATORS)}."
            elif str(key) in _OPERATORS:
                yield (*path, key), f"{key} stands alone in its braces: {{{key}: …}}."
            yield from list_faults(part, (*path, key))
    elif isinstance(wanted, list):
        for i, part in enumerate(wanted):
            yield from list_faults(part, (*path, i))


def is_optional(wanted: Expectation) -> bool:
    """Tell whether a value may be left out."""
    return read_operator(wanted)[0] == OPTIONAL


def accepts(wanted: Expectation, made: Any) -> bool:
    """Tell whether a value is right; numbers are compared as JSON does, so that 1 is 1.0 but not ``true``.

    Example:
        >>> wanted = {"day": {"$any": ["friday", "Friday"]}, "minutes": {"$optional": 30}}
        >>> accepts(wanted, {"day": "Friday"}), accepts(wanted, {"day": "friday", "minutes": 45})
        (True, False)
    """
    operator, operand = read_operator(wanted)
    if operator == ANY:
        return any(accepts(each, made) for each in operand)
    if operator == MATCHES:
        return re.search(operand, made if isinstance(made, str) else json.dumps(made, ensure_ascii=False)) is not None
    if operator == OPTIONAL:
        return accepts(operand, made)
    if isinstance(wanted, Mapping):
        if not isinstance(made, Mapping) or made.keys() - wanted.keys():
            return False
        return all(accepts(part, made[key]) if key in made else is_optional(part) for key, part in wanted.items())
    if isinstance(wanted, list):
        if not isinstance(made, list) or len(made) != len(wanted):
            return False
        return all(accepts(part, each) for part, each in zip(wanted, made, strict=True))
    return is_equal(wanted, made)


def settle(wanted: Expectation, made: Any = _NOTHING) -> Any:
    """Return the right value that is nearest to one that was made: what is right of it stays, the rest is the first.

    Example:
        >>> settle({"day": {"$any": ["friday", "Friday"]}, "court": 3}, {"day": "Friday", "court": 4})
        {'day': 'Friday', 'court': 3}
    """
    if made is not _NOTHING and accepts(wanted, made):
        return made
    operator, operand = read_operator(wanted)
    if operator == ANY:
        return settle(operand[0], made)
    if operator == OPTIONAL:
        return settle(operand, made)
    if operator == MATCHES:
        return f"/{operand}/"
    if isinstance(wanted, Mapping):
        given = made if isinstance(made, Mapping) else {}
        kept = {key: part for key, part in wanted.items() if key in given or not is_optional(part)}
        return {key: settle(part, given.get(key, _NOTHING)) for key, part in kept.items()}
    if isinstance(wanted, list):
        items = [*(made if isinstance(made, list) else []), *[_NOTHING] * len(wanted)]
        return [settle(part, item) for part, item in zip(wanted, items, strict=False)]
    return wanted


def list_variants(wanted: Expectation) -> list[Any]:
    """Return values that are right, in which each alternative occurs; without what ``$matches`` describes."""
    operator, operand = read_operator(wanted)
    if operator == ANY:
        return [variant for each in operand for variant in list_variants(each)]
    if operator:
        return [*(list_variants(operand) if operator == OPTIONAL else []), _NOTHING]
    if isinstance(wanted, Mapping):
        return [
            {key: value for key, value in zip(wanted, values, strict=True) if value is not _NOTHING}
            for values in _take_in_step(map(list_variants, wanted.values()))
        ]
    if isinstance(wanted, list):
        return [
            [value for value in values if value is not _NOTHING] for values in _take_in_step(map(list_variants, wanted))
        ]
    return [wanted]


def _take_in_step(columns: Iterable[list[Any]]) -> list[list[Any]]:
    """Return the first value of each column, then the second of each; of a shorter one again the last."""
    found = list(columns)
    return [[column[min(i, len(column) - 1)] for column in found] for i in range(max(map(len, found), default=1))]
