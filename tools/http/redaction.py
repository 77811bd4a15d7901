"""Hides secrets in what servers send: as they are, and in whatever way a server may have written them.

A list of the ways to write a secret has no end. So a text is read again with every kind of escape and encoding undone,
one after the other and within each other, and the secret is looked for in each reading by its letters and digits alone,
whatever stands between them and in whatever case. What is found is hidden where it stands in the text.
"""

from __future__ import annotations

import base64
import encodings.aliases
import html
import logging
import math
import re
import unicodedata
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import lru_cache, partial
from typing import Any, TypeAlias

from alpha_umi.errors import REDACTED, hide_passwords

# Shorter values are no secrets, and hiding them would make ordinary text unreadable.
_MIN_SECRET_CHARS = 4
_MIN_LETTERS = 8
"""Of a secret that is looked for by its letters and digits alone."""
_MAX_DEPTH = 3
"""Encodings within each other."""
_MAX_WORK_CHARS = 500_000
_WORK_CHARS = 200
"""What a reading takes besides its length."""
Decode: TypeAlias = Callable[[re.Match[str]], str]
Locate: TypeAlias = Callable[[int, int], tuple[int, int]]
_NUMBERS = re.compile(r"\d{1,8}(?:\W{1,4}\d{1,8}){3,}")
_SPACED = re.compile(r".(?P<mark>[\W_]{1,5}?)(?:.(?P=mark)){3,}.?", re.DOTALL)
"""Single characters with the same mark between them; also what UTF-16 looks like as UTF-8."""
_LEAD = re.compile(r"((?:&\#|[^\w\s]|_|\b0(?=[xX]))[uUxX]?\+?\{?)(?=[0-9A-Fa-f])")
_MAX_LEADS = 8
_CODES = (
    ("[0-9A-Fa-f]{2}", 16),
    ("[0-9A-Fa-f]{4}", 16),
    ("[0-9A-Fa-f]{8}", 16),
    ("[0-9A-Fa-f]{1,7}", 16),
    ("[0-9]{1,7}", 10),
    ("[0-7]{3}", 8),
)
_ESCAPES: tuple[tuple[re.Pattern[str], Decode], ...] = (
    (_SPACED, lambda match: match[0][:: 1 + len(match["mark"])]),
    (re.compile(r"&\w{2,31};"), lambda match: html.unescape(match[0])),
    (re.compile(r"\\[bfnrtv]"), lambda match: " "),
    (re.compile(r"\\(.)", re.DOTALL), lambda match: match[1]),
    (re.compile(r"[^\x00-\x7f]"), lambda match: unicodedata.normalize("NFKC", match[0])),
    (re.compile(r"\+[A-Za-z0-9/+]{3,}-?"), lambda match: match[0].encode().decode("utf-7", "ignore")),
    (re.compile(r"[A-Z2-7]{13,}|[a-z2-7]{13,}"), lambda match: _read_base32(match[0])),
    *((_NUMBERS, lambda match, base=base: _read_numbers(match[0], base)) for base in (10, 8, 2)),
)
_PRINTABLE = re.compile(r"[\t\n\r -~]{4,}")
_secrets: ContextVar[tuple[str, ...] | None] = ContextVar("secrets", default=None)


def redact(text: str, secrets: Iterable[str]) -> str:
    """Hide secrets in a text, however they are escaped or encoded there.

    Example:
        >>> redact("bad key: s3cr3t/1, at /?key=s3cr3t%2F1", ["s3cr3t/1"])
        'bad key: [redacted], at /?key=[redacted]'
    """
    wanted = {secret for secret in secrets if len(secret) >= _MIN_SECRET_CHARS}
    wanted |= {secret.encode().decode("latin-1") for secret in wanted}
    if not wanted or not text:
        return text
    squeezed = {_squeeze(each) for each in wanted}
    squeezed |= {"".join(filter(str.isascii, each)) for each in squeezed}  # what is left of bytes that are no letters
    spans = sorted(set(_find(text, wanted, squeezed, _MAX_DEPTH)))
    parts, done = [], 0
    for start, end in spans:
        if start >= done:
            parts += [text[done:start], REDACTED]
        done = max(done, end)
    return "".join([*parts, text[done:]])


