"""The values that a tool takes, each with a guess of what it looks like and how people say it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from alpha_umi.tools.names import split_name
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.tools.spec.schema import make_lookup
from alpha_umi.training.data.sheets.draft.english import is_verb, make_gerund, plural, read_verbs, singular
from alpha_umi.training.data.sheets.draft.guess import ID_WORDS, MEASURES, ValueGuess, find_json_type, guess_value
from alpha_umi.training.data.sheets.reference import unfold

SlotKind: TypeAlias = Literal["plain", "proper", "id", "count", "text", "bool"]
_MAX_DEPTH = 6
_MAX_SAID = 12
_LINKS = {"with", "has", "have", "is", "are", "include", "includes", "including", "allow", "needs", "want", "wants"}
_MARKS = frozenset({"only", "all", "also"})


@dataclass(frozen=True)
class DraftSlot:
    """One value of a tool.

    Args:
        path: Its place among the arguments: ``address.street``.
        words: The words of its name: ``["order", "ID"]``.
        is_optional: Whether it may be left out.
        values: What the sheet says of it: ``from``, ``say``, ``what``, ``items``, ``count``.
        kind: How it stands in a sentence.
        noun: What it is called: ``order``, ``order number``.
        tail: How it ends a sentence; ``{}`` is the value.
        tails: The same beside verbs of some kind.
        is_clueless: Whether nothing told what its values look like.
        is_listed: Whether the tool lists its values, and its name says no more of them.
        group: The optional object that it is a needed part of; its parts are said together.
    """

    path: str
    words: tuple[str, ...]
    is_optional: bool
    values: Mapping[str, Any]
    kind: SlotKind
    noun: str
    tail: str
    tails: Mapping[str, str] = field(default_factory=dict)
    is_clueless: bool = False
    is_listed: bool = False
    group: str = ""

    @property
    def is_countable(self) -> bool:
        """Whether a number may stand before it: "3 light bulbs"."""
        first = self.values.get("from")
        return self.kind == "proper" and isinstance(first, list) and "light bulbs" in first

    @property
    def label(self) -> str:
        """The name in words: ``order ID``."""
        return " ".join(self.words)

    @property
    def slot(self) -> str:
        """The value in a wording: ``{day}``."""
        return f"{{{self.path}}}"

    def render_tail(self, verb_kind: str) -> str:
        """Return how it ends a sentence: `` on {day}``."""
        return self.tails.get(verb_kind, self.tail).replace("{}", self.slot)


@dataclass(frozen=True, slots=True)
class ToolSlots:
    """What a tool takes: what can be said, and what cannot: path and why."""

    said: tuple[DraftSlot, ...]
    unsaid: Mapping[str, str]
    required_unsaid: tuple[str, ...]


def read_slots(spec: ToolSpec) -> ToolSlots:
    """Return the values that a tool takes, in its order."""
    reader = _SlotReader(spec)
    said = _tell_labels_apart(list(reader.read(spec.parameters, "", is_optional=False)))
    required = [path for path in reader.unsaid if path in reader.required]
    return ToolSlots(tuple(said), reader.unsaid, tuple(required))


def _tell_labels_apart(slots: list[DraftSlot]) -> list[DraftSlot]:
    """Put the object's name before the label of a value where another value has the same."""
    labels = [slot.words for slot in slots]
    told = []
    for slot in slots:
        if labels.count(slot.words) > 1 and "." in slot.path:
            outer = slot.path.rpartition(".")[0].rpartition(".")[2]
            words = (*split_name(outer), *slot.words)
            slot = replace(slot, words=words, noun=" ".join(words), tail=f" with {' '.join(words)} {{}}", tails={})
        told.append(slot)
    return told


