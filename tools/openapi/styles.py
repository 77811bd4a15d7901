"""How OpenAPI writes values: the styles of paths, queries, headers, cookies and forms, which are those of RFC 6570.

What OpenAPI leaves open is written as most servers read it: an object or list within a ``deepObject`` as
``filter[size][min]=3`` and ``filter[tags][0]=new``, anything else within a list or object as JSON. Null is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias
from urllib.parse import quote

from langchain_core.tools import ToolException

Encode: TypeAlias = Callable[[str], str]

STYLES: Mapping[str, tuple[str, ...]] = {
    "path": ("simple", "label", "matrix"),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
    "header": ("simple",),
    "cookie": ("form",),
}
_PATH_MARKS = {"simple": ("", ","), "label": (".", "."), "matrix": (";", ";")}
_SEPARATORS = {"spaceDelimited": " ", "pipeDelimited": "|"}
# Of the reserved characters, those that do not end the value.
_RESERVED = ":/?@!$'()*,;"
_JSON = re.compile(r"(application|\*)/([\w.-]+\+)?(json|\*)", re.IGNORECASE)


class Unusable(Exception):
    """An operation, or a part of one, that cannot be offered; its message says why."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of the model, and where it goes in the request.

    Args:
        name: What the model calls it.
        wire_name: What the server calls it; ``""`` is the whole body.
        place: Part of the request: ``path``, ``query``, ``header``, ``cookie`` or ``body``.
        style: OpenAPI's name for how lists and objects are written; ``""`` in a form leaves that to the media type.
        explode: Each item of a list or object gets its own pair.
        is_json: It is written as JSON.
        allows_reserved: Reserved characters stay as they are in a query.
        media_type: Of a part of a form; ``""`` leaves it to the value.
        is_file: A part of a form is sent as a file.
    """

    name: str
    wire_name: str
    place: str
    style: str = ""
    explode: bool = True
    is_json: bool = False
    allows_reserved: bool = False
    media_type: str = ""
    is_file: bool = False


def is_json(media_type: str) -> bool:
    """Return whether a media type, or one of those that a wildcard stands for, is JSON."""
    return _JSON.fullmatch(media_type.partition(";")[0].strip()) is not None


def write_path(argument: Argument, value: Any) -> str:
    """Write a parameter of the path.

    Raises:
        ToolException: If the address would be another one.
    """
    start, separator = _PATH_MARKS[argument.style]
    text = _write_list(argument, value, separator, partial(quote, safe=""))
    if argument.style == "matrix" and not (_is_compound(value) and argument.explode):
        text = f"{argument.wire_name}={text}" if text else argument.wire_name
    elif not text or (start + text).strip(".") == "":
        raise ToolException(f"{argument.name} is {text!r}, which cannot stand in an address. Write another value.")
    return start + text


def write_header(argument: Argument, value: Any) -> str:
    """Write a header.

    Raises:
        ToolException: If no header can hold it.
    """
    text = _write_list(argument, value, ",", str)
    if not text.isprintable():
        raise ToolException(f"{argument.name} has a line break or another character that a header cannot hold.")
    return text


def write_query(argument: Argument, value: Any) -> Iterator[str]:
    """Write a query parameter, or a part of a form, as pairs that `&` joins."""
    encode = partial(quote, safe=_RESERVED if argument.allows_reserved else "")
    return (f"{name}={text}" for name, text in write_pairs(argument, value, encode))


def write_pairs(argument: Argument, value: Any, encode: Encode) -> Iterator[tuple[str, str]]:
    """Write a value as pairs of name and text; `encode` is applied to what is not a mark of the style."""
    name = encode(argument.wire_name)
    if not _is_compound(value) or argument.is_json:
        yield name, encode(write_scalar(value, as_json=argument.is_json))
    elif argument.style == "deepObject":
        yield from ((encode(key), encode(write_scalar(part))) for key, part in _flatten(argument.wire_name, value))
    elif isinstance(value, dict) and not argument.style:
        yield name, encode(write_scalar(value))
    elif not argument.explode:
        mark = _SEPARATORS.get(argument.style)
        if text := (encode(mark) if mark else ",").join(_list_parts(value, encode)):
            yield name, text
    elif isinstance(value, dict):
        yield from ((encode(key), encode(write_scalar(part))) for key, part in _list_items(value))
    else:
        yield from ((name, part) for part in _list_parts(value, encode))


def write_scalar(value: Any, *, as_json: bool = False) -> str:
    """Write one value as servers read it: ``true``, not ``True``."""
    if isinstance(value, str) and not as_json:
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)  # JSON Schema takes 5.0 for an integer, servers do not
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _write_list(argument: Argument, value: Any, separator: str, encode: Encode) -> str:
    if not _is_compound(value) or argument.is_json:
        return encode(write_scalar(value, as_json=argument.is_json))
    if not argument.explode:
        return ",".join(_list_parts(value, encode))
    if isinstance(value, dict):
        return separator.join(f"{encode(key)}={encode(write_scalar(part))}" for key, part in _list_items(value))
    start = f"{argument.wire_name}=" if argument.style == "matrix" else ""
    return separator.join(start + part for part in _list_parts(value, encode))


def _is_compound(value: Any) -> bool:
    return isinstance(value, list | dict)


def _list_items(value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((key, part) for key, part in value.items() if part is not None)


def _list_parts(value: list[Any] | dict[str, Any], encode: Encode) -> Iterator[str]:
    """Yield the items of a list, or the names and values of an object in turn."""
    items = value if isinstance(value, list) else [part for pair in _list_items(value) for part in pair]
    return (encode(write_scalar(item)) for item in items if item is not None)


def _flatten(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a ``deepObject`` holds, each with its path in brackets."""
    if _is_compound(value):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _flatten(f"{name}[{key}]", part)
    elif value is not None:
        yield name, value
