"""Where values stand in what a person wrote."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date, time
from typing import Any, TypeAlias

from alpha_umi.training.data.sheets.form import SheetParameter, ToolSheet, first_source, is_optional
from alpha_umi.training.data.sheets.wording import list_written_dates, say

Span: TypeAlias = tuple[int, int]
Spans: TypeAlias = dict[str, Span]
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:t(?:ember)?)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_DATE = (
    rf"\d{{4}}-\d\d-\d\d|\d{{1,2}}[./]\d{{1,2}}[./]\d{{2,4}}|(?:the )?{_DAY}(?: of)? {_MONTH}(?:,? \d{{4}})?"
    rf"|{_MONTH} {_DAY}(?:,? \d{{4}})?|(?:next |this )?(?:mon|tues|wednes|thurs|fri|satur|sun)day"
    r"|today|tomorrow|tonight|next (?:week|month)"
)
_TIME = r"\d{1,2}:\d{2}(?: ?[ap]m)?|\d{1,2} ?[ap]m|noon|midnight|\d{1,2} o'clock"
_FORMS = {
    "date": _DATE,
    "recent date": _DATE,
    "past date": _DATE,
    "time": _TIME,
    "datetime": rf"\d{{4}}-\d\d-\d\dT[\d:]+|(?:{_DATE})(?:,| at)? (?:{_TIME})",
    "email": r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+",
    "url": r"https?://\S+[\w/]",
    "phone": r"\+?\d[\d ()-]{6,}\d",
}
_NUMBER_WORDS = "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
_NUMBER = rf"\d[\d,]*(?:\.\d+)?|\b(?:{_NUMBER_WORDS})"
_NAME = r"[A-Z](?:[\w&-]|'(?!s\b))+(?: (?:de |van |von |la )?[A-Z](?:[\w&-]|'(?!s\b))+){0,3}"
_ID_SIGNS = {"#": r"\d", "@": "[A-Z]", "&": "[a-z]", "%": "[0-9a-f]"}
_QUOTED = re.compile(
    r"[\"“„]([^\"“”„]{2,})[\"”]|(?<=: )([^:\"]{3,}?)(?=[.!?]?$)|(?<=saying )(?:that )?(.{3,}?)(?=[.!?]?$)"
)
_COMMON = frozenset(
    {"i", "the", "a", "an", "please", "can", "could", "would", "i'd", "i'm", "we", "what", "which", "is", "are", "do"}
    | {"does", "how", "when", "where", "who", "my"}
)


def find_spans(sheet: ToolSheet, text: str) -> Spans:
    """Return where the values of a tool stand in a text, as far as they can be told; none of them overlap."""
    finder = _SpanFinder(sheet, text)
    return finder.find()


def find_given(sheet: ToolSheet, text: str, values: Mapping[str, Any]) -> Spans:
    """Return where known values stand in a text, those that do."""
    spans: Spans = {}
    for path, value in sorted(values.items(), key=lambda item: -len(str(item[1]))):
        for said in _list_said(sheet.sources.get(path), value):
            match = re.search(rf"(?<![\w]){re.escape(said)}(?!\w)", text, re.IGNORECASE)
            if match and said and _is_free(match.span(), spans):
                spans[path] = match.span()
                break
    return spans


def _list_said(parameter: SheetParameter | None, value: Any) -> Iterator[str]:
    """Yield how a value may be said."""
    if parameter is not None and not isinstance(value, list | dict):
        yield from parameter.say.get(value, ())
    if isinstance(value, list):
        items = [str(item) for item in value]
        yield from (say(items), ", ".join(items), " and ".join(items))
        return
    text = say(value) if not isinstance(value, bool) else ""
    yield from (text, text.replace("_", " "))
    if isinstance(value, int) and 0 < value <= 12:
        yield _NUMBER_WORDS.split("|")[value - 1]
    with suppress(ValueError):
        yield from list_written_dates(date.fromisoformat(text))
    with suppress(ValueError):
        moment = time.fromisoformat(text)
        minute = f":{moment.minute:02}" if moment.minute else ""
        yield f"{(moment.hour - 1) % 12 + 1}{minute}{'am' if moment.hour < 12 else 'pm'}"


def _is_free(span: Span, spans: Mapping[str, Span]) -> bool:
    return all(span[1] <= start or span[0] >= end for start, end in spans.values())


class _SpanFinder:
    def __init__(self, sheet: ToolSheet, text: str) -> None:
        self._sheet = sheet
        self._text = text
        self._spans: Spans = {}

    def find(self) -> Spans:
        order = sorted(self._sheet.sources, key=lambda path: is_optional(self._sheet.tool.parameters, path))
        for search in (self._find_listed, self._find_formed, self._find_text, self._find_name, self._find_number):
            for path in order:
                if path not in self._spans and (span := search(path, self._sheet.sources[path])):
                    self._spans[path] = span
        return self._spans

    def _search(self, pattern: str, *, flags: int = re.IGNORECASE) -> Span | None:
        matches = re.finditer(rf"(?<![\w-]){pattern}(?![\w-])", self._text, flags)
        return next((match.span() for match in matches if _is_free(match.span(), self._spans)), None)

    def _find_listed(self, path: str, parameter: SheetParameter) -> Span | None:
        item = parameter.items or parameter
        said = [*(word for words in item.say.values() for word in words), *map(str, item.enum or ())]
        source = first_source(item)
        values = source if isinstance(source, list) else self._sheet.lists.get(str(source), ())
        said += [str(value) for value in values if isinstance(value, str)]
        known = sorted({word.replace("_", " ") for word in said if len(word) > 1}, key=len, reverse=True)
        if not known:
            return None
        one = f"(?:{'|'.join(map(re.escape, known))})"
        return self._search(rf"{one}(?:(?:, | and |, and ){one})*" if parameter.items else one)

    def _find_formed(self, path: str, parameter: SheetParameter) -> Span | None:
        source = str(first_source(parameter.items or parameter))
        if source in _FORMS:
            return self._search(f"(?:{_FORMS[source]})")
        if source.startswith("id "):
            exact = "".join(_ID_SIGNS.get(sign, re.escape(sign)) for sign in source[3:])
            loose = r"(?=[\w-]*\d)[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*"
            return self._search(exact, flags=0) or self._search(loose)
        return None

    def _find_text(self, path: str, parameter: SheetParameter) -> Span | None:
        """Return what stands in quotes, or after a colon, for a text of one's own."""
        source = first_source(parameter)
        values = source if isinstance(source, list) else self._sheet.lists.get(str(source), ())
        is_text = source in ("note", "topic", "title") or any(
            isinstance(each, str) and each.count(" ") > 2 for each in values
        )
        match = _QUOTED.search(self._text) if is_text else None
        if match is None:
            return None
        span = match.span(match.lastindex or 0)
        return span if _is_free(span, self._spans) else None

    def _find_name(self, path: str, parameter: SheetParameter) -> Span | None:
        """Return words with capitals, if there is one place for them only."""
        source = first_source(parameter)
        if parameter.items or parameter.enum or not (isinstance(source, list) or source in self._sheet.lists):
            return None
        found = [match.span() for match in re.finditer(rf"\b{_NAME}", self._text)]
        free = [self._drop_common(span) for span in found if _is_free(span, self._spans)]
        names = [span for span in free if span[0] < span[1]]
        return names[0] if len(names) == 1 else None

    def _drop_common(self, span: Span) -> Span:
        """Leave out a first word that has its capital from the beginning of a sentence."""
        start, end = span
        words = self._text[start:end].split(" ")
        begins = start == 0 or re.search(r"[.!?]\s+$", self._text[:start])
        if words[0].lower() in _COMMON or (
            (begins and not re.fullmatch(_NAME, self._text[start:end])) or (begins and len(words) == 1)
        ):
            return (min(end, start + len(words[0]) + 1), end)
        return span

    def _find_number(self, path: str, parameter: SheetParameter) -> Span | None:
        """Return the number before or after the words of a value; or the only one, if nothing else is a number."""
        if not str(first_source(parameter)).startswith(("int ", "decimal ")) and parameter.json_type not in (
            "integer",
            "number",
        ):
            return None
        found = [
            match.span() for match in re.finditer(rf"(?<![\w.-])(?:{_NUMBER})(?![\w-])", self._text, re.IGNORECASE)
        ]
        free = [span for span in found if _is_free(span, self._spans)]
        words = [word for word in re.split(r"[^a-z]+", path.lower()) if len(word) > 2]
        near = [span for span in free if self._is_near(span, words)]
        return near[0] if len(near) == 1 else free[0] if len(free) == 1 else None

    def _is_near(self, span: Span, words: Sequence[str]) -> bool:
        around = (
            self._text[max(0, span[0] - 16) : span[0]].lower().split()[-1:] + self._text[span[1] :].lower().split()[:1]
        )
        return any(word.startswith(part[:5]) for part in words for word in around)
