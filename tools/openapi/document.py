"""Reads an OpenAPI 3 document, from a file, an address or memory, and looks up what its references name.

YAML is read as OpenAPI means it: YAML 1.2 that says what JSON could say, so ``no`` is a text and so is ``2020-01-01``.
PyYAML's loader reads YAML 1.1, takes seven times as long, and its C composer overflows the stack on deep nesting, so
only its parser is used. Merge keys (``<<``) are no part of YAML 1.2.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import yaml
from langchain_core.tools import ToolException

from alpha_umi.errors import ConfigError
from alpha_umi.tools.http.client import HttpClient

_MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
_FETCH_TIMEOUT_S = 30.0
_MAX_CHAIN = 32
_MAX_DEPTH = 200
_MAX_NODES = 5_000_000  # with aliases written out: a few lines of them can mean a billion values
_CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]{1,4000}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_YamlLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class BadReference(Exception):
    """A ``$ref`` that leads nowhere; its message names it."""


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed document and where it came from.

    Args:
        content: The document.
        name: What messages call it.
        url: Address it was fetched from, to which relative servers are relative; ``""`` if it was not.
    """

    content: Mapping[str, Any]
    name: str
    url: str = ""

    def resolve(self, node: Any) -> Any:
        """Follow a node's ``$ref``, and that of its target, until there is none."""
        for _ in range(_MAX_CHAIN):
            if not isinstance(node, Mapping) or not isinstance(node.get("$ref"), str):
                return node
            node = self.lookup(node["$ref"])
        raise BadReference("a chain of references that does not end")

    def lookup(self, reference: str) -> Any:
        """Return what a reference such as ``#/components/schemas/Pet`` names."""
        if not reference.startswith("#"):
            raise BadReference(f"{reference!r}, which is outside the document (bundle it into one file)")
        node: Any = self.content
        for part in filter(None, reference[1:].split("/")):
            key = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(node, list) and key.isdecimal() and int(key) < len(node):
                node = node[int(key)]
            elif isinstance(node, Mapping) and key in node:
                node = node[key]
            else:
                raise BadReference(f"{reference!r}, which leads nowhere")
        return node


def load_document(source: str | Path | Mapping[str, Any]) -> Document:
    """Read a document.

    Raises:
        ConfigError: If it cannot be read or parsed.
    """
    if isinstance(source, Mapping):
        return Document(source, str(_get_title(source) or "the OpenAPI document"))
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        return Document(_parse(_fetch(source), source), source, source)
    try:
        text = Path(source).expanduser().read_text("utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"The OpenAPI document {str(source)!r} cannot be read: {error}. Give the path of a JSON or YAML file."
        ) from error
    return Document(_parse(text, str(source)), str(source))


def require_openapi_3(document: Document) -> None:
    """Refuse what is no OpenAPI 3 document."""
    content = document.content
    if "swagger" in content:
        raise ConfigError(f"{document.name} is Swagger {content['swagger']}; convert it to OpenAPI 3 first.")
    if not str(content.get("openapi", "")).startswith("3"):
        raise ConfigError(f"{document.name} is no OpenAPI 3 document: it has no line 'openapi: 3…'.")
    if not isinstance(content.get("paths"), Mapping):
        raise ConfigError(f"{document.name} has no 'paths', so there is nothing to call; give a complete document.")


def _get_title(content: Mapping[str, Any]) -> Any:
    info = content.get("info")
    return info.get("title") if isinstance(info, Mapping) else None


def _fetch(url: str) -> str:
    parts = urlsplit(url)
    hosts = [parts.hostname or ""]
    client = HttpClient(
        allowed_hosts=hosts, private_hosts=hosts, timeout_s=_FETCH_TIMEOUT_S, max_response_bytes=_MAX_DOCUMENT_BYTES
    )
    try:
        reply = client.send(httpx.Request("GET", url), is_idempotent=True)
    except ToolException as error:
        raise ConfigError(f"The OpenAPI document {url} cannot be fetched: {error}") from error
    if reply.is_cut:
        raise ConfigError(f"The OpenAPI document {url} is over {_MAX_DOCUMENT_BYTES:,} bytes long; save a part of it.")
    return reply.text


def _parse(text: str, name: str) -> Mapping[str, Any]:
    try:
        # JSON is YAML as well, but takes much longer to read as such.
        content = json.loads(text) if text.lstrip().startswith("{") else parse_yaml(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{name} is neither valid JSON nor valid YAML: {error}") from error
    if not isinstance(content, Mapping):
        raise ConfigError(f"{name} is no OpenAPI document: it holds no mapping of names to values.")
    return content


def parse_yaml(text: str) -> Any:
    r"""Return the values of a document of one part.

    Raises:
        yaml.YAMLError: If it is no YAML, nested too deeply, or contains itself.

    Example:
        >>> parse_yaml("country: no\nsince: 1999-12-31\nparts: [1, 2.5, null]")
        {'country': 'no', 'since': '1999-12-31', 'parts': [1, 2.5, None]}
    """
    root: list[Any] = []
    stack: list[_YamlCollection] = [_YamlCollection(root)]
    anchors: dict[str, Any] = {}
    sizes: dict[int, int] = {}
    for event in yaml.parse(text, Loader=_YamlLoader):
        if stack[-1].n_nodes > _MAX_NODES:
            raise yaml.YAMLError(f"it stands for more than {_MAX_NODES:,} values, {event.start_mark}")
        if isinstance(event, yaml.CollectionEndEvent):
            closed = stack.pop()
            stack[-1].n_nodes += closed.n_nodes
            sizes[id(closed.value)] = closed.n_nodes
            if closed.anchor:
                anchors[closed.anchor] = closed.value
        elif isinstance(event, yaml.CollectionStartEvent):
            value: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
            stack[-1].add(value)
            stack.append(_YamlCollection(value, event.anchor))
            if len(stack) > _MAX_DEPTH:
                raise yaml.YAMLError(f"nested more than {_MAX_DEPTH} deep, {event.start_mark}")
        elif isinstance(event, yaml.ScalarEvent):
            value = _read_scalar(event)
            stack[-1].add(value)
            stack[-1].n_nodes += 1
            if event.anchor:
                anchors[event.anchor] = value
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in anchors:
                raise yaml.YAMLError(f"*{event.anchor} names nothing complete, {event.start_mark}")
            stack[-1].add(anchors[event.anchor])
            stack[-1].n_nodes += sizes.get(id(anchors[event.anchor]), 1)
    return root[0] if root else None


class _YamlCollection:
    """A list or mapping that is being filled."""

    def __init__(self, value: Any, anchor: str | None = None) -> None:
        self.value = value
        self.anchor = anchor
        self.n_nodes = 1
        self._key: tuple[str] | None = None

    def add(self, item: Any) -> None:
        """Append to a list; to a mapping, alternately the key and its value."""
        if isinstance(self.value, list):
            self.value.append(item)
        elif self._key is None:
            self._key = (_write_key(item),)
        else:
            self.value[self._key[0]] = item
            self._key = None


def _write_key(key: Any) -> str:
    """Return a key as JSON would hold it; documents write ``200:`` for ``"200":``."""
    if isinstance(key, dict | list):
        raise yaml.YAMLError("a key is a list or a mapping")
    return key if isinstance(key, str) else {True: "true", False: "false", None: "null"}.get(key, str(key))


def _read_scalar(event: Any) -> Any:
    text: str = event.value
    if not event.implicit[0]:
        return text
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
