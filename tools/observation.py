"""Whatever a tool returns or raises → the text that the model reads, bounded and safe to store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from langchain_core.tools import ToolException
from pydantic import ValidationError
from pydantic_core import to_jsonable_python

NO_OUTPUT = "(no output)"
_MEDIA_TYPES = frozenset({"image", "image_url", "audio", "video", "file", "document"})
_MEDIA_KEYS = frozenset({"base64", "data", "url", "image_url", "file_id", "source", "source_type"})


def render_observation(value: Any, max_chars: int) -> str:
    """Return any tool result as text of at most `max_chars` characters, the mark of a cut included.

    Any text, bytes, data, content blocks or object becomes one that UTF-8 and JSON can carry.

    Example:
        >>> render_observation({"city": "Köln", "rain": None}, 80)
        '{"city":"Köln","rain":null}'
    """
    text = _render(value)
    if not text or text.isspace():
        return NO_OUTPUT
    return make_storable(cut(text, max_chars))


def render_error(error: BaseException) -> str:
    """Return what went wrong in one line or a few: the type and the message, or a tool's own words.

    Example:
        >>> render_error(KeyError("city"))
        "KeyError: 'city'"
    """
    if isinstance(error, ToolException) and error.args:
        return _safe_str(error)
    if isinstance(error, ValidationError):
        problems = [f"{'.'.join(map(str, item['loc'])) or 'input'}: {item['msg']}" for item in error.errors()]
        return f"{type(error).__name__}: {'; '.join(problems)}"
    message = _safe_str(error)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def cut(text: str, max_chars: int) -> str:
    r"""Keep the head and the tail of a text that is too long, and say how many characters are missing.

    Example:
        >>> cut("a" * 300, 60)
        'aaaaaaaaaaaaaaaaaaaaaaa\n[… 266 characters cut …]\naaaaaaaaaaa'
    """
    if len(text) <= max_chars:
        return text
    longest_mark = f"\n[… {len(text):,} characters cut …]\n"
    n_kept = max(0, max_chars - len(longest_mark))
    n_tail = n_kept // 3
    n_head = n_kept - n_tail
    return f"{text[:n_head]}\n[… {len(text) - n_kept:,} characters cut …]\n{text[len(text) - n_tail :]}"


def make_storable(text: str) -> str:
    """Replace lone surrogates and NULs, which UTF-8, JSON parsers and databases refuse."""
    # UTF-16 also joins two surrogates that make one character.
    joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return joined.replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _render(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return _render_bytes(bytes(value))
    if isinstance(value, list | tuple) and value:
        blocks = [_render_block(item) for item in value]
        if None not in blocks:
            return "\n".join(block or "" for block in blocks)
    return _render_data(value)


def _render_bytes(data: bytes) -> str:
    with suppress(UnicodeDecodeError):
        if "\x00" not in (text := data.decode()):
            return text
    return f"({len(data):,} bytes of binary data)"


def _render_block(item: Any) -> str | None:
    """Return the text of one content block (as MCP tools return them), or None if it is ordinary data."""
    if not isinstance(item, Mapping):
        return None
    kind = item.get("type")
    if kind == "text" and isinstance(item.get("text"), str):
        return str(item["text"])
    if kind in _MEDIA_TYPES and not _MEDIA_KEYS.isdisjoint(item):
        return f"({item.get('mime_type') or kind}, not shown)"
    return None


def _render_data(value: Any) -> str:
    try:
        plain = value if isinstance(value, dict | list | tuple) else to_plain(value)
        if isinstance(plain, str):
            return plain
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":"), default=to_plain)
    except Exception:  # a foreign object may raise anything while it is read
        return _safe_str(value)


def to_plain(value: Any) -> Any:
    """Return what JSON can write of any value."""
    return to_jsonable_python(value, fallback=_safe_str)


def _safe_str(value: object) -> str:
    try:
        return str(value)
    except Exception:  # str() runs foreign code too
        return f"({type(value).__name__} that cannot be shown)"
