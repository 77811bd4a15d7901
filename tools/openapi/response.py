"""What an OpenAPI operation replies, as far as its document says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alpha_umi.tools.openapi.document import BadReference, Document
from alpha_umi.tools.openapi.schema import read_schema
from alpha_umi.tools.openapi.styles import is_json

_NUMBERS = range(200, 300)


def read_returns(document: Document, node: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the JSON Schema of an operation's first success that is JSON; None if the document has none.

    Nothing of it is needed to call the operation, so what is malformed is passed over.
    """
    try:
        responses = document.resolve(node.get("responses"))
        for status, response in responses.items() if isinstance(responses, Mapping) else ():
            found = document.resolve(response) if _is_success(str(status)) else None
            content = document.resolve(found.get("content")) if isinstance(found, Mapping) else None
            for media_type, each in content.items() if isinstance(content, Mapping) else ():
                media = document.resolve(each)
                if is_json(str(media_type)) and isinstance(media, Mapping) and "schema" in media:
                    return read_schema(document, media["schema"], is_reply=True)[0] or None
    except (BadReference, RecursionError):
        pass
    return None


def _is_success(status: str) -> bool:
    return status.upper() == "2XX" or (status.isdecimal() and int(status) in _NUMBERS)
