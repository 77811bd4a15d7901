"""Keeps the planner from naming a tool that is not on offer.

The caller cannot call a tool that does not exist, but it follows the planner, and where that names one that does not
exist it has to take another. So after the words with which the rationales of our training data announce a call, only
an offered name may follow. A mask of its own and not a part of the planner's grammar: as one regular expression with
the rationale, sixty names are more than llguidance's lexer takes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from llguidance import LLMatcher, LLTokenizer

ANNOUNCEMENT = "I call"
"""What `alpha_umi.training.data.wording.describe_calls` writes before a name."""

_ANNOUNCED = ANNOUNCEMENT.encode()


def make_names_lark(names: Sequence[str]) -> str:
    """Return the grammar of what may follow the announcement: a space and a name, or no space ("I called").

    A name ends where nothing follows that a name may hold, or a full stop or colon before white space, so that none is
    the beginning of an invented one.
    """
    options = "|".join(_quote(name) for name in names)
    # One expression, since a lexer that has begun with "search.files" does not come back to "search" and a full stop.
    # Of characters beyond ASCII the expression does not know which are letters.
    end = r"([\x00-\x7F--[A-Za-z0-9_.:\/\-]](?s:.*)|[.:](\s(?s:.*))?)?"
    return f"start: named | other\nnamed: / ({options}){end}/\nother: /[^ ](?s:.*)/"


def _quote(name: str) -> str:
    """Return a name as a regular expression within slashes."""
    return re.sub(r"([^\w])", r"\\\1", name)


class Naming:
    """Follows a rationale and tells what may come next in a tool's name.

    Args:
        names: Of the tools on offer.
        matcher: Of `make_names_lark`, before the first token; only copied.
        tokenizer: Says what a token is written as.
    """

    def __init__(self, names: Sequence[str], matcher: LLMatcher, tokenizer: LLTokenizer) -> None:
        """Start before the first token."""
        self._names = [f" {name}{mark}".encode() for name in names for mark in ".:"]
        self._start, self._tokenizer = matcher, tokenizer
        self._matcher: LLMatcher | None = None
        self._text = b""  # within a name all of it, else the last characters

    @property
    def matcher(self) -> LLMatcher | None:
        """What the next token has to fit; None outside of names."""
        return self._matcher

    def consume(self, token: int) -> None:
        """Follow the next token."""
        self._text += self._tokenizer.decode_bytes([token])
        if self._matcher is not None:
            self._matcher.consume_token(token)
            if any(name.startswith(self._text) for name in self._names):
                return
            self._matcher = None
        self._text = self._text[-len(_ANNOUNCED) - 1 :]
        if self._text.endswith(_ANNOUNCED) and not self._text.removesuffix(_ANNOUNCED).replace(b"_", b"x").isalnum():
            self._matcher, self._text = self._start.deep_copy(), b""
