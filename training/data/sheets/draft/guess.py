"""What values of an argument look like, guessed from its name and its schema."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

from alpha_umi.training.data.sheets.draft.english import is_plural, singular
from alpha_umi.training.data.sheets.draft.told import fit_source
from alpha_umi.training.data.sheets.load import PlainLoader
from alpha_umi.yaml_files import read_yaml

ValueKind: TypeAlias = Literal["plain", "proper", "id", "count", "text"]
ID_WORDS = frozenset(
    {"id", "ids", "number", "no", "nr", "num", "code", "ref", "reference", "key", "uuid", "guid", "sid", "slug"}
    | {"identifier", "handle", "nummer", "nbr", "token", "sha", "hash", "arn"}
)
CLUELESS = ("alpha", "north", "blue", "classic", "summer", "standard")
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
_NUMBER_OF = re.compile(
    r"(?:the |its |our )?(?:unique )?(?:number|id|identifier|code|reference)\b(?! of (?!(?:the|a|an) ))", re.IGNORECASE
)


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


def find_id_core(words: Sequence[str]) -> list[str] | None:
    """Return the words that say what an id is of; None if the words name no id.

    Example:
        >>> [find_id_core(words) for words in (["order", "ID"], ["number"], ["day"])]
        [['order'], [], None]
    """
    if not words or words[-1].lower() not in ID_WORDS:
        return None
    return [singular(word.lower()) for word in words[:-1] if word.lower() not in ID_WORDS]


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
    source = fit_source(
        base.values["from"],
        kind,
        node,
        is_clueless=base.is_clueless,
        is_id=base.kind == "id",
        has_rule=rule is not None,
    )
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
