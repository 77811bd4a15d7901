"""Prompt lookup: what followed the last tokens earlier in a text is tried as what comes next.

Roles copy: a planner repeats tool names and values of the question, a summarizer those of the observations. A forward
pass over a few tokens costs a CPU, or a small GPU batch, hardly more than a pass over one, and tells of each whether
the model would have written it. Source: "Prompt Lookup Decoding", github.com/apoorvumang/prompt-lookup-decoding.
"""

from __future__ import annotations

from collections.abc import Sequence

N_KEY_TOKENS = 2
MAX_GUESSES = 5


class Lookup:
    """Guesses what follows; remembers where each pair of tokens stood last."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._ends: dict[tuple[int, ...], int] = {}
        self._n_known = 0

    def guess(self, ids: Sequence[int]) -> list[int]:
        """Return what followed the last occurrence of the last tokens, at most `MAX_GUESSES`; empty if there is none.

        Args:
            ids: The text, which goes on from that of the call before.
        """
        for end in range(max(self._n_known, N_KEY_TOKENS), len(ids)):  # the last key is what is looked for
            self._ends[tuple(ids[end - N_KEY_TOKENS : end])] = end
        self._n_known = max(self._n_known, len(ids))
        start = self._ends.get(tuple(ids[-N_KEY_TOKENS:]))
        return [] if start is None else list(ids[start : start + MAX_GUESSES])
