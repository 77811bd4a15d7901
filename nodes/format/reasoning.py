"""What a reasoning model thinks before it speaks: taken out before anything reads a plan, a call or an answer.

Models write it between tags into their text, or a server has put it into a field of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from langchain_core.messages import AIMessage

from alpha_umi.nodes.format.escaping import replace_surrogates

THOUGHTS = "reasoning_content"
"""Key of `additional_kwargs` that holds what was thought, as servers and LangChain name it."""

_TAG = re.compile(r"[<\[](/?)(?:think|thinking|thought|reasoning)[>\]]", re.IGNORECASE)
# Strings of JSON and code in backticks are content, also where they are about such tags.
_QUOTED = re.compile(r"""(?<=[{\[,:\s])"(?:[^"\\\n]|\\.)*"(?=\s*[\]},:])|`[^`\n]*`""")


def split_reasoning(text: str) -> tuple[str, str]:
    r"""Return what was thought and what was said.

    A closing tag alone ends what the chat template has opened; an opening tag alone stands for thoughts that were cut.

    Example:
        >>> split_reasoning("<think>\nIs it 4?\n</think>\nIt is 4.")
        ('Is it 4?', 'It is 4.')
    """
    if not _TAG.search(text):
        return "", text
    thoughts: list[str] = []
    said: list[str] = []
    end, is_open = 0, False
    for tag in _TAG.finditer(_QUOTED.sub(lambda quoted: " " * len(quoted[0]), text)):
        piece, is_closing = text[end : tag.start()], bool(tag[1])
        if is_closing and not is_open:
            thoughts += [*said, piece]
            said = []
        else:
            (thoughts if is_open else said).append(piece)
        end, is_open = tag.end(), not is_closing
    (thoughts if is_open else said).append(text[end:])
    return "\n".join(filter(None, map(str.strip, thoughts))), "".join(said).strip()


def is_thought(part: object) -> bool:
    """Tell whether a block of a message's content holds what was thought."""
    return isinstance(part, Mapping) and part.get("type") in ("reasoning", "thinking", "redacted_thinking")


def read_thoughts(message: AIMessage) -> str:
    """Return what a model thought, wherever its server has put it."""
    blocks = [block.get("reasoning", "") for block in message.content_blocks if block["type"] == "reasoning"]
    apart = message.additional_kwargs.get(THOUGHTS) or "\n".join(blocks)
    return replace_surrogates("\n".join(filter(None, [str(apart), split_reasoning(message.text)[0]])))
