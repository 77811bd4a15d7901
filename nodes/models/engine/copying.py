"""What a planner may quote and a caller may copy: words of the conversation and numbers in it, as parts of a grammar.

A free text of a call is then a span of what the user said or a tool returned, or of the argument's own description, and
a number one that stands there, in digits or in words. Free is what has to be composed or is told by the schema: listed
values, formats, patterns, dates and times, codes, lists, messages and other prose; and any argument that nothing in the
conversation could fill.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache, lru_cache
from typing import Any

from langchain_core.messages import ChatMessage

from alpha_umi.nodes.format.escaping import escape_json
from alpha_umi.nodes.models.engine.tightening import ANNOTATIONS, DEFINITIONS, list_kinds
from alpha_umi.nodes.models.engine.value_rules import MAX_INTEGER, write_scalar
from alpha_umi.tools.spec.schema import make_validator

RULE = "x-copied"
"""Where a marked schema has the grammar's rule for a value that is copied."""
MAX_CHARS = 8_000
"""In longer conversations everything is free: the grammar is compiled for every call, and the lexer has its limits."""

# A digit is never cut from its number; the s of a plural may be left away. Words that are too long for the lexer, and
# those of scripts without spaces, are cut.
_CHUNK = re.compile(
    r"[\u0e00-\u0fff\u2e80-\U0003ffff]|[^\W\d_]{2,24}?(?=s(?![^\W_]))|[^\W\d_]{1,24}|\d{1,24}|\s{1,24}|.", re.DOTALL
)
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
# A text begins with a word; that it ends with one as well would be too much for the lexer.
_BEGINNING = r"/([^ ,;\\]|\\[^nrt])(?s:.*)/"
_TEXT_KEYS = ANNOTATIONS | {"type", "minLength", "maxLength"}
_NUMBER_KEYS = ANNOTATIONS | {"type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
_NAME_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_COMPOSED = re.compile(
    r"\b(?:texts?|messages?|body|contents?|quer(?:y|ies)|questions?|prompt|sentences?|paragraphs?|descriptions?"
    r"|describ\w+|summar(?:y|ize)|details|comments?|reasons?|expressions?|formulas?|equations?|functions?|sql|html|json"
    r"|xml|scripts?|dates?|datetime|times?|timestamp|yyyy|hh|mm|iso|iata|(?:two|2|three|3)[- ]letter"
    r"|(?:language|country|currency) code|slugs?|tickers?|stock symbol|abbreviat\w+|format|encoded|comma|separated"
    r"|list of|units?|sum|calculations?|arithmetic)\b",
    re.IGNORECASE,
)

_NUMBER = re.compile(
    r"(?P<digits>\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(?:e(?P<exponent>[+-]?\d{1,3})(?!\w))?"
    r"|(?P<word>[^\W\d_]+)",
    re.IGNORECASE,
)
_UNITS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_ORDINALS = (
    *("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh"),
    "twelfth",
)
_SMALL: Mapping[str, Decimal] = {
    **{word: Decimal(i) for i, word in enumerate(_UNITS)},
    **{word: Decimal(10 * i) for i, word in enumerate(_TENS, 2)},
    **{word: Decimal(i) for i, word in enumerate(_ORDINALS, 1)},
    **dict.fromkeys(("a", "an", "once", "single", "each"), Decimal(1)),
    **dict.fromkeys(("twice", "double", "both", "couple", "pair"), Decimal(2)),
    **{"no": Decimal(0), "half": Decimal("0.5"), "quarter": Decimal("0.25"), "triple": Decimal(3)},
}
_LARGE: Mapping[str, Decimal] = {
    **dict.fromkeys(("k", "thousand"), Decimal(1000)),
    **dict.fromkeys(("m", "mn", "million"), Decimal(10**6)),
    **dict.fromkeys(("bn", "billion"), Decimal(10**9)),
    **{"dozen": Decimal(12), "hundred": Decimal(100), "pm": Decimal(12)},
}
_BELOW_ZERO = re.compile(
    r"(?<![\w.])[-−]\s?[\d.]|\b(?:minus|negative|below|under|south|west|owes?|ago|before|earlier|back)\b",
    re.IGNORECASE,
)
_PERCENT = re.compile(r"\s?(?:%|percent\b|per cent\b)", re.IGNORECASE)

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH, _DAY = rf"(?:{'|'.join(_MONTHS)})[a-z]{{0,6}}\.?", r"\d{1,2}(?:st|nd|rd|th)?"
_DATE = re.compile(
    rf"\b(?:{_DAY}\s(?:of\s)?{_MONTH},?\s\d{{4}}|{_MONTH}\s{_DAY},?\s\d{{4}}|\d{{4}}[/.]\d{{1,2}}[/.]\d{{1,2}})\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class NextPart:
    """The part of a request that a planner may quote next, as `alpha_umi.training.data.clean.quote_part` does.

    Args:
        number: Counted from 1.
        words: Where the quote comes from: the request after the last quote; empty if nothing is left.
    """

    number: int
    words: str


def find_next_part(messages: Sequence[ChatMessage]) -> NextPart:
    """Read from role messages which parts of the last request were quoted already.

    Example:
        >>> said = ChatMessage(role="user", content="Who is in, and where is Ann?")
        >>> find_next_part([said, ChatMessage(role="planner", content="Part 1 (Who is in): I call list_staff.")])
        NextPart(number=2, words=', and where is Ann?')
    """
    part = NextPart(1, "")
    for message in messages:
        if message.role == "user":
            part = NextPart(1, str(message.content).strip())
        elif message.role == "planner" and (opened := re.match(r"Part \d+ \(", text := str(message.content).strip())):
            quoted = text[opened.end() :]
            ends = [each.start() for each in re.finditer(r"\)", quoted)]
            quote = max((quoted[:end] for end in ends if quoted[:end] in part.words), key=len, default="")
            part = NextPart(part.number + 1, part.words[part.words.find(quote) + len(quote) :])
    return part if re.search(r"\w", part.words) else NextPart(part.number, "")


class Copying:
    """The rules for values that are copied from some texts; `mark` puts them into schemas, `lines` defines them.

    Args:
        texts: What the user said and tools returned.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        """Read the texts; spans are compiled with the grammar."""
        text = "\n".join(texts)
        self._text = "\n".join([text, *map(_write_date, _DATE.findall(text))])
        self._spans = _write_spans(self._text)
        self._numbers = tuple(read_numbers(self._text))
        self._names: dict[str, str] = {}  # of terminals, by their definitions

    @property
    def lines(self) -> list[str]:
        """What the rules of all marked schemas refer to."""
        return [f"{name}: {definition}" for definition, name in self._names.items()]

    def mark(self, schema: Any, name: str = "", about: str = "") -> Any:
        """Return a schema in which `RULE` says how a value is copied, where it has to be.

        Args:
            schema: Of one value, tightened.
            name: Of the argument.
            about: Its description.
        """
        if not isinstance(schema, dict):
            return schema
        about = str(schema.get("description") or about)
        marked = dict(schema)
        for key in ("properties", *DEFINITIONS):
            if isinstance(parts := schema.get(key), dict):
                marked[key] = {each: self.mark(part, each) for each, part in parts.items()}
        for key in ("anyOf", "oneOf"):
            if isinstance(parts := schema.get(key), list):
                marked[key] = [self.mark(part, name, about) for part in parts]
        if "items" in schema:
            marked["items"] = self.mark(schema["items"], name, about)
        rules = {kind: self._write(kind, schema, name, about) for kind in list_kinds(schema)}
        others = {kind: write_scalar({**schema, "type": kind}) for kind, rule in rules.items() if not rule}
        if any(rules.values()) and all(others.values()):
            marked[RULE] = " | ".join({**rules, **others}.values())
        return marked

    def _write(self, kind: str, schema: Mapping[str, Any], name: str, about: str) -> str:
        """Return the rule of a value of one type, empty if it is free."""
        told = "\n".join([about, *_list_examples(schema)])
        if kind == "string" and self._takes_span(schema) and not _is_composed(name, about):
            spans = [self._define(each) for each in (self._spans, _write_spans(told)) if each]
            return " | ".join(self._define(rf'"\"" ({each} & {_BEGINNING}) "\""') for each in spans)
        if kind in ("integer", "number") and schema.keys() <= _NUMBER_KEYS:
            bounds = json.dumps({key: schema[key] for key in schema.keys() - ANNOTATIONS})
            if fit := _list_valid(self._numbers, kind, bounds):
                numbers = (*fit, *_list_valid(tuple(read_numbers(told)), kind, bounds))
                return self._define(f"/{'|'.join(dict.fromkeys(_write_number(each, kind) for each in numbers))}/")
        return ""

    def _takes_span(self, schema: Mapping[str, Any]) -> bool:
        """Tell whether a schema allows every span of the texts, and there is one."""
        is_any = schema.get("minLength", 0) <= 1 and schema.get("maxLength", math.inf) >= len(self._text)
        return is_any and schema.keys() <= _TEXT_KEYS and bool(self._spans)

    def _define(self, definition: str) -> str:
        return self._names.setdefault(definition, f"COPIED_{len(self._names)}")


def read_numbers(text: str) -> list[Decimal]:
    """Return the numbers of a text, in digits or in words, and what they may stand for.

    Example:
        >>> [str(number) for number in read_numbers("twenty-two of 1,500 at 5%, 3pm")]
        ['20', '2', '22', '1500', '5', '0.05', '3', '15']
    """
    found: dict[Decimal, None] = {}
    last: Decimal | None = None
    for match in _NUMBER.finditer(text):
        word = (match["word"] or "").casefold()
        if last is not None and word in _LARGE:
            value = last + 12 if word == "pm" else last * _LARGE[word]
        elif word in _LARGE and word not in ("k", "m", "pm"):
            value = _LARGE[word]
        elif word in _SMALL:
            value = _SMALL[word]
            if last is not None and last >= 20 and value < 10 and last % 10 == 0:
                found[value] = None
                value += last
        elif match["digits"]:
            value = Decimal(match["digits"].replace(",", "")).scaleb(int(match["exponent"] or 0))
        else:
            last = last if word == "and" else None
            continue
        found[value] = None
        if _PERCENT.match(text, match.end()):
            found[value / 100] = None
        last = value
    if _BELOW_ZERO.search(text):
        found |= {-number: None for number in found if number}
    return list(found)


def _write_date(date: str) -> str:
    """Return a date as tools want it.

    Example:
        >>> _write_date("the 3rd of March, 2027"), _write_date("2027/3/31")
        ('2027-03-03', '2027-03-31')
    """
    numbers = [int(each) for each in re.findall(r"\d+", date)]
    if len(numbers) == 2:  # day and year, and the month has a name
        month = next(i for i, name in enumerate(_MONTHS, 1) if re.search(rf"\b{name}", date, re.IGNORECASE))
        numbers = [numbers[1], month, numbers[0]]
    return "{:04d}-{:02d}-{:02d}".format(*numbers)


@cache
def _is_composed(name: str, about: str) -> bool:
    """Tell whether a text is seldom a span of what was said, by what the argument is called and described as."""
    return bool(_COMPOSED.search(" ".join(_NAME_PART.findall(name))) or _COMPOSED.search(about))


def _list_examples(schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield the values that a schema names without listing all."""
    examples = schema.get("examples")
    for value in (schema.get("default"), schema.get("example"), *(examples if isinstance(examples, list) else ())):
        if value is not None:
            yield value if isinstance(value, str) else json.dumps(value)


def _write_spans(text: str) -> str:
    """Return a terminal of all spans of whole words of a text, as they stand in JSON; empty if there is no word.

    As far as there is room, they are also spelled as names, lists of choices and codes are.
    """
    if not re.search(r"\w", text):
        return ""
    titled = _WORD.sub(lambda match: match[0][0].upper() + match[0][1:], text)
    spelled = list(dict.fromkeys([text, text.lower(), titled, text.upper()]))
    spelled = spelled[: max(MAX_CHARS // (len(text) + 1), 1)]
    parts = [escape_json(json.dumps(each, ensure_ascii=False)[1:-1]) for each in _CHUNK.findall("\n".join(spelled))]
    return f"%regex {json.dumps({'substring_chunks': parts})}"


@lru_cache(maxsize=256)
def _list_valid(numbers: tuple[Decimal, ...], kind: str, bounds: str) -> list[Decimal]:
    """Return the numbers that a schema allows."""
    is_valid = make_validator({"properties": {"value": {**json.loads(bounds), "type": kind}}}).is_valid
    return [each for each in numbers if abs(each) <= MAX_INTEGER and is_valid({"value": _as_json(each)})]


def _as_json(number: Decimal) -> int | float:
    return int(number) if number == number.to_integral_value() else float(number)


def _write_number(number: Decimal, kind: str) -> str:
    """Return an expression of a number, as it may be written in JSON."""
    value = _as_json(number)
    if isinstance(value, int):
        return f"{value}" if kind == "integer" else rf"{value}(\.0)?"
    return re.escape(json.dumps(value)) + ("0?" if "e" not in str(value) else "")
