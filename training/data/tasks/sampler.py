"""Random values for one task; what is held out never occurs in training."""

from __future__ import annotations

import datetime as dt
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from alpha_umi.training.data.split import hash_text

T = TypeVar("T")
Drawn: TypeAlias = dict[str, Any]
"""Values by name."""

_HELD_OUT_ONE_IN = 6
_MAX_TRIES = 200
_FIRST_DATE = dt.date(2019, 1, 1)
_N_DAYS = 4500


@dataclass(frozen=True, slots=True)
class Sampler:
    """Draws everything that varies in a task; if `held_out`, numbers, dates and names that training never sees."""

    rng: random.Random
    held_out: bool

    def chance(self, probability: float) -> bool:
        """Return True with the given probability."""
        return self.rng.random() < probability

    def pick(self, options: Sequence[T]) -> T:
        """Return any of the options, in training and held out alike."""
        return self.rng.choice(options)

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


def parse_rule(text: str) -> tuple[str, dict[str, str]]:
    """Return the kind of a value and its details.

    Raises:
        ValueError: If it is none.

    Example:
        >>> parse_rule("integer 2 to 60")
        ('integer', {'low': '2', 'high': '60'})
    """
    kind, _, rest = text.partition(" ")
    match = re.fullmatch(_KINDS[kind][0], rest) if kind in _KINDS else None
    if match is None:
        raise ValueError(f"{text!r} is no kind of value; write 'integer 2 to 60', or another of {', '.join(_KINDS)}.")
    return kind, {name: part for name, part in match.groupdict().items() if part is not None}


def draw_values(sampler: Sampler, rules: Mapping[str, str], lists: Mapping[str, Any]) -> Drawn:
    """Return the values that the rules ask for, drawn in their order; the names of lists are keys of `lists`."""
    values: Drawn = {}
    for names, text in rules.items():
        kind, rule = parse_rule(text)
        drawn = _KINDS[kind][1](sampler, rule, values, lists)
        several = names.split()
        values |= zip(several, drawn, strict=True) if len(several) > 1 else {names: drawn}
    return values


def _draw_integer(sampler: Sampler, rule: Mapping[str, str], values: Drawn, lists: Any) -> int:
    low, high = lists[rule["list"]][values[rule["value"]]] if "list" in rule else (rule["low"], rule["high"])
    return sampler.integer(int(low), int(high))


def _draw_square(sampler: Sampler, rule: Mapping[str, str], values: Drawn, lists: Any) -> int:
    if sampler.chance(0.6):
        return sampler.integer(int(rule["low"]), int(rule["high"])) ** 2
    return sampler.integer(int(rule["other_low"]), int(rule["other_high"]))


def _draw_item(sampler: Sampler, rule: Mapping[str, str], values: Drawn, lists: Any) -> Any:
    options = lists[rule["list"]]
    return sampler.pick(tuple(options[values[rule["value"]]] if "value" in rule else options))


def _draw_name(sampler: Sampler, rule: Mapping[str, str], values: Drawn, lists: Any) -> str:
    name = "other" if "other" in rule and not sampler.chance(float(rule["chance"])) else "list"
    return sampler.name([option for option in lists[rule[name]] if option != values.get(rule.get("value", ""))])


def _draw_date(sampler: Sampler, rule: Mapping[str, str], values: Drawn, lists: Any) -> dt.date:
    start: dt.date = values[rule["value"]] if "later" in rule else sampler.date()
    if not rule:
        return start
    year = int(sampler.pick((rule.get("later") or rule["years"]).split()))
    return start.replace(year=year + start.year if "later" in rule else year, day=sampler.pick(range(1, 29)))


_RANGE = r"(?P<low>\d+) to (?P<high>\d+)"
_FROM = r"from (?P<list>\w+)"
_OF = r"of (?P<value>\w+)"
_KINDS: Mapping[str, tuple[str, Callable[[Sampler, Mapping[str, str], Drawn, Any], Any]]] = {
    "integer": (rf"{_RANGE}|{_FROM} {_OF}", _draw_integer),
    "number": (_RANGE, lambda sampler, rule, *_: sampler.number(int(rule["low"]), int(rule["high"]))),
    "grouped": (_RANGE, lambda sampler, rule, *_: sampler.grouped(int(rule["low"]), int(rule["high"]))),
    "square": (rf"{_RANGE} or (?P<other_low>\d+) to (?P<other_high>\d+)", _draw_square),
    "pick": (rf"{_FROM}( {_OF})?", _draw_item),
    "name": (rf"{_FROM}( (?P<chance>[\d.]+) or (?P<other>\w+)( but (?P<value>\w+))?)?", _draw_name),
    "two": (_FROM, lambda sampler, rule, _, lists: sampler.rng.sample(sampler.pick(lists[rule["list"]]), 2)),
    "fill": (_FROM, lambda sampler, rule, values, lists: sampler.pick(lists[rule["list"]]).format(**values)),
    "date": (r"|in (?P<years>[\d ]+)|(?P<later>[\d ]+) years after (?P<value>\w+)", _draw_date),
    "period": ("", lambda sampler, *_: sorted((sampler.date(), sampler.date()))),
    "time": ("", lambda each, *_: f"{each.date()} {each.pick(range(24)):02}:{each.pick((0, 15, 30, 45)):02}"),
}
"""Kind of a value → what may follow the kind, and what draws it; ``calculator.yaml`` explains each."""
