"""An operation and the model's arguments → an HTTP request, without credentials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx

from alpha_umi.tools.openapi.operations import Operation
from alpha_umi.tools.openapi.styles import Argument, write_header, write_pairs, write_path, write_query


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
        url = url.replace(f"{{{argument.wire_name}}}", write_path(argument, value))
    if query := "&".join(pair for each in given.get("query", ()) for pair in write_query(*each)):
        url += f"{'&' if '?' in url else '?'}{query}"
    headers = {"Accept": "application/json, text/*;q=0.9, */*;q=0.5"}
    headers |= {argument.wire_name: write_header(argument, value) for argument, value in given.get("header", ())}
    cookies = [pair for each in given.get("cookie", ()) for pair in write_pairs(*each, quote)]
    if cookies:
        headers["Cookie"] = "; ".join(f"{name}={text}" for name, text in cookies)
    content = _write_body(operation, given.get("body", []), headers)
    encoded = [(name.encode(), text.encode()) for name, text in headers.items()]
    return httpx.Request(operation.method, url, headers=encoded, **content)


def _write_body(operation: Operation, given: list[tuple[Argument, Any]], headers: dict[str, str]) -> dict[str, Any]:
    """Return httpx's argument for the body; one that may be missing is not sent where nothing is given."""
    if operation.body is None or not (given or operation.body.is_required):
        return {}
    values = {argument.wire_name: value for argument, value in given}
    return operation.body.write(values.get("", values), headers)