class _SlotReader:
    def __init__(self, spec: ToolSpec) -> None:
        self.unsaid: dict[str, str] = {}
        self.required: set[str] = set()
        self._lookup = make_lookup(spec.parameters)
        self._context = {
            singular(word.lower()) for word in [*split_name(spec.name), *re.findall(r"\w+", spec.description[:200])]
        }

    def read(
        self, schema: Mapping[str, Any], prefix: str, *, is_optional: bool, group: str = "", depth: int = 0
    ) -> Iterator[DraftSlot]:
        needed = schema.get("required", ())
        for name, node in (schema.get("properties") or {}).items():
            path, node = f"{prefix}{name}", self._unfold(node)
            optional = is_optional or name not in needed
            if group and name not in needed:
                continue  # what else an optional object may hold is not said
            if not optional:
                self.required.add(path)
            if not re.fullmatch(r"[\w\-]+", name):
                self.unsaid[path] = "its name has signs that no wording can hold"
            elif node.get("properties") and depth < _MAX_DEPTH:
                inner = group or (path if optional and node.get("required") else "")
                yield from self.read(node, f"{path}.", is_optional=optional, group=inner, depth=depth + 1)
            elif slot := self._read_one(path, name, node, optional):
                yield replace(slot, group=group)

    def _unfold(self, node: Any) -> Mapping[str, Any]:
        """Return what a reference means, with the description that stands beside it."""
        plain = unfold(node, self._lookup)
        told = node.get("description") if isinstance(node, Mapping) else None
        return {**plain, "description": told} if told else plain

    def _read_one(self, path: str, name: str, node: Mapping[str, Any], optional: bool) -> DraftSlot | None:
        words = tuple(split_name(name)) or (name,)
        if len(words) == 1 and words[0].lower() in ("name", "id", "number", "type") and "." in path:
            words = (*split_name(path.split(".")[-2]), *words)
        kind = find_json_type(node)
        if kind == "array":
            return self._read_list(path, words, node, optional)
        if kind == "object":
            self.unsaid[path] = "an object without named parts cannot be said in a sentence"
            return None
        if kind == "boolean":
            return _make_flag(path, words, node, optional)
        guess = guess_value(words, node, self._context)
        if guess is None:
            self.unsaid[path] = f"no value is known that fits the pattern {node.get('pattern')!r}"
            return None
        slot = _make_slot(path, words, optional, guess)
        return replace(slot, is_listed=not guess.has_rule and ("enum" in node or "const" in node))

    def _read_list(
        self, path: str, words: tuple[str, ...], node: Mapping[str, Any], optional: bool
    ) -> DraftSlot | None:
        items = self._unfold(node.get("items") or {})
        if items.get("properties"):
            return self._read_objects(path, words, items, optional)
        if find_json_type(items) in ("object", "array"):
            self.unsaid[path] = "a list of lists, or of objects without named parts, cannot be said in a sentence"
            return None
        one = (*words[:-1], singular(words[-1]))
        items = {"description": node.get("description", ""), **items}
        guess = guess_value(one, items, self._context)
        if guess is None:
            self.unsaid[path] = f"no value is known that fits the pattern {items.get('pattern')!r}"
            return None
        slot = _make_slot(path, words, optional, guess)
        low, high = max(1, int(node.get("minItems", 1))), int(node.get("maxItems", 3))
        inner = {key: value for key, value in guess.values.items() if key != "what"}
        values: dict[str, Any] = {"items": inner} if inner else {}
        if "enum" in items:
            high = min(high, len(items["enum"]))
        if (low, min(high, max(low, 3))) != (1, 3):
            values["count"] = [low, min(high, max(low, 3))]
        values |= {"what": f"which {' '.join(words)}"} if not optional else {}
        values = values or {"said": 0.5}
        tail = (
            slot.tail if slot.kind in ("proper", "plain") and "#" not in slot.noun else f" with {' '.join(words)} {{}}"
        )
        if slot.kind in ("text", "id", "count"):
            tail = f", {' '.join(words)} {{}}"
        return DraftSlot(
            path,
            words,
            optional,
            values,
            "plain" if slot.kind != "proper" else "proper",
            " ".join(words),
            tail,
            slot.tails,
            slot.is_clueless,
        )

    def _read_objects(
        self, path: str, words: tuple[str, ...], items: Mapping[str, Any], optional: bool
    ) -> DraftSlot | None:
        """Read a list of objects: what each of them needs is said, numbers first."""
        needed = items.get("required", ())
        parts = [each for each in self.read(items, "", is_optional=False, depth=_MAX_DEPTH) if not each.is_optional]
        parts = parts if needed else list(self.read(items, "", is_optional=False, depth=_MAX_DEPTH))[:2]
        if {*needed} - {part.path for part in parts} or not parts or any("items" in part.values for part in parts):
            self.unsaid[path] = "a list of objects with lists or objects in them cannot be said in a sentence"
            return None
        parts.sort(key=lambda part: (not _is_number(part), part.values.get("from") != "color"))
        said = [f"{part.slot} {part.words[-1]}" if part.words[-1] in MEASURES else part.slot for part in parts]
        is_short = len(parts) < 3 or (len(parts) == 3 and _is_number(parts[0]) and not any(map(_is_text, parts)))
        phrase = " ".join(said) if is_short else ", ".join(f"{part.label} {part.slot}" for part in parts)
        inner = {
            part.path: {key: value for key, value in part.values.items() if key != "what"}
            | ({"from": "int 2..12"} if part.label in ("amount", "quantity", "count") and _is_number(part) else {})
            or {"said": 0.5}
            for part in parts
        }
        values: dict[str, Any] = {"items": {"words": [phrase], "properties": inner}}
        values |= {"what": f"which {' '.join(words)}"} if not optional else {}
        is_clueless = any(part.is_clueless for part in parts)
        return DraftSlot(path, words, optional, values, "proper", " ".join(words), " of {}", {}, is_clueless)


