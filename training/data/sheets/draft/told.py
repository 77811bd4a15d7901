"""What the schema of a value, its description and the examples there tell of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from alpha_umi.training.data.sheets.load import load_common

_FORMATS = {
    "date": "date",
    "date-time": "datetime",
    "time": "time",
    "email": "email",
    "idn-email": "email",
    "uri": "url",
    "url": "url",
    "uuid": "id %%%%%%%%-%%%%-4%%%-8%%%-%%%%%%%%%%%%",
    "ipv4": ["10.0.0.12", "192.168.1.20", "172.16.4.8", "203.0.113.7"],
    "ipv6": ["2001:db8::1", "2001:db8::42", "fe80::1c2a"],
    "hostname": ["example.com", "mail.example.org", "shop.example.net"],
    "iso-country-code": ["NO", "PT", "FR", "AT", "CH", "PL"],
    "phone-number": ["+4740012345", "+351912345678", "+15550134567", "+447700900123"],
    "duration": ["PT30M", "PT1H", "P1D", "PT45M"],
    "binary": "file_name",
    "byte": ["aGVsbG8=", "d29ybGQ=", "dGVzdA=="],
}
_DATED = ("date", "past date", "recent date", "time", "datetime")
_EXAMPLES = re.compile(
    r"(?:e\.\s?g\.,?|for example,?|for instance,?|such as|examples?:|like|z\.\s?B\.|one of:?|either)\s*(.+)",
    re.IGNORECASE | re.DOTALL,
)
_QUOTED = re.compile(r"""(?<!\w)(?:'([^'\n]{1,40})'|"([^"\n]{1,40})"|`([^`\n]{1,40})`)(?!\w)""")
_LISTED = re.compile(r"^([\w.+#&/ :-]{1,30}?)(?:\s*(?:,|\bor\b|\band\b|\boder\b|$|[.;)(]))")
_BETWEEN = re.compile(r"(?:between|from)?\s*(-?\d+(?:\.\d+)?)\s*(?:and|to|-|–|\.\.|bis)\s*(-?\d+(?:\.\d+)?)")


def fit_source(
    source: Any, kind: str, node: Mapping[str, Any], *, is_clueless: bool, is_id: bool, has_rule: bool
) -> tuple[Mapping[str, Any], bool] | None:
    """Return ``from`` as the schema and its examples have it, and whether nothing told what it looks like.

    Args:
        source: What the name of the value told.
        kind: JSON type.
        node: The schema of the value.
        is_clueless: Whether the name told nothing.
        is_id: Whether the value names a thing.
        has_rule: Whether ``values.yaml`` knows the name.

    Returns:
        None if no value is known that the schema takes.
    """
    if kind in ("integer", "number"):
        return _bound(source, kind, node, is_clueless=is_clueless, has_rule=has_rule)
    text = str(node.get("description") or "")
    form = _FORMATS.get(str(node.get("format", "")))
    told = _find_told_form(text)
    examples = [each for each in _iter_examples(node, text)]
    if form is not None:
        keeps = form == "date" and isinstance(source, str) and source.endswith("date")
        source, is_clueless = (source if keeps else form), False
    elif told is not None:
        keeps = isinstance(source, str) and source in _DATED and (told == "date") == source.endswith("date")
        source, is_clueless = (source if keeps else told), False
    elif source in _DATED and node.get("pattern") is None:
        pass
    elif examples and (is_clueless or len(examples) > 2 or is_id):
        source, is_clueless = _read_examples(examples), False
    elif isinstance(source, str) and source.startswith(("int ", "decimal ")):
        source = ["2", "3", "5", "8", "10", "12"]
    return _fit_text(source, node, is_clueless)


def _find_told_form(text: str) -> str | None:
    """Return the form of dates and times that a description tells."""
    if re.search(r"ISO.?8601.*(?:time|T)|date.?time|YYYY-MM-DD.?[T ]?.?HH", text, re.IGNORECASE):
        return "datetime"
    if re.search(r"YYYY-MM-DD|ISO (?:8601 )?date|JJJJ-MM-TT|\b20\d\d-\d\d-\d\d\b(?!T)", text):
        return "date"
    return "time" if re.search(r"\bHH:MM\b|\b24.?h(?:our)? clock|SS:MM", text) else None


def _iter_examples(node: Mapping[str, Any], text: str) -> Iterator[str]:
    seen: set[str] = set()
    given = [*(node.get("examples") or ()), node.get("example"), *_iter_told(text)]
    for each in given:
        if isinstance(each, str) and each.strip() and each not in seen and not re.search(r"[\[\]{}\n]", each):
            seen.add(each)
            yield each


def _iter_told(text: str) -> Iterator[str]:
    """Yield the examples that a description names."""
    match = _EXAMPLES.search(text)
    quoted = [next(filter(None, found)) for found in _QUOTED.findall(match[1] if match else text)]
    if quoted and (match or len(quoted) > 1):
        yield from quoted
        return
    rest = match[1] if match else ""
    while rest and (found := _LISTED.match(rest)):
        value = found[1].strip().removeprefix("or ").removeprefix("and ").rstrip(".")
        if len(value.split()) > 3 or not value:
            return
        yield value
        if rest[found.end() - 1] in ".;)(":
            return
        rest = rest[found.end() :].strip()


def _read_examples(examples: Sequence[str]) -> Any:
    """Return where values like these come from: more of the same form where they are ids."""
    first = examples[0]
    if re.fullmatch(r"\d{4}-\d\d-\d\d", first):
        return "date"
    if re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z?", first):
        return "datetime"
    if re.fullmatch(r"\d\d:\d\d", first):
        return "time"
    if re.search(r"\d{2}", first) and re.fullmatch(r"[\w\-./]+", first) and not first.isdecimal():
        return "id " + re.sub(r"[@&%]", "-", re.sub(r"\d", "#", first))
    return list(examples)


