"""Random values and wordings for one task; what is held out never occurs in training."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from alpha_umi.training.data.split import hash_text

T = TypeVar("T")

_HELD_OUT_ONE_IN = 6
_MAX_TRIES = 200
_FIRST_DATE = dt.date(2019, 1, 1)
_N_DAYS = 4500


@dataclass(frozen=True, slots=True)
class Wording:
    """Ways to say one thing, as format strings; the held-out ones are never trained on."""

    train: tuple[str, ...]
    heldout: tuple[str, ...]


class Draw:
    """Draws everything that varies in a task.

    Args:
        rng: Source of randomness.
        held_out: Whether to draw held-out wordings, numbers, dates and names, or those for training.
    """

    def __init__(self, rng: random.Random, *, held_out: bool) -> None:
        """Remember where to draw from."""
        self.rng = rng
        self.held_out = held_out

    def chance(self, probability: float) -> bool:
        """Return True with the given probability."""
        return self.rng.random() < probability

    def pick(self, options: Sequence[T]) -> T:
        """Return any of the options, in training and held out alike."""
        return self.rng.choice(options)

    def say(self, wording: Wording, **slots: Any) -> str:
        """Return one of the wordings of this split, filled in."""
        return self.pick(wording.heldout if self.held_out else wording.train).format(**slots)

    def name(self, options: Sequence[str]) -> str:
        """Return one of the options that belong to this split, so that names in held-out tasks are new."""
        return self.pick([option for option in options if self._belongs(option)] or options)

    def integer(self, low: int, high: int) -> int:
        """Return a number of this split from ``[low, high]``."""
        return self._until(lambda: self.rng.randint(low, high))

    def decimal(self, low: int, high: int) -> str:
        """Return a number with one or two decimals, as people write it."""
        n_digits = self.rng.choice((1, 2))
        return self._until(lambda: f"{round(self.rng.uniform(low, high), n_digits):g}")

    def number(self, low: int, high: int) -> str:
        """Return a whole number or, less often, one with decimals."""
        return self.decimal(low, high) if self.chance(0.3) else str(self.integer(low, high))

    def grouped(self, low: int, high: int) -> str:
        """Return a number, now and then with commas between the thousands."""
        text = self.number(low, high)
        whole, point, decimals = text.partition(".")
        return f"{int(whole):,}{point}{decimals}" if self.chance(0.15) else text

    def date(self) -> dt.date:
        """Return a date of this split between 2019 and 2031."""
        return self._until(lambda: _FIRST_DATE + dt.timedelta(days=self.rng.randrange(_N_DAYS)))

    def _until(self, draw: Callable[[], T]) -> T:
        """Draw again until the value belongs to this split; a range may be too small to hold one."""
        for _ in range(_MAX_TRIES):
            value = draw()
            if self._belongs(str(value)):
                return value
        return draw()

    def _belongs(self, text: str) -> bool:
        return (hash_text(text, 0) % _HELD_OUT_ONE_IN == 0) == self.held_out
