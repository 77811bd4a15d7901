"""Reads an OpenAPI 3 document, from a file, an address or memory, and looks up what its references name.

References also lead into other files: those in the folder of a document that is a file, and those at the host of one
that was fetched. In such a file every reference is made absolute when it is read, so that nothing else has to know
where a part of a document came from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import url2pathname

import httpx
import yaml
from langchain_core.tools import ToolException

from alpha_umi.documents import parse_yaml, read_text
from alpha_umi.errors import ConfigError
from alpha_umi.tools.http.addresses import check_address
from alpha_umi.tools.http.client import HttpClient

_MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
_MAX_FETCHED = 200  # files of one document
_FETCH_TIMEOUT_S = 30.0
_MAX_CHAIN = 32
_ENDLESS = "a chain of references that does not end"


class BadReference(Exception):
    """A ``$ref`` that leads nowhere; its message names it."""


class Document:
    """A parsed document, where it came from, and the files it refers to.

    Args:
        content: The document.
        name: What messages call it.
        url: Address it was fetched from, to which relative servers are relative; ``""`` if it was not.
        path: File it was read from, None if it was not.
    """

    def __init__(self, content: Mapping[str, Any], name: str, url: str = "", path: Path | None = None) -> None:
        """Read no other file yet."""
        self.content = content
        self.name = name
        self.url = url
        self._folder = path.resolve().parent if path else None
        self._base = path.resolve().as_uri() if path else url
        self._files: dict[str, Any] = {self._base: content}
        self._names: dict[str, Any] | None = None

    def resolve(self, node: Any) -> Any:
        """Follow a node's ``$ref``, and that of its target, until there is none; what stands beside it is kept."""
        beside: dict[str, Any] = {}
        for _ in range(_MAX_CHAIN):
            if not isinstance(node, Mapping) or not isinstance(node.get("$ref"), str):
                return {**node, **beside} if beside and isinstance(node, Mapping) else node
            beside = {**{key: value for key, value in node.items() if key != "$ref"}, **beside}
            node = self.lookup(node["$ref"])
        raise BadReference(_ENDLESS)

    def lookup(self, reference: str) -> Any:
        """Return what a reference such as ``#/components/schemas/Pet`` or ``pets.yaml#/Pet`` names."""
        try:
            address, _, pointer = urljoin(self._base, reference).partition("#")
            node = self._open(address)
            if not pointer.startswith("/") and (named := self._find_name(f"{address}#{pointer}")) is not None:
                return named
            return self.find_within(node, reference)
        except RecursionError as error:
            raise BadReference(_ENDLESS) from error
        except ValueError as error:  # brackets that hold no IPv6 address
            raise BadReference(f"{reference!r}, which is no address") from error

    def find_within(self, node: Any, reference: str) -> Any:
        """Return what a part of a document holds where a reference's pointer leads."""
        for part in filter(None, reference.partition("#")[2].split("/")):
            node = self._step(node, unquote(part).replace("~1", "/").replace("~0", "~"), reference)
        return node

    def _step(self, node: Any, key: str, reference: str) -> Any:
        """Return what a node holds; on the way there may be further references."""
        if isinstance(node, Mapping) and key not in node:
            node = self.resolve(node)
        if isinstance(node, list) and key.isdecimal() and int(key) < len(node):
            return node[int(key)]
        if isinstance(node, Mapping) and key in node:
            return node[key]
        raise BadReference(f"{self._shorten(reference)!r}, which leads nowhere")

    def _open(self, address: str) -> Any:
        """Return what a file holds, which is read once, or the schema that calls itself so by ``$id``."""
        if address not in self._files:
            self._files[address] = self._find_name(address) or self._try_to_read(address)
        if isinstance(self._files[address], BadReference):
            raise self._files[address]
        return self._files[address]

    def _find_name(self, name: str) -> Any:
        """Return the schema with this ``$anchor`` or ``$id``, None if there is none."""
        if self._names is None:
            self._names = dict(_iter_names(self.content, self._base))
        return self._names.get(name)

    def _try_to_read(self, address: str) -> Any:
        """Return what a file holds, or why it cannot be had."""
        try:
            if self._folder and address.startswith("file:"):
                content = _parse_text(read_text(_find_file(address, self._folder), "correct the reference"))
            elif self.url and urlsplit(address)[:2] == urlsplit(self.url)[:2] and len(self._files) < _MAX_FETCHED:
                content = _parse_text(_fetch(address))
            else:
                return BadReference(f"{address!r}, which is outside the document (bundle it into one file)")
        except (ValueError, OSError, yaml.YAMLError, RecursionError, ConfigError) as error:
            return BadReference(f"{self._shorten(address)!r}, which cannot be read: {error}")
        _make_absolute(content, address)
        assert self._names is not None  # by `_find_name`
        self._names |= _iter_names(content, address)
        return content

    def _shorten(self, reference: str) -> str:
        """Return a reference as people know it: relative to the document's folder."""
        if not self._base:
            return reference
        return reference.removeprefix(
            self._base if reference.startswith(f"{self._base}#") else urljoin(self._base, ".")
        )


