r"""Values of JSON that hold no others, as rules of llguidance's grammar: what a schema allows and the parser can read.

llguidance's own rules for JSON know no escapes such as ``\u003c``, which our renderer writes where a text would be
read as a control token, no exponents within bounds, and no integers of 64 bits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from alpha_umi.nodes.format.escaping import escape_json
from alpha_umi.nodes.models.engine.tightening import ANNOTATIONS, list_kinds
from alpha_umi.tools.spec.schema import make_validator

MIN_INTEGER, MAX_INTEGER = -(2**63), 2**63 - 1
"""What the parser reads and a checkpoint holds."""
_MAX_DECIMAL = 4 * 10**18  # llguidance knows no wider bounds

_HEX = "[0-9a-fA-F]"
_CHARACTER = (
    r'([^"\\\x00-\x1F\x7F]|\\["\\\/bfnrt]'
    rf"|\\u([0-9a-cA-CefEF]{_HEX}|[dD][0-7]){_HEX}{{2}}"
    rf"|\\u[dD][89abAB]{_HEX}{{2}}\\u[dD][c-fC-F]{_HEX}{{2}})"
)
_WHOLE = "-?(0|[1-9][0-9]{0,18})"  # no more, so that a number comes to its end
_EXPONENT = r"[eE](\+?([0-9]{1,2}|[12][0-9]{2}|30[0-8])|-([0-9]{1,2}|[12][0-9]{2}|3[0-2][0-9]))"
# Where Python, and so JSON that it writes, begins to use exponents.
_SMALL, _LARGE = range(-324, -4), range(16, 309)
_BOUNDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_KEYS: Mapping[str, frozenset[str]] = {
    "string": frozenset({"minLength", "maxLength", "contentMediaType", "contentEncoding"}),
    "integer": _BOUNDS,
    "number": _BOUNDS,
    "boolean": frozenset(),
    "null": frozenset(),
}

TEXT = f'/"{_CHARACTER}*"/'
"""Any string."""


def write_scalar(schema: Mapping[str, Any]) -> str:
    """Return the rule of a schema for values that hold no others; empty where llguidance has to read the schema.

    Example:
        >>> write_scalar({"type": ["boolean", "null"]})
        '"true" | "false" | "null"'
    """
    keys = schema.keys() - ANNOTATIONS
    if keys & {"enum", "const"}:
        return _write_listed(schema) if keys <= {"enum", "const", "type"} else ""
    kinds = list_kinds(schema)
    known = {"type"}.union(*(_KEYS.get(kind, ()) for kind in kinds))
    if not kinds or not keys <= known or not all(kind in _KEYS for kind in kinds):
        return ""
    return " | ".join(_write_kind(kind, schema) for kind in kinds)


def quote(value: Any, end: str = "") -> str:
    """Return JSON text as a literal of a grammar, also in the form in which our renderer escapes it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    forms = dict.fromkeys(json.dumps(form + end) for form in (text, escape_json(text)))
    return f"({' | '.join(forms)})" if len(forms) > 1 else next(iter(forms))


