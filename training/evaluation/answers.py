"""Whether a final answer is right: exact values, however they are written.

A text is read as tokens, so that ``1,234.50`` is ``1234.5`` and ``3 March 2027`` is ``2027-03-03``:

- dates, ISO or with an English month's name, become ``YYYY-MM-DD``;
- numbers lose thousands separators, a plus sign, exponents and zeros without meaning;
- words are case-folded; a digit inside a word (``m2``), a clock time and a version number belong to one token;
- all other characters separate tokens.

An answer *holds* an expected text if the tokens of that text stand in it one after the other.
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_TOKEN = re.compile(
    rf"""(?P<iso>(?<!\d)\d{{4}}[-/]\d{{1,2}}[-/]\d{{1,2}}(?!\d))
    | (?P<day_first>\b{_DAY}\s(?:of\s)?{_MONTH},?\s\d{{4}}\b)
    | (?P<month_first>\b{_MONTH}\s{_DAY},?\s\d{{4}}\b)
    | (?P<word>\d{{1,2}}(?::\d{{2}}){{1,2}}(?!\d) | \d+(?:\.\d+){{2,}} | [^\W\d_]\w*)
    | (?P<number>(?:(?<![\w.)])[-+])?(?:(?:\d{{1,3}}(?:,\d{{3}})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?:e[-+]?\d{{1,3}}(?!\w))?)
    """,
    re.VERBOSE,
)


def holds(answer: str, expected: str) -> bool:
    """Tell whether an answer holds an expected text.

    Example:
        >>> holds("It comes to $1,234.50.", "1234.5"), holds("It comes to 12345.", "1234")
        (True, False)
    """
    wanted, found = read_tokens(expected), read_tokens(answer)
    if not wanted:
        return expected.strip() in answer
    return any(found[i : i + len(wanted)] == wanted for i in range(len(found) - len(wanted) + 1))


def ends_with_number(answer: str, expected: str) -> bool:
    """Tell whether the last number of an answer is the expected one, as is customary for GSM8K."""
    numbers = [token for token in read_tokens(answer) if _is_number(token)]
    return numbers[-1:] == read_tokens(expected)


def read_tokens(text: str) -> list[str]:
    """Return the tokens of a text in their one normal form.

    Example:
        >>> read_tokens("On March 3, 2027 at 09:30: 1,200.0 m2")
        ['on', '2027-03-03', 'at', '09:30', '1200', 'm2']
    """
    text = unicodedata.normalize("NFKC", text).replace("\u2212", "-").casefold()
    return [_normalize(match) for match in _TOKEN.finditer(text)]


def _normalize(match: re.Match[str]) -> str:
    kind, text = match.lastgroup, match[0]
    if kind == "number":
        return _normalize_number(text)
    if kind == "word":
        return text
    numbers = re.findall(r"\d+", text)
    if kind == "iso":
        year, month, day = map(int, numbers)
    else:
        day, year = map(int, numbers)
        month = 1 + next(i for i, name in enumerate(_MONTHS) if name in text)
    return f"{year:04d}-{month:02d}-{day:02d}"


def _normalize_number(text: str) -> str:
    digits = format(Decimal(text.replace(",", "")), "f")
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    sign, digits = ("-", digits[1:]) if digits.startswith("-") else ("", digits)
    digits = digits.lstrip("0") or "0"
    digits = f"0{digits}" if digits.startswith(".") else digits
    return digits if digits == "0" else sign + digits


def _is_number(token: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?", token) is not None
