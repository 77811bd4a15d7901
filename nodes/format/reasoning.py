"""What a reasoning model thinks before it speaks: taken out before anything reads a plan, a call or an answer.

Models write it between tags into their text, or a server has put it into a field of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from langchain_core.messages import AIMessage

from alpha_umi.nodes.format.escaping import replace_surrogates

THOUGHTS = "reasoning_content"
"""Key of `additional_kwargs` that holds what was thought, as servers and LangChain name it."""

_NAME = r"(?:thinking|think|thoughts?|reasoning|reflection|scratchpad)"
# A group that matched says that the tag is a closing one.
_TAG = re.compile(
    rf"""<(/)?(?:\w{{1,9}}:)?{_NAME}(?:\s+[\w-]+=[^<>\n]{{1,80}})?\s?>
      | <\|(?:(END|end_of)|START|begin_of)_{_NAME}\|>
      | [\[◁](/)?think[\]▷](?!\()
      | <\|channel>thought | (<channel\|>)
      | <\|channel\|>(?:analysis|commentary)[^<]{{0,80}}<\|message\|>
      | ((?:<\|start\|>assistant)?<\|channel\|>final[^<]{{0,80}}<\|message\|>)""",
    re.IGNORECASE | re.VERBOSE,
)
# What may become a tag with what is written next.
_CUT_TAG = re.compile(
    r"""(?:<\|start\|>\w{0,9})?(?:<\|channel\|>[^<]{0,80})?
    (?: <\|channel>\w{0,7} | <(?:[/|]{0,2}(?:[\w:]{1,20}(?:\s[\w-]*=?[^<>\s]{0,80}|\|)?)?)? | [\[◁]/?\w{0,5} )? $""",
    re.VERBOSE,
)
_CALLS = ("tool_use", "tool_call", "tool_call_chunk", "invalid_tool_call", "function_call", "input_json_delta")
"""Blocks of calls that `tool_calls` holds too; those of calls that a vendor runs itself it does not."""
_TURN = re.compile(r"""[>\]▷"`]""")
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
    found = _split(text)
    return "\n".join(filter(None, map(str.strip, found.thoughts))), found.said.strip()


class _Split(NamedTuple):
    """What tags part; `is_begun` says that the first one closes, `is_open` that the last one opens."""

    thoughts: list[str]
    said: str
    is_begun: bool
    is_open: bool


def _split(text: str) -> _Split:
    thoughts: list[str] = []
    said: list[str] = []
    end, is_open, is_begun = 0, False, False
    for tag in _TAG.finditer(_QUOTED.sub(lambda quoted: " " * len(quoted[0]), text)):
        piece, is_closing = text[end : tag.start()], tag.lastindex is not None
        is_begun = is_begun or (end == 0 and is_closing)
        if is_closing and not is_open:
            thoughts += [*said, piece]
            said = []
        else:
            (thoughts if is_open else said).append(piece)
        end, is_open = tag.end(), not is_closing
    (thoughts if is_open else said).append(text[end:])
    return _Split(thoughts, "".join(said), is_begun, is_open)


class SaidSoFar:
    """Takes a text while it is written and gives what is said of it; what may become a tag waits for the rest.

    Args:
        begins_with_thoughts: The chat template opens them: nothing is said before a closing tag, or the end.
    """

    def __init__(self, *, begins_with_thoughts: bool = False) -> None:
        """Begin with no text."""
        self.text = ""
        self.begins_with_thoughts = begins_with_thoughts
        self._said = ""
        self._n_known = 0
        self._is_open = begins_with_thoughts

    def feed(self, piece: str, *, is_last: bool = False) -> str:
        """Add what was written next and return what can be shown now."""
        self.text += piece
        cut = None if is_last else _CUT_TAG.search(self.text, max(0, len(self.text) - 300))
        known = self.text[: cut.start()] if cut else self.text
        fresh, self._n_known = known[self._n_known :], len(known)
        said = "" if self._is_open else self._said + fresh
        if is_last or _TURN.search(fresh):
            found = _split(known)
            if len(found.said) < len(known):  # there are tags
                self.begins_with_thoughts, self._is_open, said = found.is_begun, found.is_open, found.said
            elif is_last:
                said = known
        elif self._is_open:
            return ""
        before = self._said if said.startswith(self._said) else ""  # else a closing tag made thoughts of it
        self._said = said
        shown = said[len(before) :]
        return shown if before.strip() or len(said) == len(known) else shown.lstrip()


def set_thoughts_apart(message: AIMessage, written: str) -> None:
    """Give a message the text that is said in what a model has written, and keep beside it what is thought."""
    thoughts, said = split_reasoning(written)
    if thoughts or said != message.text:
        message.additional_kwargs[THOUGHTS] = _join(_read_apart(message), thoughts)
        texts = iter([said])
        message.content = map_texts(message.content, lambda _: next(texts, ""))


def map_texts(content: Any, change: Callable[[str], str]) -> Any:
    """Return a message's content with other texts."""
    if isinstance(content, str):
        return change(content)
    return [
        change(part)
        if isinstance(part, str)
        else {**part, "text": change(part["text"])}
        if part.get("type") == "text" and isinstance(part.get("text"), str)
        else part
        for part in content
    ]


def is_thought(part: object) -> bool:
    """Tell whether a block of a message's content holds what was thought."""
    return isinstance(part, Mapping) and part.get("type") in ("reasoning", "thinking", "redacted_thinking")


def is_apart(part: object) -> bool:
    """Tell whether a block is no part of what is said: a thought, or a call, which a message holds elsewhere too."""
    return is_thought(part) or (isinstance(part, Mapping) and part.get("type") in _CALLS)


def read_thoughts(message: AIMessage) -> str:
    """Return what a model thought, wherever its server has put it."""
    return replace_surrogates(_join(_read_apart(message), split_reasoning(message.text)[0]))


def _read_apart(message: AIMessage) -> str:
    blocks = [block.get("reasoning", "") for block in message.content_blocks if block["type"] == "reasoning"]
    return str(message.additional_kwargs.get(THOUGHTS) or "\n".join(blocks))


def _join(*thoughts: str) -> str:
    return "\n".join(filter(None, thoughts))