def bound_integers(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a part of a schema with integers as wide as llguidance can bound them."""
    if "integer" not in list_kinds(schema):
        return schema
    return {"minimum": -_MAX_DECIMAL, "maximum": _MAX_DECIMAL} | schema


def _write_listed(schema: Mapping[str, Any]) -> str:
    values = schema["enum"] if "enum" in schema else [schema["const"]]
    try:
        is_valid = make_validator({"properties": {"value": dict(schema)}}).is_valid
    except ValueError:  # a type that there is not
        return ""
    return " | ".join(dict.fromkeys(quote(value) for value in values if is_valid({"value": value})))


def _write_kind(kind: str, schema: Mapping[str, Any]) -> str:
    if kind == "boolean":
        return '"true" | "false"'
    if kind == "null":
        return '"null"'
    if kind == "string":
        least, most = schema.get("minLength", 0), schema.get("maxLength", "")
        return TEXT if least == 0 and most == "" else f'/"{_CHARACTER}{{{least},{most}}}"/'
    if kind == "integer":
        return " | ".join(_write_integers(*_read_bounds(schema, is_integer=True)))
    if not _BOUNDS & schema.keys():
        return rf"/{_WHOLE}(\.[0-9]+({_EXPONENT})?|{_EXPONENT})/ | " + " | ".join(_write_integers(-math.inf, math.inf))
    return " | ".join([_write_decimals(schema), *_write_exponents(*_read_bounds(schema))])


def _read_bounds(schema: Mapping[str, Any], *, is_integer: bool = False) -> tuple[Any, Any]:
    """Return the least and the greatest number that are allowed."""
    above, below = schema.get("exclusiveMinimum", -math.inf), schema.get("exclusiveMaximum", math.inf)
    above = above if math.isinf(above) else math.floor(above) + 1 if is_integer else math.nextafter(above, math.inf)
    below = below if math.isinf(below) else math.ceil(below) - 1 if is_integer else math.nextafter(below, -math.inf)
    return max(schema.get("minimum", -math.inf), above), min(schema.get("maximum", math.inf), below)


def _write_integers(low: float, high: float) -> Iterator[str]:
    """Yield expressions of the integers within bounds."""
    least = MIN_INTEGER if low < MIN_INTEGER else math.ceil(low)
    most = MAX_INTEGER if high > MAX_INTEGER else math.floor(high)
    if most >= max(least, 0):
        yield f"/{'|'.join(_list_digits(max(least, 0), most))}/"
    if least <= min(most, -1):
        yield f"/-({'|'.join(_list_digits(max(-most, 1), -least))})/"


def _list_digits(low: int, high: int) -> list[str]:
    """Return regular expressions that together match the numbers from `low`, 0 or more, to `high`.

    Example:
        >>> _list_digits(7, 123)
        ['[7-9]', '[1-9][0-9]{1}', '1[0-1][0-9]{1}', '12[0-3]']
    """
    parts: list[str] = []
    while len(str(low)) < len(str(high)):
        end = 10 ** len(str(low))
        parts += _list_of_length(str(low), str(end - 1))
        low = end
    return parts + _list_of_length(str(low), str(high))


def _list_of_length(low: str, high: str) -> list[str]:
    if not low:
        return [""]
    if low[0] == high[0]:
        return [low[0] + rest for rest in _list_of_length(low[1:], high[1:])]
    n, first, last = len(low) - 1, int(low[0]), int(high[0])
    head: list[str] = []
    tail: list[str] = []
    if low[1:] != "0" * n:
        head, first = [low[0] + rest for rest in _list_of_length(low[1:], "9" * n)], first + 1
    if high[1:] != "9" * n:
        tail, last = [high[0] + rest for rest in _list_of_length("0" * n, high[1:])], last - 1
    middle = [f"[{first}-{last}]" + (f"[0-9]{{{n}}}" if n else "")] if first <= last else []
    return [*head, *middle, *tail]


def _write_decimals(schema: Mapping[str, Any]) -> str:
    """Return numbers without exponents within bounds, as llguidance writes them."""
    bounds = {"minimum": -_MAX_DECIMAL, "maximum": _MAX_DECIMAL} | {key: schema[key] for key in _BOUNDS & schema.keys()}
    near = {key: min(max(bound, -_MAX_DECIMAL), _MAX_DECIMAL) for key, bound in bounds.items()}
    return f"%json {json.dumps({'type': 'number', **near})}"


def _write_exponents(low: float, high: float) -> Iterator[str]:
    """Yield numbers with exponents as Python writes them: of the decades that are within bounds."""
    if low <= 0 <= high:
        yield '"0.0" | "-0.0"'
    for sign, least, most in (("", max(low, 0), high), ("-", max(-high, 0), -low)):
        for mark, exponents in (("-", _SMALL), (r"\+", _LARGE)):
            above = (e for e in exponents if least <= max(10.0**e, math.ulp(0.0)))
            fit = [abs(e) for e in above if most == math.inf or 10 ** (e + 1) <= most]
            if fit:
                # one of a single digit has a zero before it
                short = [f"0{digit}" for digit in _list_digits(min(fit), min(max(fit), 9))] if min(fit) < 10 else []
                long = _list_digits(max(min(fit), 10), max(fit)) if max(fit) >= 10 else []
                # with so many digits that every float is told from others, and no more, so that it comes to its end
                yield rf"/{sign}[1-9](\.[0-9]{{1,17}})?e{mark}({'|'.join(short + long)})/"