def _is_number(slot: DraftSlot) -> bool:
    return str(slot.values.get("from", "")).startswith(("int ", "decimal "))


def _is_text(slot: DraftSlot) -> bool:
    return slot.kind == "text"


def _make_slot(path: str, words: tuple[str, ...], optional: bool, guess: ValueGuess) -> DraftSlot:
    noun = guess.noun or " ".join(words)
    tail = guess.tail.replace("{label}", " ".join(words)).replace(
        "{noun}", _find_counted(words) if guess.kind == "count" else noun
    )
    tails = {
        kind: text.replace("{noun}", noun).replace("{label}", " ".join(words)) for kind, text in guess.tails.items()
    }
    noun_said = _find_counted(words) if guess.kind == "count" else noun
    what = guess.what.replace("{label}", " ".join(words)).replace("{noun}", noun_said) or f"the {' '.join(words)}"
    values = {**guess.values, **({"what": what} if not optional else {})} or {"said": 0.5}
    return DraftSlot(path, words, optional, values, guess.kind, noun, tail, tails, guess.is_clueless)


def _find_counted(words: Sequence[str]) -> str:
    """Return what a number counts: ``number of guests`` → guests, ``party size`` → people."""
    last = words[-1].lower()
    if last in ("size", "headcount", "capacity", "count") or last in ID_WORDS:
        return "people"
    return plural(last)


def _make_flag(path: str, words: tuple[str, ...], node: Mapping[str, Any], optional: bool) -> DraftSlot:
    """Say a boolean: ``with_breakfast`` → "with breakfast", ``urgent`` → "urgent"."""
    first, *rest = [word.lower() if not word.isupper() else word for word in words]
    label = " ".join((first, *rest))
    if first in ("with", "include", "includes", "including", "has", "have", "needs", "add", "want", "wants") and rest:
        thing = " ".join(rest)
        yes, no = [f"with {thing}", f"including {thing}"], [f"without {thing}"]
    elif first in ("is", "are") and rest:
        yes, no = [" ".join(rest)], [f"not {' '.join(rest)}"]
    elif (
        first in ("allow", "enable", "use", "require", "requires", "skip", "ignore", "notify", "send", "show", "return")
        and rest
    ):
        yes, no = (
            [f"{make_gerund(first.removesuffix('s') if first == 'requires' else first)} {' '.join(rest)}"],
            [f"not {make_gerund(first)} {' '.join(rest)}"],
        )
    elif is_verb(first) and rest:
        yes, no = [f"and {label}"], [f"but do not {label}"]
    elif rest and (rest[-1].endswith("ed") or rest[-1] in read_verbs()["participles"].values()):
        yes, no = [label], [" ".join([first, *rest[:-1], "not", rest[-1]])]
    elif first in ("on", "enabled", "active", "open", "visible", "public", "available", "state", "power"):
        pairs = {
            "on": "off",
            "enabled": "disabled",
            "active": "inactive",
            "open": "closed",
            "visible": "hidden",
            "public": "private",
        }
        yes, no = [first if first in pairs else "on"], [pairs.get(first, "off")]
    elif re.search(rf"\bonly {re.escape(label)}\b", str(node.get("description", "")), re.IGNORECASE):
        yes, no = [f"only {label} ones"], [f"not only {label} ones"]
    elif (
        _MARKS.intersection(words)
        or first.endswith(("ed", "ly", "ent", "able", "less", "ible", "way", "ic", "al", "ous", "ive"))
        or first.startswith("non")
    ):
        yes, no = [label], [f"not {label}"]
    else:
        yes, no = [f"with {label}"], [f"without {label}"]
    values: dict[str, Any] = {"say": {True: yes[0] if len(yes) == 1 else yes, False: no[0]}, "what": f"whether {label}"}
    if optional:
        is_on = node.get("default") is True
        values = {"say": {False: no[0]} if is_on else {True: values["say"][True]}}
    return DraftSlot(path, tuple(words), optional, values, "bool", label, ", {}")
