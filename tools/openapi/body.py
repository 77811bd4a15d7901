"""The body of an OpenAPI operation: JSON, a form of either kind, or text and bytes as they are."""

from __future__ import annotations

import json
import mimetypes
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from alpha_umi.tools.openapi.styles import STYLES, Argument, Unusable, is_json, write_pairs, write_query, write_scalar

BodyKind: TypeAlias = Literal["json", "form", "multipart", "text"]

_KINDS: Mapping[str, BodyKind] = {"application/x-www-form-urlencoded": "form", "multipart/form-data": "multipart"}
_ORDER: tuple[BodyKind, ...] = ("json", "form", "multipart", "text")
_STYLE_KEYS = frozenset({"style", "explode", "allowReserved"})
_OCTETS = "application/octet-stream"
_FilePart: TypeAlias = tuple[str, tuple[str | None, bytes, str | None]]


@dataclass(frozen=True, slots=True)
class Body:
    """How the body of an operation is written; `parts` are the properties of a form by their names."""

    kind: BodyKind
    media_type: str
    is_required: bool
    parts: Mapping[str, Argument] = field(default_factory=dict)

    def write(self, value: Any, headers: dict[str, str]) -> dict[str, Any]:
        """Return httpx's argument for a body; the content type goes into the headers where httpx does not know it."""
        fields = value if isinstance(value, dict) else {"body": value}
        given = [(self.parts.get(name, Argument(name, name, "body")), part) for name, part in fields.items()]
        given = [(argument, part) for argument, part in given if part is not None]
        if self.kind == "multipart":
            return {"files": [part for argument, value in given for part in _write_parts(argument, value)]}
        headers["Content-Type"] = self.media_type
        if self.kind == "json":
            return {"content": json.dumps(value, ensure_ascii=False).encode()}
        if self.kind == "form":
            return {"content": "&".join(pair for each in given for pair in write_query(*each)).encode()}
        return {"content": write_scalar(value).encode()}


def list_media(content: Mapping[str, Any]) -> list[tuple[BodyKind, str, Any]]:
    """Return the forms in which a body can be written: kind, media type to send and description, the best first."""
    found = [(_read_kind(str(media_type)), _choose(str(media_type)), node) for media_type, node in content.items()]
    return sorted(found, key=lambda each: _ORDER.index(each[0]))


def read_part(name: str, schema: Mapping[str, Any], encoding: Mapping[str, Any]) -> Argument:
    """Return how a property of a form is written.

    Raises:
        Unusable: If its encoding is none that can be written.
    """
    if _STYLE_KEYS & encoding.keys():  # then its content type has no meaning
        style = encoding.get("style", "form")
        if style not in STYLES["query"]:
            raise Unusable(f"part {name!r} of the body is written in style {style!r}")
        explode = encoding.get("explode", style == "form") is True
        reserved = encoding.get("allowReserved") is True
        return Argument(name, name, "body", style, explode, allows_reserved=reserved)
    items = schema.get("items")
    item = items if isinstance(items, Mapping) else schema
    media_type = str(encoding.get("contentType") or item.get("contentMediaType") or "").partition(",")[0].strip()
    is_file = item.get("format") == "binary" or ("contentMediaType" in item and "contentEncoding" not in item)
    if media_type and not is_json(media_type) and not may_be_text(item):
        raise Unusable(f"part {name!r} of the body is written as {media_type}")
    return Argument(name, name, "body", is_json=is_json(media_type), media_type=_choose(media_type), is_file=is_file)


def may_be_text(schema: Mapping[str, Any]) -> bool:
    """Return whether a value of a schema can be sent as it is written."""
    if parts := schema.get("anyOf"):
        return any(map(may_be_text, parts))
    kinds = schema.get("type", "string")
    return "string" in ([kinds] if isinstance(kinds, str) else kinds)


def _read_kind(media_type: str) -> BodyKind:
    name = media_type.partition(";")[0].strip().lower()
    return "json" if is_json(name) else _KINDS.get(name, "text")


def _choose(media_type: str) -> str:
    """Return a media type as it can be sent, without wildcards."""
    if "*" not in media_type:
        return media_type
    return "application/json" if is_json(media_type) else "text/plain" if media_type.startswith("text") else _OCTETS


def _write_parts(argument: Argument, value: Any) -> Iterator[_FilePart]:
    """Write a property as parts of a multipart form: one per item of a list, and files with a name and a type."""
    if argument.style:
        yield from ((key, (None, text.encode(), None)) for key, text in write_pairs(argument, value, str))
        return
    for n, item in enumerate(value if isinstance(value, list) else [value], 1):
        kind = argument.media_type or (_OCTETS if argument.is_file else None)
        if isinstance(item, dict | list):
            kind = kind or "application/json"
        name: str | None = None
        if argument.is_file:
            name = f"{re.sub(r'[^A-Za-z0-9]+', '_', argument.wire_name).strip('_') or 'file'}_{n}"
            name += mimetypes.guess_extension(str(kind).partition(";")[0]) or ""
        yield argument.wire_name, (name, write_scalar(item, as_json=argument.is_json).encode(), kind)
