"""An operation and the model's arguments → an HTTP request, without credentials."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import httpx
from langchain_core.tools import ToolException

from alpha_umi.tools.openapi.arguments import Argument
from alpha_umi.tools.openapi.operations import Operation

_SEPARATORS = {"spaceDelimited": " ", "pipeDelimited": "|"}


def build_request(operation: Operation, values: Mapping[str, Any]) -> httpx.Request:
    """Write arguments to where the operation wants them.

    Raises:
        ToolException: If a value cannot be written where it belongs.
    """
    given: dict[str, list[tuple[Argument, Any]]] = {}
    for argument in operation.arguments:
        if argument.name in values and (values[argument.name] is not None or argument.place == "body"):
            given.setdefault(argument.place, []).append((argument, values[argument.name]))
    url = operation.url
    for argument, value in given.get("path", ()):
        url = url.replace(f"{{{argument.wire_name}}}", _write_path(argument, value))
    query, cookies = (
        tuple(pair for argument, value in given.get(place, ()) for pair in _write_pairs(argument, value))
        for place in ("query", "cookie")
    )
    headers = {"Accept": "application/json, text/*;q=0.9, */*;q=0.5"}
    headers |= {argument.wire_name: _write_header(argument, value) for argument, value in given.get("header", ())}
    if cookies:
        headers["Cookie"] = "; ".join(f"{name}={quote(value)}" for name, value in cookies)
    body = {argument.wire_name: value for argument, value in given.get("body", ())}
    whole = body.pop("", None)
    content = {} if operation.body is None else _write_body(operation, body if whole is None else whole, headers)
    encoded = [(name.encode(), text.encode()) for name, text in headers.items()]
    return httpx.Request(operation.method, url, params=query or None, headers=encoded, **content)


def _write_path(argument: Argument, value: Any) -> str:
    text = _write_simple(argument, value)
    if text in ("", ".", ".."):
        raise ToolException(f"{argument.name} is {text!r}, which cannot stand in an address. Write another value.")
    return quote(text, safe=",")


def _write_header(argument: Argument, value: Any) -> str:
    text = _write_simple(argument, value)
    if not text.isprintable():
        raise ToolException(f"{argument.name} has a line break or another character that a header cannot hold.")
    return text


def _write_pairs(argument: Argument, value: Any) -> Iterator[tuple[str, str]]:
    """Write a query parameter or cookie."""
    name = argument.wire_name
    if argument.is_json or not isinstance(value, list | dict):
        yield name, _write_scalar(value, as_json=argument.is_json)
    elif isinstance(value, dict) and argument.style == "deepObject":
        yield from ((f"{name}[{key}]", _write_scalar(part)) for key, part in value.items())
    elif isinstance(value, dict) and argument.explode:
        yield from ((key, _write_scalar(part)) for key, part in value.items())
    elif isinstance(value, list) and argument.explode:
        yield from ((name, _write_scalar(part)) for part in value)
    else:
        yield name, _SEPARATORS.get(argument.style, ",").join(_flatten(value))


def _write_simple(argument: Argument, value: Any) -> str:
    if argument.is_json or not isinstance(value, list | dict):
        return _write_scalar(value, as_json=argument.is_json)
    if isinstance(value, dict) and argument.explode:
        return ",".join(f"{key}={_write_scalar(part)}" for key, part in value.items())
    return ",".join(_flatten(value))


def _flatten(value: list[Any] | dict[str, Any]) -> Iterator[str]:
    parts = value if isinstance(value, list) else [part for pair in value.items() for part in pair]
    return map(_write_scalar, parts)


def _write_scalar(value: Any, as_json: bool = False) -> str:
    """Write one value as servers read it: ``true``, not ``True``."""
    if isinstance(value, str) and not as_json:
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _write_body(operation: Operation, value: Any, headers: dict[str, str]) -> dict[str, Any]:
    """Return httpx's argument for the body; the content type goes into the headers where httpx does not know it."""
    if operation.body == "multipart":
        fields = value if isinstance(value, dict) else {"body": value}
        files = {argument.wire_name for argument in operation.arguments if argument.is_file}
        return {
            "files": [
                (name, (name if name in files else None, _write_scalar(part).encode())) for name, part in fields.items()
            ]
        }
    headers["Content-Type"] = operation.media_type
    if operation.body == "json":
        return {"content": json.dumps(value, ensure_ascii=False).encode()}
    if operation.body == "form" and isinstance(value, dict):
        pairs = [pair for name, part in value.items() for pair in _write_pairs(Argument("", name, "body"), part)]
        return {"content": urlencode(pairs).encode()}
    return {"content": _write_scalar(value).encode()}
