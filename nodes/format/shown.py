"""What a person is shown while a role writes: the summarizer's text is the answer, the others' is reasoning.

So a chat window has one bubble for a turn, and the text of a stream is the answer alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from langchain_core.messages import AIMessage

from alpha_umi.nodes.format.trajectory import ROLES, Role


def get_kind(role: Role) -> Literal["text", "reasoning"]:
    """Return the kind of content block that a role's text is shown as, and the name of its field."""
    return "text" if role == "summarizer" else "reasoning"


def set_apart(content: str | list[str | dict[str, Any]], role: Role) -> list[str | dict[str, Any]]:
    """Return the content of a message that a role has written, or of a chunk of it, as it is shown.

    The index tells what is put together to one block.

    Example:
        >>> set_apart("Next: caller.", "planner")
        [{'type': 'reasoning', 'reasoning': 'Next: caller.', 'index': 0}]
    """
    kind = get_kind(role)
    shown: list[str | dict[str, Any]] = []
    for part in [content] if isinstance(content, str) else content:
        block = {"type": "text", "text": part} if isinstance(part, str) else part
        if block.get("type") != "text":
            shown.append(part)
        elif text := block.get("text"):
            shown.append({"type": kind, kind: text, "index": block.get("index", ROLES.index(role))})
    return shown


def read_shown(message: AIMessage, role: Role) -> str:
    """Return the text that a chunk shows of a role; the inverse of `set_apart`."""
    kind = get_kind(role)
    blocks = [block for block in message.content if isinstance(block, Mapping)]
    return "".join(str(block.get(kind, "")) for block in blocks if block.get("type") == kind)
