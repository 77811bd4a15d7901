"""What values of an argument look like, guessed from its name, its schema, and the examples in its description."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

from alpha_umi.training.data.sheets.draft.english import is_plural, singular
from alpha_umi.training.data.sheets.load import PlainLoader, load_common
from alpha_umi.yaml_files import read_yaml

ValueKind: TypeAlias = Literal["plain", "proper", "id", "count", "text"]
ID_WORDS = frozenset(
    {"id", "ids", "number", "no", "nr", "num", "code", "ref", "reference", "key", "uuid", "guid", "sid", "slug"}
    | {"identifier", "handle", "nummer", "nbr", "token", "sha", "hash", "arn"}
)
CLUELESS = ("alpha", "north", "blue", "classic", "summer", "standard")
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
_ABOUT = dict.fromkeys(("look", "compute", "check", "list", "find"), " for {label} {}")
_UNIT_WORDS = {"c": "degrees", "eur": "euros", "usd": "dollars", "h": "hours", "min": "minutes", "s": "seconds"}
_DOER = re.compile(r"[a-z]{2}(?:er|or|ist|eer)$")
_NO_DOERS = frozenset(
    {"number", "order", "printer", "counter", "color", "floor", "sensor", "paper", "letter", "river", "tower", "router"}
    | {"server", "container", "folder", "header", "offer", "transfer", "filter", "motor", "door", "error", "sector"}
    | {"monitor", "layer", "center", "parameter", "character", "power", "water", "computer", "charger", "trailer"}
    | {"poster", "sticker", "locker", "register", "newsletter", "chapter", "list", "indicator", "factor", "vector"}
    | {"cluster", "identifier", "modifier", "operator", "separator", "delimiter", "selector", "iterator", "cursor"}
    | {"placeholder", "trigger", "buffer", "adapter", "connector", "other", "corner", "border", "quarter", "meter"}
    | {"trackers", "tracker", "scanner", "helper", "wrapper", "parser", "marker", "layer", "dinner", "master", "exist"}
)
_NAMES = ["Riverside", "Blue Team", "Spring Plan", "Northwind", "Night Shift", "Sunday Club"]
_UNITS = frozenset(
    {
        "c",
        "cm",
        "mm",
        "m",
        "km",
        "kg",
        "g",
        "mg",
        "ml",
        "l",
        "eur",
        "usd",
        "gbp",
        "pct",
        "percent",
        "days",
        "hours",
        "h",
    }
    | {"min", "minutes", "seconds", "s", "ms", "mb", "gb", "kwh", "watts"}
)
MEASURES = frozenset({"kilograms", "kilos", "grams", "liters", "litres", "kg", "g", "ml", "percent", "pieces"})
_DATED = ("date", "past date", "recent date", "time", "datetime")
_EXAMPLES = re.compile(
    r"(?:e\.\s?g\.,?|for example,?|for instance,?|such as|examples?:|like|z\.\s?B\.|one of:?|either)\s*(.+)",
    re.IGNORECASE | re.DOTALL,
)
_QUOTED = re.compile(r"""(?<!\w)(?:'([^'\n]{1,40})'|"([^"\n]{1,40})"|`([^`\n]{1,40})`)(?!\w)""")
_LISTED = re.compile(r"^([\w.+#&/ :-]{1,30}?)(?:\s*(?:,|\bor\b|\band\b|\boder\b|$|[.;)(]))")
_NUMBER_OF = re.compile(
    r"(?:the |its |our )?(?:unique )?(?:number|id|identifier|code|reference)\b(?! of (?!(?:the|a|an) ))", re.IGNORECASE
)
_BETWEEN = re.compile(r"(?:between|from)?\s*(-?\d+(?:\.\d+)?)\s*(?:and|to|-|–|\.\.|bis)\s*(-?\d+(?:\.\d+)?)")


