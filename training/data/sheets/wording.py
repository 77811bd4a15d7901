"""How people say things: values as they are said, wordings with slots, the voices around them, sentences joined.

Wordings have slots in braces, and parts in brackets that are only said where their slots have values.
"""

from __future__ import annotations

import datetime as dt
import random
import re
import string
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from alpha_umi.errors import ConfigError
from alpha_umi.yaml_files import read_yaml

_RANGE = re.compile(r"(int|decimal) (-?[\d.]+)\.\.(-?[\d.]+)(?: step ([\d.]+))?")
_ID = re.compile(r"id (\S*[#@&%]\S*)")
_NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
SLOT = re.compile(r"\{([\w.\-]+)\}")
VOICES = Path(__file__).with_name("voices.yaml")
_PART = re.compile(r"\[([^\[\]]*)\]|([^\[\]]+)")
_TYPO_FROM_CHARS = 6
_SYMBOLS = {
    "#": string.digits,
    "@": string.ascii_uppercase.replace("O", "").replace("I", ""),
    "&": string.ascii_lowercase.replace("o", "").replace("l", ""),
    "%": "0123456789abcdef",
}


@dataclass(frozen=True, slots=True)
class SaidValue:
    """One value: as the tool takes it, and as the person says it."""

    argument: Any
    said: str


ValueSource: TypeAlias = Callable[[random.Random], SaidValue]
"""Draws one value."""
WordLists: TypeAlias = Mapping[str, Sequence[Any]]


def parse_source(text: str | Sequence[Any], lists: WordLists) -> ValueSource:
    """Return what draws the values that a ``from:`` describes.

    Args:
        text: A list of values; or the name of a list, ``int A..B``, ``int A..B step S``, ``decimal A..B``, ``date``,
            ``recent date``, ``past date``, ``time``, ``datetime``, ``id INV-####`` (``#`` digit, ``@`` capital,
            ``&`` small letter, ``%`` hexadecimal digit).
        lists: The word lists that can be named.

    Raises:
        ConfigError: If it is none of these.
    """
    if not isinstance(text, str):
        return _make_choice(text)
    if text in lists:
        return _make_choice(lists[text])
    if text in _DATES:
        return _DATES[text]
    if match := _RANGE.fullmatch(text):
        return _make_range(match)
    if match := _ID.fullmatch(text):
        return _make_id(match[1])
    raise ConfigError(
        f"from: {text!r} names no list, and is no 'int A..B', 'decimal A..B', 'id AB-##', {', '.join(sorted(_DATES))}; "
        f"lists here are {', '.join(sorted(lists))}."
    )


def parse_result(text: str) -> tuple[str, str]:
    """Split ``book_table.number`` into tool and value, and ``find_table.reply.0.id``, a part of a real reply, too."""
    tool, is_reply, part = text.partition(".reply.")
    if is_reply:
        return tool, f"reply.{part}"
    tool, _, name = text.rpartition(".")
    return tool, name


def say(value: Any) -> str:
    """Return how a value is said where nothing else is known of it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        words = [say(item) for item in value]
        return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else "none"
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _make_choice(options: Sequence[Any]) -> ValueSource:
    def draw(rng: random.Random) -> SaidValue:
        value = rng.choice(options)
        return SaidValue(value, say(value))

    return draw


def _make_range(match: re.Match[str]) -> ValueSource:
    kind, low, high, step = match[1], float(match[2]), float(match[3]), float(match[4] or 1)
    if low > high:
        raise ConfigError(f"from: '{match[0]}' ends before it begins.")

    def draw(rng: random.Random) -> SaidValue:
        if kind == "decimal":
            number = round(rng.uniform(low, high), rng.choice((1, 1, 2)))
            return SaidValue(number, say(number))
        whole = int(low + step * rng.randint(0, int((high - low) / step)))
        if 0 <= whole < len(_NUMBERS) and rng.random() < 0.12:
            return SaidValue(whole, _NUMBERS[whole])
        return SaidValue(whole, f"{whole:,}" if whole >= 10_000 and rng.random() < 0.3 else str(whole))

    return draw


def _make_id(pattern: str) -> ValueSource:
    def draw(rng: random.Random) -> SaidValue:
        text = "".join(rng.choice(_SYMBOLS[sign]) if sign in _SYMBOLS else sign for sign in pattern)
        return SaidValue(text, text)

    return draw


def _make_days(first: dt.date, n_days: int) -> ValueSource:
    """Draw dates; most are said as the tools take them, since small models copy well and convert badly."""

    def draw(rng: random.Random) -> SaidValue:
        day = first + dt.timedelta(days=rng.randrange(n_days))
        said = day.isoformat() if rng.random() < 0.75 else rng.choice(list_written_dates(day))
        return SaidValue(day.isoformat(), said)

    return draw


def list_written_dates(day: dt.date) -> tuple[str, ...]:
    """Return a date in the ways in which people write it with the month's name."""
    month, suffix = f"{day:%B}", "th" if 11 <= day.day <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10, "th")
    return (
        f"{month} {day.day}, {day.year}",
        f"{day.day} {month} {day.year}",
        f"{month} {day.day}{suffix}, {day.year}",
        f"the {day.day}{suffix} of {month} {day.year}",
    )


