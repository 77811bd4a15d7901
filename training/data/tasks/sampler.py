"""Random values, wordings and names for one task; what is held out never occurs in training."""

from __future__ import annotations

import datetime as dt
import random
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, TypeVar

from alpha_umi.training.data.split import hash_text
from alpha_umi.training.data.tasks.sheets import NameSheet, Wording, load_sheet

T = TypeVar("T")

_HELD_OUT_ONE_IN = 6
_MAX_TRIES = 200
_FIRST_DATE = dt.date(2019, 1, 1)
_N_DAYS = 4500


class Sampler:
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
        return self.pick(wording.heldout if self.held_out else wording.train)["say"].format(**slots)

    def name(self, options: Sequence[str]) -> str:
        """Return one of the options that belong to this split, so that names in held-out tasks are new."""
        return self.pick([option for option in options if self._belongs(option)] or options)

    def integer(self, low: int, high: int) -> int:
        """Return a number of this split from ``[low, high]``."""
        return self._until(lambda: self.rng.randint(low, high))

    def number(self, low: int, high: int) -> str:
        """Return a whole number or, less often, one with one or two decimals, as people write it."""
        if not self.chance(0.3):
            return str(self.integer(low, high))
        n_digits = self.rng.choice((1, 2))
        return self._until(lambda: f"{round(self.rng.uniform(low, high), n_digits):g}")

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


def vary_tool_name(sampler: Sampler, name: str, taken: Collection[str]) -> str:
    """Return a name for the same tool as another developer might have given it.

    A checkpoint that was trained on a handful of names wrote these names also where the tools had others.

    Args:
        sampler: Where to draw from.
        name: Words in lower case with ``_`` between them, for example ``get_weather``.
        taken: Names that must not be returned, in whatever way they are written.
    """
    known = {_squeeze(each) for each in taken}
    for _ in range(20):
        varied = _join(sampler, _vary_words(sampler, name))
        if _squeeze(varied) not in known:
            return varied
    return f"{name}_{sampler.rng.randrange(100, 1000)}"


def vary_arguments(sampler: Sampler, names: Iterable[str]) -> dict[str, str]:
    """Return another name for some of the arguments, no two the same."""
    others = load_sheet("names", NameSheet).arguments
    varied: dict[str, str] = {}
    for name in names:
        free = [option for option in (name, *others.get(name, ())) if option not in varied.values()]
        varied[name] = sampler.pick(free) if free else name
    return varied


def _vary_words(sampler: Sampler, name: str) -> list[str]:
    sheet = load_sheet("names", NameSheet)
    if sampler.chance(0.12):
        words = ["".join(sampler.rng.sample(sheet.syllables, sampler.pick((2, 2, 3))))]
        words += [sampler.pick(sheet.affixes)] if sampler.chance(0.5) else []
    else:
        words = [
            sampler.pick(sheet.words[word]) if word in sheet.words and sampler.chance(0.5) else word
            for word in name.split("_")
        ]
        if len(words) == 2 and sampler.chance(0.12):
            words.reverse()
        if sampler.chance(0.15):
            words.insert(0, sampler.pick(sheet.owners))
        if sampler.chance(0.2):
            words.append(sampler.pick(sheet.affixes))
        if sampler.chance(0.12):
            words += ["for", "".join(sampler.rng.sample(sheet.syllables, 2))]
    return [part for word in words for part in word.split("_")]


_SPELLINGS: tuple[tuple[float, Callable[[list[str]], str]], ...] = (
    (0.60, "_".join),
    (0.14, lambda words: words[0] + "".join(map(str.capitalize, words[1:]))),
    (0.08, lambda words: "".join(map(str.capitalize, words))),
    (0.10, "-".join),
    (0.08, lambda words: f"{words[0]}.{'_'.join(words[1:])}" if len(words) > 1 else words[0]),
)


def _join(sampler: Sampler, words: list[str]) -> str:
    return sampler.rng.choices([join for _, join in _SPELLINGS], [share for share, _ in _SPELLINGS])[0](words)


def _squeeze(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