@dataclass(frozen=True, slots=True)
class ValueGuess:
    """What a sheet says of a value, and how it stands in a sentence; see ``values.yaml`` for the fields."""

    values: Mapping[str, Any]
    kind: ValueKind = "plain"
    noun: str = ""
    tail: str = " with {label} {}"
    tails: Mapping[str, str] = field(default_factory=lambda: _ABOUT)
    what: str = ""
    is_clueless: bool = False
    has_rule: bool = False


@cache
def _rules() -> Mapping[tuple[str, ...], Sequence[Mapping[str, Any]]]:
    rules: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for rule in read_yaml(Path(__file__).with_name("values.yaml"), loader_type=PlainLoader).values:
        for words in rule["words"]:
            rules.setdefault(_normalize(words.split()), []).append(rule)
    return rules


def _normalize(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(singular(word.lower()) for word in words)


def find_json_type(node: Mapping[str, Any]) -> str:
    """Return the type of a value in a schema; the first that is not null."""
    kinds = node.get("type")
    kind = next((each for each in kinds if each != "null"), None) if isinstance(kinds, list) else kinds
    if kind is None and ("enum" in node or "const" in node):
        return "string"
    return str(kind or "string")


def guess_value(words: Sequence[str], node: Mapping[str, Any], context: Set[str]) -> ValueGuess | None:
    """Return what a value looks like, None if none is known that the schema takes.

    Args:
        words: Of its name.
        node: Its schema.
        context: Words of the tool, in the singular.
    """
    kind = find_json_type(node)
    rule = _find_rule(words, kind, node, context) if not _is_told_id(words, kind, node) else None
    if rule and rule["from"] == _NAMES and context & _person_words():
        rule = {**rule, "from": "person", "tail": " for {}", "what": "for whom it is"}
    base = (
        _from_rule(rule)
        if rule
        else _guess_id(words, kind, is_told=_is_told_id(words, kind, node)) or _guess_plain(words, kind)
    )
    if "enum" in node or "const" in node:
        options = node.get("enum", [node.get("const")])
        are_names = all(isinstance(each, str) and each[:1].isupper() and each[1:3].islower() for each in options)
        base = base if rule else ValueGuess({})
        kind_said: ValueKind = "proper" if are_names or base.kind == "proper" else "plain"
        return _replace(base, values={}, is_clueless=False, kind=kind_said)
    source = _find_source(base, kind, node, has_rule=rule is not None)
    if source is None:
        return None
    values, is_clueless = source
    options = values.get("from")
    if (
        rule is None
        and isinstance(options, list)
        and base.kind != "text"
        and all(len(str(option)) < 3 for option in options)
    ):
        return _replace(base, values=values, is_clueless=is_clueless, kind="id", noun=base.noun or " ".join(words))
    return _replace(base, values=values, is_clueless=is_clueless)


def _replace(guess: ValueGuess, **changes: Any) -> ValueGuess:
    return ValueGuess(**{name: changes.get(name, getattr(guess, name)) for name in ValueGuess.__slots__})


def _find_rule(
    words: Sequence[str], kind: str, node: Mapping[str, Any], context: Collection[str]
) -> Mapping[str, Any] | None:
    plain = _normalize(words)
    for first in range(len(plain)):
        if first and first == len(plain) - 1 and (len(plain[first]) == 1 or _measured(words)):
            return None  # nozzle_c is no third operand, infill_percent no percentage alone
        rules = _rules().get(plain[first:], ())
        fitting = [
            rule for rule in rules if _fits(rule, kind, node) and not ("when" in rule and not _is_near(rule, context))
        ]
        if fitting:
            return max(fitting, key=lambda rule: "when" in rule)
        if first == 0 and plain[-1] in ID_WORDS and len(plain) > 1:
            return None
    return None


def _is_near(rule: Mapping[str, Any], context: Collection[str]) -> bool:
    return any(word in context for word in rule["when"])


def _fits(rule: Mapping[str, Any], kind: str, node: Mapping[str, Any]) -> bool:
    if "type" in rule and rule["type"] != ("integer" if kind == "number" else kind):
        return False
    if "enum" in node:
        return True
    is_number = isinstance(rule["from"], str) and rule["from"].startswith(("int ", "decimal "))
    if kind in ("integer", "number"):
        numbers = isinstance(rule["from"], list) and all(isinstance(value, int) for value in rule["from"])
        return numbers or (is_number and (kind == "number" or rule["from"].startswith("int ")))
    return True


def _from_rule(rule: Mapping[str, Any]) -> ValueGuess:
    return ValueGuess(
        {"from": rule["from"]},
        rule.get("kind", "plain"),
        rule.get("noun", ""),
        rule.get("tail", " with {label} {}"),
        rule.get("tails", {}),
        rule.get("what", ""),
        has_rule=True,
    )


def _measured(words: Sequence[str]) -> bool:
    return len(words) > 1 and words[-1].lower() in _UNITS


def _is_told_id(words: Sequence[str], kind: str, node: Mapping[str, Any]) -> bool:
    """Tell whether a value is a number that names a thing, as its description says: "Number of the lesson."."""
    if words == ("number",) and kind == "string" and "enum" not in node:
        return True
    told = _NUMBER_OF.match(str(node.get("description") or ""))
    return told is not None and len(words) == 1 and "enum" not in node


@cache
def _person_words() -> frozenset[str]:
    return frozenset(
        word for words, rules in _rules().items() for word in words if len(words) == 1 and rules[0]["from"] == "person"
    )


def _guess_id(words: Sequence[str], kind: str, *, is_told: bool) -> ValueGuess | None:
    if _measured(words) and kind in ("integer", "number"):
        rest, unit = " ".join(words[:-1]), words[-1]
        tail = f" with {rest} {{}} {_UNIT_WORDS.get(unit.lower(), unit)}"
        return ValueGuess({"from": "int 2..40"}, noun=rest, tail=tail, tails={}, what=f"the {rest}")
    if words[-1].lower() not in ID_WORDS and not is_told:
        return None
    named = words[:-1] if words[-1].lower() in ID_WORDS else words
    core = [word for word in named if word.lower() not in ("unique", "the", "of")]
    label = " ".join(words)
    if kind in ("integer", "number"):
        return ValueGuess({"from": "int 100..9999"}, "id", " ".join(core), what=f"the {label}")
    letters = "".join(word[:1] for word in core) if len(core) > 1 else (core[0][:2] if core else "N")
    prefix = re.sub(r"[^A-Z]", "", letters.upper()) or "N"
    return ValueGuess({"from": f"id {prefix}-####"}, "id", " ".join(core), what=f"the {label}")


def _guess_plain(words: Sequence[str], kind: str) -> ValueGuess:
    if kind == "integer" and is_plural(words[-1]):
        return ValueGuess({"from": "int 2..12"}, "count", tail=" with {} {noun}", tails={}, what="how many {noun}")
    if kind == "string" and _DOER.search(words[-1].lower()) and words[-1].lower() not in _NO_DOERS:
        return ValueGuess({"from": "person"}, "proper", tail=" for {}", tails={}, what=f"which {words[-1]}")
    sources = {"integer": "int 2..20", "number": "decimal 1..90"}
    return ValueGuess({"from": sources.get(kind, list(CLUELESS))}, is_clueless=True)


def _find_source(
    base: ValueGuess, kind: str, node: Mapping[str, Any], *, has_rule: bool
) -> tuple[Mapping[str, Any], bool] | None:
    """Return ``from`` as the schema and its examples have it, and whether nothing told what it looks like."""
    if kind in ("integer", "number"):
        return _bound(base, kind, node, has_rule=has_rule)
    text = str(node.get("description") or "")
    source: Any = base.values["from"]
    is_clueless = base.is_clueless
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
    elif examples and (is_clueless or len(examples) > 2 or base.kind == "id"):
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
    base: ValueGuess, kind: str, node: Mapping[str, Any], *, has_rule: bool
) -> tuple[Mapping[str, Any], bool] | None:
    """Keep a range within what the schema and its description allow."""
    source, is_clueless = base.values["from"], base.is_clueless
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
    if low is not None and high is not None and (base.is_clueless or start < low or end > high):
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