def _draw_time(rng: random.Random) -> SaidValue:
    time = dt.time(rng.randint(6, 22), rng.choice((0, 0, 0, 15, 30, 30, 45, 5, 20, 50)))
    return SaidValue(f"{time:%H:%M}", _say_time(time, rng))


def _say_time(time: dt.time, rng: random.Random) -> str:
    if rng.random() < 0.75:
        return f"{time:%H:%M}"
    hour, half = (time.hour - 1) % 12 + 1, "am" if time.hour < 12 else "pm"
    return f"{hour}{half}" if time.minute == 0 else f"{hour}:{time.minute:02} {half}"


def _draw_datetime(rng: random.Random) -> SaidValue:
    day, time = _DATES["date"](rng), _draw_time(rng)
    return SaidValue(f"{day.argument}T{time.argument}:00", f"{day.said} at {time.said}")


_DATES: Mapping[str, ValueSource] = {
    "date": _make_days(dt.date(2024, 1, 1), 2200),
    "past date": _make_days(dt.date(1950, 1, 1), 27_000),
    "recent date": _make_days(dt.date(2025, 1, 1), 700),
    "time": _draw_time,
    "datetime": _draw_datetime,
}


@dataclass(frozen=True, slots=True)
class _WordingPart:
    """A run of text and slots in turn: ``("Book ", "barber", " for ", "date", "")``."""

    pieces: tuple[str, ...]
    is_optional: bool

    @property
    def slots(self) -> frozenset[str]:
        return frozenset(self.pieces[1::2])


@dataclass(frozen=True, slots=True)
class ToolWording:
    """One way to ask for a tool.

    Args:
        text: Such as ``Book {barber} for {date}[ at {time}].``
        parts: The same, cut at brackets and braces.
    """

    text: str
    parts: tuple[_WordingPart, ...]

    @property
    def slots(self) -> frozenset[str]:
        """All slots."""
        return frozenset().union(*(part.slots for part in self.parts))

    @property
    def always_said(self) -> frozenset[str]:
        """The slots outside of brackets."""
        return frozenset().union(*(part.slots for part in self.parts if not part.is_optional))

    def fill(self, said: Mapping[str, str], *, typo: random.Random | None = None) -> str:
        """Return the sentence; parts in brackets with a slot that is not in `said` are left out.

        Args:
            said: Text by slot.
            typo: Makes one typing error in the words between the slots.

        Example:
            >>> parse_wording("Book {barber}[ at {time}].", ["barber", "time"]).fill({"barber": "Ana"})
            'Book Ana.'
        """
        pieces = [piece for part in self.parts if part.slots <= said.keys() for piece in _say(part, said)]
        if typo and (places := [i for i, (text, is_slot) in enumerate(pieces) if _can_mistype(text, is_slot)]):
            i = typo.choice(places)
            pieces[i] = (_mistype(pieces[i][0], typo), False)
        begins_with_slot = next((is_slot for text, is_slot in pieces if text), False)
        return _tidy("".join(text for text, _ in pieces), capital=not begins_with_slot)


def parse_wording(text: str, known: Collection[str]) -> ToolWording:
    """Read a wording.

    Raises:
        ConfigError: If a bracket or brace is not closed, a slot is unknown or said twice, or a bracket has no slot.
    """
    if re.search(r"[\[\]]", re.sub(r"\[[^\[\]]*\]", "", text)) or re.search(r"[{}]", SLOT.sub("", text)):
        raise ConfigError(f"{text!r}: a brace or bracket is not closed, or brackets stand in brackets.")
    slots = SLOT.findall(text)
    if unknown := [slot for slot in slots if slot not in known]:
        raise ConfigError(f"{text!r}: {{{unknown[0]}}} is no parameter; there are {', '.join(known) or 'none'}.")
    if doubled := [slot for slot in slots if slots.count(slot) > 1]:
        raise ConfigError(f"{text!r}: {{{doubled[0]}}} is said twice.")
    parts = tuple(
        _WordingPart(tuple(SLOT.split(match[1] if match[2] is None else match[2])), match[2] is None)
        for match in _PART.finditer(text)
    )
    if idle := [part.pieces[0] for part in parts if part.is_optional and not part.slots]:
        raise ConfigError(f"{text!r}: [{idle[0]}] has no slot, so nothing says when to leave it out.")
    return ToolWording(text, parts)


