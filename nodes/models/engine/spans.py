"""What the engine computes: the next tokens of several sequences; shared by all that compute them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Self, TypeAlias

import numpy as np

Logits: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]
"""One row for each token after which a token is chosen: (n, vocabulary)."""


class Cancelled(Exception):
    """Ends a forward pass early; nothing was appended."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter that is in memory.

    Args:
        path: Its folder.
        name: Of this loading of it.
        invocation_tokens: Of an activated LoRA: it is on from these tokens of the prompt onwards, and what stands
            before them is the base model's. Empty for a plain LoRA, which is on from the beginning.
    """

    path: Path
    name: str
    invocation_tokens: tuple[int, ...] = ()


class Kept(Protocol):
    """Keys and values in the prefix cache, which never change."""

    @property
    def n_bytes(self) -> int:
        """How much memory they hold."""

    def begin(self, n_tokens: int) -> Past:
        """Return the keys and values of the first tokens, for a sequence to go on from."""

    def release(self) -> None:
        """Let them go; sequences that went on from them keep theirs."""


class Past(Protocol):
    """Keys and values of one sequence."""

    @property
    def n_tokens(self) -> int:
        """How many tokens they are of."""

    @property
    def can_shrink(self) -> bool:
        """Whether tokens can be taken back: not if a sliding window has dropped what came before them."""

    def shrink(self, n_tokens: int) -> None:
        """Forget all but the first tokens."""

    def keep(self, n_tokens: int) -> Kept:
        """Return those of the first tokens for the prefix cache; only where `can_shrink`."""

    def release(self) -> None:
        """Let them go, at the end of the sequence."""


@dataclass(frozen=True, slots=True)
class Span:
    """The next tokens of one sequence.

    Args:
        past: Holds all tokens before them; is extended.
        ids: At least one.
        adapter: Computes all of them but the first `n_base`; None is the base model.
        n_base: So many are computed by the base model alone.
        cancelled: Once set, nobody needs this span.
        n_guesses: So many of the last tokens are guesses, which the sequence does not hold yet.
    """

    past: Any
    ids: Sequence[int]
    adapter: Adapter | None
    n_base: int
    cancelled: threading.Event
    n_guesses: int = 0

    @property
    def adapters(self) -> list[Adapter | None]:
        """Who computes each token."""
        n_base = min(self.n_base, len(self.ids))
        return [None] * n_base + [self.adapter] * (len(self.ids) - n_base)

    def split(self, n_tokens: int) -> tuple[Self, Self]:
        """Return the first tokens, and the rest; where there is one, guesses are left out: they need a single pass."""
        if self.n_guesses and n_tokens < len(self.ids):
            return self.limit_guesses(0).split(n_tokens)
        rest = replace(self, ids=self.ids[n_tokens:], n_base=max(self.n_base - n_tokens, 0))
        return replace(self, ids=self.ids[:n_tokens]), rest

    def limit_guesses(self, n_guesses: int) -> Self:
        """Leave out all guesses but the first ones."""
        n_left_out = max(self.n_guesses - n_guesses, 0)
        return replace(self, ids=self.ids[: len(self.ids) - n_left_out], n_guesses=self.n_guesses - n_left_out)