def _find_file(address: str, folder: Path) -> Path:
    """Return the path of an address, which must not lead out of the document's folder."""
    path = Path(url2pathname(urlsplit(address).path)).resolve()
    if not path.is_relative_to(folder):
        raise ValueError(f"it is outside {folder}; copy it there, or bundle the document into one file")
    return path


def _iter_nodes(content: Any) -> Iterator[dict[str, Any]]:
    """Yield each mapping once; aliases of YAML may be in many places."""
    pending, seen = [content], set()
    while pending:
        node = pending.pop()
        if not isinstance(node, dict | list) or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, dict):
            yield node
            pending += node.values()
        else:
            pending += node


def _make_absolute(content: Any, address: str) -> None:
    """Let every reference in a file name its file."""
    for node in _iter_nodes(content):
        if isinstance(node.get("$ref"), str):
            node["$ref"] = urljoin(address, node["$ref"])


def _iter_names(content: Any, address: str) -> Iterator[tuple[str, Any]]:
    """Yield what a file's schemas call themselves, as absolute references."""
    for node in _iter_nodes(content):
        for key, mark in (("$id", ""), ("$anchor", "#")):
            if isinstance(node.get(key), str):
                yield urljoin(address, f"{mark}{node[key]}").removesuffix("#"), node


def load_document(source: str | Path | Mapping[str, Any]) -> Document:
    """Read a document.

    Raises:
        ConfigError: If it cannot be read or parsed.
    """
    if isinstance(source, Mapping):
        return Document(source, str(_get_title(source) or "the OpenAPI document"))
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        check_address(source, "an OpenAPI document", "'auth' of a file of settings, if the API wants it")
        return Document(_parse(_fetch(source), source), source, source)
    path = Path(source).expanduser()
    text = read_text(path, "give an OpenAPI document, a JSON or YAML file")
    return Document(_parse(text, str(source)), str(source), path=path)


def require_openapi_3(document: Document) -> None:
    """Refuse what is no OpenAPI 3 document."""
    content = document.content
    if "swagger" in content:
        raise ConfigError(f"{document.name} is Swagger {content['swagger']}; convert it to OpenAPI 3 first.")
    if not str(content.get("openapi", "")).startswith("3"):
        raise ConfigError(f"{document.name} is no OpenAPI 3 document: it has no line 'openapi: 3…'.")
    try:
        paths = document.resolve(content.get("paths"))
    except BadReference as error:
        raise ConfigError(f"The 'paths' of {document.name} refer to {error}; correct that.") from error
    if not isinstance(paths, Mapping):
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
        content = _parse_text(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{name} is neither valid JSON nor valid YAML: {error}") from error
    if not isinstance(content, Mapping):
        raise ConfigError(f"{name} is no OpenAPI document: it holds no mapping of names to values.")
    return content


def _parse_text(text: str) -> Any:
    """Return what a text holds. JSON is YAML as well, but takes much longer to read as such."""
    return json.loads(text) if text.lstrip().startswith("{") else parse_yaml(text)