def _say(part: _WordingPart, said: Mapping[str, str]) -> list[tuple[str, bool]]:
    return [(said[piece], True) if i % 2 else (piece, False) for i, piece in enumerate(part.pieces)]


def _can_mistype(text: str, is_slot: bool) -> bool:
    return not is_slot and len(text) >= _TYPO_FROM_CHARS


def _mistype(text: str, rng: random.Random) -> str:
    """Drop, swap or double one letter inside a word."""
    places = [i for i in range(1, len(text) - 1) if text[i].isalpha() and text[i + 1].isalpha()]
    if not places:
        return text
    i = rng.choice(places)
    dropped, swapped = text[:i] + text[i + 1 :], text[:i] + text[i + 1] + text[i] + text[i + 2 :]
    return rng.choice((dropped, swapped, text[:i] + text[i] + text[i:]))


def _tidy(text: str, *, capital: bool) -> str:
    """Close the gaps that left-out parts leave, and begin with a capital, unless with a value such as an id."""
    text = re.sub(r"\s+([.,;:?!])", r"\1", re.sub(r"\s+", " ", text)).strip()
    return text[:1].upper() + text[1:] if capital else text


def voice(text: str, rng: random.Random, *, held_out: bool = False, names: Collection[str] = ()) -> str:
    """Say a request as one of many people would; the words of the request stay, but for their case and their end.

    Args:
        text: The request.
        rng: ValueSource of randomness.
        held_out: Whether to use words that never occur in training.
        names: Values that keep their capital where the request begins with one.
    """
    kind = rng.choices(("plain", "hasty", "polite", "rambling", "lower"), (0.46, 0.1, 0.22, 0.12, 0.1))[0]
    if kind == "plain":
        return text
    if kind == "hasty":
        return _lower(text, names).rstrip("?.!")
    if kind == "lower":
        return _lower(text, names)
    if kind == "polite":
        opening, closing = _pick("openings", rng, held_out), _pick("closings", rng, held_out)
        text = text if opening.endswith((". ", "! ", "? ")) else _lower(text, names)
        return f"{opening}{_end(text)}{closing}" if closing else opening + text
    fact = _pick("asides", rng, held_out)
    return f"{fact} {text}" if rng.random() < 0.7 else f"{_end(text)} {fact}"


def join_sentences(
    texts: Sequence[str],
    rng: random.Random,
    *,
    held_out: bool = False,
    in_order: bool = False,
    names: Collection[str] = (),
) -> str:
    """Put sentences into one request in one of the ways people do.

    Args:
        texts: Whole sentences.
        rng: ValueSource of randomness.
        held_out: Whether to join in a way that never occurs in training.
        in_order: Whether the later sentences refer to what the earlier ones bring.
        names: Values that keep their capital where a sentence begins with one.
    """
    kind = "then" if in_order else "joints"
    if not in_order and len(texts) > 1 and rng.random() < 0.12:
        bullet = rng.choice(("- ", "* ", "", "{}. ", "{}) "))
        return "\n".join(bullet.format(number) + text for number, text in enumerate(texts, 1))
    joined, *rest = texts
    for text in rest:
        joint = _pick(kind, rng, held_out)
        if joint.rstrip().endswith("and") and text.lower().startswith("and "):
            text = text[4:]
        goes_on = joint[0] in ".,;" or joint.startswith((" and", " then"))
        joined = joined.rstrip("?.!") + joint if goes_on else _end(joined) + joint
        joined += text if joint.rstrip().endswith((".", "!", "?")) or joint == " " else _lower(text, names)
    return joined


def _pick(kind: str, rng: random.Random, held_out: bool) -> str:
    options: list[str] = _words()[kind]["held_out" if held_out else "train"]
    return rng.choice(options)


def _end(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _lower(text: str, names: Collection[str]) -> str:
    keeps = text.startswith(("I ", "I'", *names)) or text[1:2].isupper()
    return text if keeps else text[:1].lower() + text[1:]


@cache
def _words() -> dict[str, dict[str, list[str]]]:
    words: dict[str, dict[str, list[str]]] = read_yaml(VOICES).values
    return words