def redact_bytes(body: bytes, secrets: Iterable[str]) -> bytes:
    """Hide secrets in a body in every charset, also in another one than it says."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _MIN_SECRET_CHARS:
            for form, hidden in _list_charset_forms(secret):
                body = body.replace(form, hidden)
    return body


def redact_all(value: Any, secrets: Iterable[str]) -> Any:
    """Hide secrets in every text of a value as JSON has it, names included."""
    if isinstance(value, str):
        return redact(value, secrets)
    if isinstance(value, Mapping):
        return {redact_all(key, secrets): redact_all(part, secrets) for key, part in value.items()}
    return [redact_all(part, secrets) for part in value] if isinstance(value, list | tuple) else value


@contextmanager
def hiding(secrets: Iterable[str]) -> Iterator[None]:
    """Hide secrets, also of addresses, in all that is logged meanwhile, here and in tasks that are started here."""
    token = _secrets.set((*(_secrets.get() or ()), *secrets))
    try:
        yield
    finally:
        _secrets.reset(token)


_make_record = logging.getLogRecordFactory()


def _make_hidden_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
    record = _make_record(*args, **kwargs)
    if (secrets := _secrets.get()) is not None:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        if (shown := hide_passwords(redact(text, secrets))) != text:
            record.msg, record.args, record.exc_info = shown, None, None
    return record


logging.setLogRecordFactory(_make_hidden_record)


def _find(text: str, exact: set[str], squeezed: set[str], depth: int) -> Iterator[tuple[int, int]]:
    """Yield where secrets stand in a text, from its shallowest readings on, for as long as the work is bounded."""
    pending: deque[tuple[str, list[Locate]]] = deque([(text, [])])
    seen, budget = {text}, _MAX_WORK_CHARS + 8 * len(text)
    while pending:
        reading, locates = pending.popleft()
        for start, end in _search(reading, exact, squeezed):
            for locate in reversed(locates):
                start, end = locate(start, end)
            yield start, end
        for inner, locate in _undo(reading) if len(locates) < depth and budget > 0 else ():
            if inner not in seen:
                seen.add(inner)
                budget -= len(inner) + _WORK_CHARS
                pending.append((inner, [*locates, locate]))


def _search(text: str, exact: set[str], squeezed: set[str]) -> Iterator[tuple[int, int]]:
    for secret in exact:
        for i in _iter_places(text, secret):
            yield i, i + len(secret)
    table = {ord(each): _squeeze(each) for each in set(text)}
    letters = text.translate(table)
    owners: list[int] = []
    for secret in squeezed:
        for i in _iter_places(letters, secret) if len(secret) >= _MIN_LETTERS else ():
            owners = owners or [i for i, each in enumerate(text) for _ in table[ord(each)]]
            yield owners[i], owners[i + len(secret) - 1] + 1


def _iter_places(text: str, secret: str) -> Iterator[int]:
    i = text.find(secret)
    while i >= 0:
        yield i
        i = text.find(secret, i + 1)


def _squeeze(text: str) -> str:
    """Return letters and digits alone, in one case and form.

    Example:
        >>> _squeeze("Sk-Ａb_1")
        'skab1'
    """
    return "".join(each for each in unicodedata.normalize("NFKC", text).casefold() if each.isalnum())


def _undo(text: str) -> Iterator[tuple[str, Locate]]:
    """Yield the text with each kind of escape undone, and what is printable of it as numbers, in hex and in Base64.

    With it comes what says for a part of the reading where that stands in the text.
    """
    leads = Counter(_LEAD.findall(text)).most_common(_MAX_LEADS)
    codes: list[tuple[re.Pattern[str], Decode]] = [  # each lead for itself: a mark before other digits is none
        (re.compile(rf"{re.escape(lead)}(?P<code>{code})(?:(?!{re.escape(lead[0])})[}};_])?"), partial(_chr, base=base))
        for lead, _ in leads
        for code, base in _CODES
    ]
    for pattern, decode in (*codes, *_ESCAPES):
        if (inner := pattern.sub(decode, text)) != text:
            yield inner, partial(_locate_replaced, text, pattern, decode)
    dense = _NOT_DENSE.sub("", text)
    for digits, n_digits, n_bytes, unpack in _DENSE:
        plain = digits.sub("0", dense.translate(_URL_SAFE))
        for phase in range(n_digits):
            part = plain[phase:]
            decoded = unpack(f"{part}{'A' * (-len(part) % n_digits)}".encode())
            if inner := "".join(_PRINTABLE.findall(decoded.replace(b"\0", b"").decode("latin-1"))):
                yield inner, partial(_locate_unpacked, text, decoded, phase, n_digits / n_bytes)


def _locate_replaced(text: str, pattern: re.Pattern[str], decode: Decode, start: int, end: int) -> tuple[int, int]:
    shift, spans = 0, []
    for match in pattern.finditer(text):
        first = match.start() + shift
        last = first + len(decode(match))
        shift = last - match.end()
        spans.append((first, last, match.start(), match.end()))
    return _locate(start, spans)[0], _locate(end - 1, spans)[1]


def _locate(place: int, spans: list[tuple[int, int, int, int]]) -> tuple[int, int]:
    """Return the part of the text that a character of the reading was made of."""
    shift = 0
    for first, last, start, end in spans:
        if place < first:
            break
        if place < last:
            return start, end
        shift = end - last
    return place + shift, place + shift + 1


def _locate_unpacked(text: str, decoded: bytes, phase: int, ratio: float, start: int, end: int) -> tuple[int, int]:
    places = [i for i, byte in enumerate(decoded) if byte]  # of UTF-16, one half
    shown = bytes(decoded[i] for i in places).decode("latin-1")
    runs = [i for run in _PRINTABLE.finditer(shown) for i in range(*run.span())]
    kept = [i for i, each in enumerate(text) if not _NOT_DENSE.match(each)]
    first, last = phase + int(places[runs[start]] * ratio), phase + math.ceil((places[runs[end - 1]] + 1) * ratio)
    return kept[first], kept[min(last, len(kept)) - 1] + 1


_URL_SAFE = str.maketrans("-_", "+/")
_NOT_DENSE = re.compile(r"[^A-Za-z0-9+/_=-]")
_DENSE: tuple[tuple[re.Pattern[str], int, int, Callable[[bytes], bytes]], ...] = (
    (re.compile("[^0-9A-Fa-f]"), 2, 1, lambda digits: bytes.fromhex(digits.decode())),
    (re.compile("[^A-Za-z0-9+/]"), 4, 3, base64.b64decode),
)


def _read_numbers(text: str, base: int) -> str:
    try:
        return "".join(chr(int(number, base)) for number in re.findall(r"\d+", text))
    except (ValueError, OverflowError):
        return text


def _read_base32(text: str) -> str:
    return base64.b32decode(f"{text}{'A' * (-len(text) % 8)}", casefold=True).decode("latin-1")


def _chr(match: re.Match[str], base: int) -> str:
    try:
        return chr(int(match["code"], base))
    except (ValueError, OverflowError):
        return match[0]


@lru_cache(maxsize=100)
def _list_charset_forms(secret: str) -> list[tuple[bytes, bytes]]:
    forms: dict[bytes, bytes] = {}
    for charset in sorted({*encodings.aliases.aliases.values()}):
        with suppress(LookupError, ValueError):  # no charset, or one that lacks a letter
            forms.setdefault(secret.encode(charset), REDACTED.encode(charset))
    return sorted(forms.items(), key=lambda form: len(form[0]), reverse=True)