def _fit_text(source: Any, node: Mapping[str, Any], is_clueless: bool) -> tuple[Mapping[str, Any], bool] | None:
    """Keep to the pattern and the lengths of the schema."""
    low, high, pattern = node.get("minLength", 0), node.get("maxLength", 10**6), node.get("pattern")
    if pattern and (drawn := _read_pattern(str(pattern), low)):
        return {"from": drawn}, False
    options = source if isinstance(source, list) else load_common().get(source) if isinstance(source, str) else None
    if options is not None:
        fitting = [each for each in options if low <= len(str(each)) <= high and _matches(pattern, str(each))]
        if fitting:
            return {"from": source if len(fitting) == len(options) else fitting}, is_clueless
        if pattern or high < 2:
            return None
        size = min(high, max(low, 6))
        return {"from": f"id @{'#' * (size - 1)}"}, True
    if isinstance(source, str) and source.startswith("id "):
        size = len(source) - 3
        if pattern:
            return None
        if not low <= size <= high:
            size = min(high, max(low, 6))
            return {"from": f"id {'%' * size}"}, is_clueless
    return {"from": source}, is_clueless


def _matches(pattern: Any, text: str) -> bool:
    try:
        return not pattern or re.search(str(pattern), text) is not None
    except re.error:
        return False


def _read_pattern(pattern: str, min_length: int) -> str | None:
    r"""Return the ``id …`` of a simple pattern.

    Example:
        >>> _read_pattern(r"^AC[0-9a-fA-F]{4}-\d{2,5}$", 0)
        'id AC%%%%-##'
    """
    classes = {"0-9": "#", "A-Z": "@", "a-z": "&", "a-f0-9": "%", "0-9a-f": "%", "0-9a-fA-F": "%", "a-fA-F0-9": "%"}
    classes |= {"A-Z0-9": "#", "a-z0-9": "#", "A-Za-z0-9": "#", "a-zA-Z0-9": "#", "A-Za-z": "@", "a-zA-Z": "@"}
    token = re.compile(r"(?:\[([^\]\\]+)\]|(\\d)|(\\?[\w\-./: ]))(?:\{(\d+)(?:,(\d*))?\}|([+*?]))?")
    body = re.sub(r"\((?:\?:)?([^()|]+)(?:\|[^()]*)?\)(?![?*+{])", r"\1", pattern.removeprefix("^").removesuffix("$"))
    body, drawn, place = re.sub(r"([a-z0-9])[_.-]+\]", r"\1]", body, flags=re.IGNORECASE), "", 0
    while place < len(body):
        match = token.match(body, place)
        if match is None or (match[1] and match[1] not in classes):
            return None
        sign = classes[match[1]] if match[1] else "#" if match[2] else match[3].removeprefix("\\")
        if match[3] and match[3].startswith("\\") and match[3] not in ("\\-", "\\.", "\\/"):
            return None
        times = int(match[4]) if match[4] else 1
        if match[6] or match[5] is not None:
            times = max(times, min(4, int(match[5] or 4)))
        drawn, place = drawn + sign * max(times, 1 if not match[4] else int(match[4])), match.end()
    if not re.search("[#@&%]", drawn) or len(drawn) < min_length:
        return None
    return f"id {drawn}"


def _bound(
    source: Any, kind: str, node: Mapping[str, Any], *, is_clueless: bool, has_rule: bool
) -> tuple[Mapping[str, Any], bool] | None:
    """Keep a range within what the schema and its description allow."""
    low, high = node.get("minimum"), node.get("maximum")
    gap = 1 if kind == "integer" else 0.05
    low = node["exclusiveMinimum"] + gap if isinstance(node.get("exclusiveMinimum"), int | float) else low
    high = node["exclusiveMaximum"] - gap if isinstance(node.get("exclusiveMaximum"), int | float) else high
    if isinstance(source, list):
        fitting = [n for n in source if (low is None or n >= low) and (high is None or n <= high)]
        return ({"from": fitting}, is_clueless) if fitting else None
    if re.search(r"unix|epoch", str(node.get("description", "")), re.IGNORECASE):
        return {"from": "int 1735689600..1798675200 step 3600"}, False
    given = [each for each in (*(node.get("examples") or ()), node.get("example")) if type(each) in (int, float)]
    if given and not has_rule:
        return {"from": given}, False
    word, first, last, step = re.match(r"(int|decimal) (-?[\d.]+)\.\.(-?[\d.]+)(.*)", str(source)).groups()  # type: ignore[union-attr]
    start, end = float(first), float(last)
    if low is None and high is None and (told := _BETWEEN.search(str(node.get("description") or ""))):
        low, high = sorted(float(number) for number in told.groups())
    if low is not None and high is not None and (is_clueless or start < low or end > high):
        start, end, is_clueless = start if low <= start < high else low, high, False
        step = "" if (high - low) < 40 else step
    elif low is not None and start < low:
        start, end = low, max(end, low + (end - start))
    elif high is not None and end > high:
        start, end = min(start, high - 1), high
    if multiple := node.get("multipleOf"):
        start, step = -(-start // multiple) * multiple, f" step {multiple:g}"
    if kind == "integer":
        return {"from": f"int {int(start)}..{int(end)}{step}"}, is_clueless
    is_whole = word == "int" and end - start >= 2
    start = float(-(-start // 1)) if is_whole else start
    return {"from": f"int {start:g}..{int(end)}{step}" if is_whole else f"decimal {start:g}..{end:g}"}, is_clueless
