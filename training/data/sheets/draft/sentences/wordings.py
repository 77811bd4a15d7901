"""Wordings of a first draft: what a tool does, in the forms in which people ask."""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path

from alpha_umi.training.data.sheets.draft.english import get_said, is_plural, make_gerund, make_participle, read_verbs
from alpha_umi.training.data.sheets.draft.sentences.phrase import DraftPhrase
from alpha_umi.training.data.sheets.draft.slots import DraftSlot
from alpha_umi.training.data.sheets.load import PlainLoader
from alpha_umi.training.data.sheets.wording import SLOT
from alpha_umi.yaml_files import read_yaml

_N_WORDINGS = 8
_MAX_OPTIONAL = 8
_MAX_CLUELESS = 2
_MAX_OPTIONAL_SAID = 2
_MAX_IN_WORDS = 6
_MAX_IN_A_SENTENCE = 5
_FRONT = re.compile(r" (?:on|in|at|for|from) (?:the )?\{[\w.\-]+\}")
_ASKED = ("look", "list", "find", "check", "compute")
_MOVABLE = (" on ", " at ", " for ", " in ")
_FRONTED = ("{vp}", "Could", "I'd", "I need", "Can")


@cache
def _forms() -> Mapping[str, Sequence[str]]:
    forms: Mapping[str, Sequence[str]] = read_yaml(
        Path(__file__).with_name("wordings.yaml"), loader_type=PlainLoader
    ).values
    return forms


def choose_slots(slots: Sequence[DraftSlot]) -> list[DraftSlot]:
    """Return the values that a first sheet says: those that the tool needs, and of the others those that people say."""
    optional = [slot for slot in slots if slot.is_optional and slot.label.lower() not in _forms()["unsaid"]]
    optional.sort(key=lambda slot: (slot.is_clueless, slot.path.count(".")))
    clear, vague = [slot for slot in optional if not slot.is_clueless], [slot for slot in optional if slot.is_clueless]
    chosen = [*clear, *vague[:_MAX_CLUELESS]][:_MAX_OPTIONAL]
    groups = {slot.group for slot in chosen if slot.group}
    kept = {slot.path for slot in optional if slot in chosen or slot.group in groups}
    return [slot for slot in slots if not slot.is_optional or slot.path in kept]


def find_shape(wording: str) -> str:
    """Return a wording without what does not tell it from others: the names of its slots, signs and capitals."""
    return re.sub(r"[^\w{}]+", " ", SLOT.sub("{}", wording)).strip().lower()


def make_wordings(
    phrase: DraftPhrase, slots: Sequence[DraftSlot], rng: random.Random, taken: Collection[str] = ()
) -> list[str]:
    """Return ways to ask for a tool, each with all values that it needs.

    Args:
        phrase: What it does.
        slots: The values that are said.
        rng: Chooses which forms and optional values go together.
        taken: Shapes of other tools' wordings, which are passed over, see `find_shape`.
    """
    wordings = _WordingMaker(phrase, slots, rng, taken).make()
    return [wording for wording in wordings if find_shape(wording) not in taken]


class _WordingMaker:
    def __init__(
        self, phrase: DraftPhrase, slots: Sequence[DraftSlot], rng: random.Random, taken: Collection[str]
    ) -> None:
        self._taken = taken
        self._phrase = phrase
        self._rng = rng
        tails = {slot.path: phrase.tails[slot.path] for slot in slots if slot.path in phrase.tails}
        by_path = {slot.path: slot for slot in slots}
        self._labels = {slot.path: slot.label for slot in slots}
        self._required = _sort_tails(
            {path: tail for path, tail in tails.items() if not by_path[path].is_optional}, by_path
        )
        self._optional = _group_tails(
            _sort_tails({path: tail for path, tail in tails.items() if by_path[path].is_optional}, by_path), by_path
        )
        self._said: set[str] = set()

    def make(self) -> list[str]:
        if len(self._required) > _MAX_IN_WORDS:
            return self._make_long_forms()
        wordings: list[str] = []
        shapes: set[str] = set(self._taken)
        for number, form in enumerate(self._list_forms()):
            text = self._fill(form, number)
            shape = find_shape(text)
            if shape not in shapes:
                shapes.add(shape)
                wordings.append(text)
            if len(wordings) == _N_WORDINGS:
                break
        if len(self._required) > 1 and not self._phrase.is_clause and self._phrase.noun:
            wordings = [*wordings[: _N_WORDINGS - 1], self._make_form()]
        return wordings

    def _list_forms(self) -> list[str]:
        """Return forms in the order in which they are tried: of the verb's own and of those for all verbs in turn."""
        phrase, forms = self._phrase, _forms()
        if phrase.is_foreign:
            return [*forms["foreign"]]
        if not phrase.thing:
            return [*forms["find nothing" if phrase.kind == "find" else "nothing"]]
        own = [*forms[self._find_name()]]
        if phrase.is_clause and phrase.kind not in _ASKED:
            return [*forms["any"]]
        if phrase.kind in ("look", "list", "check") and (phrase.is_clause or phrase.kind != "check"):
            return own
        any_form = [*forms["any"][:1], *self._rng.sample(forms["any"][1:], len(forms["any"]) - 1)]
        mixed = [form for pair in zip(any_form, own, strict=False) for form in pair]
        mixed += [form for form in (*own, *any_form) if form not in mixed]
        return [form for form in mixed if "{alt}" not in form or get_said(phrase.verb) in read_verbs()["also"]]

    def _find_name(self) -> str:
        phrase = self._phrase
        if phrase.is_clause:
            return "check clause"
        if phrase.kind == "look":
            return "look entity" if phrase.is_entity or not phrase.thing.startswith("the ") else "look fact"
        if phrase.kind == "find":
            return (
                "find several"
                if is_plural(phrase.thing.split()[-1]) or is_plural(phrase.noun.split()[0])
                else "find one"
            )
        if phrase.kind == "compute":
            is_sum = phrase.verb in (
                "calculate",
                "compute",
                "estimate",
                "predict",
                "forecast",
                "measure",
                "sum",
                "average",
            )
            return "compute fact" if is_sum and phrase.thing.startswith("the ") else "do"
        if phrase.kind == "make" and phrase.thing.startswith("{"):
            return "do"
        if phrase.kind == "make":
            return "make wanted" if get_said(phrase.verb) in _forms()["wanted_verbs"] else "make told"
        return phrase.kind

    def _fill(self, form: str, number: int) -> str:
        phrase = self._phrase
        verb = get_said(phrase.verb)
        thing, bracketed = self._choose_thing(form, number)
        pieces = self._list_tails(number, bracketed=bracketed)
        front = ""
        if number % 4 == 3 and pieces and _FRONT.fullmatch(pieces[0]) and form.startswith(_FRONTED) and thing:
            front = f"{pieces.pop(0).strip()}, "
        tails = phrase.fixed + "".join(pieces)
        also = read_verbs()["also"].get(verb) or [verb]
        plural_thing = is_plural(phrase.counted) and not phrase.is_entity
        filled = {
            "{vp}": _join(verb, thing),
            "{alt}": _join(also[number % len(also)], thing),
            "{thing}": thing,
            "{bare}": re.sub(r"^(?:an?|the|all|your|my) ", "", thing) or verb,
            "{t}": tails,
            "{done}": make_participle(verb),
            "{ing}": make_gerund(verb),
            "{verb}": verb,
            "{is}": "are" if plural_thing or " and " in phrase.noun.split(" of ")[0] else "is",
            "{has}": "have" if plural_thing else "has",
            "{gets}": "get" if plural_thing else "gets",
            "{it}": "them" if plural_thing else "it",
        }
        text = re.sub(r"\{(?:vp|alt|thing|bare|t|done|ing|verb|is|has|gets|it)\}", lambda match: filled[match[0]], form)
        text = front + (text if not front else text[:1].lower() + text[1:] if not text.startswith("I") else text)
        return _finish(text, ends=form.endswith((".", "?")))

    def _choose_thing(self, form: str, number: int) -> tuple[str, bool]:
        """Return the thing, in some wordings so that the value that it is named by may be left out."""
        phrase = self._phrase
        is_open = bool(phrase.open_thing) and number % 3 == 1 and "{bare}" not in form
        return (phrase.open_thing, True) if is_open else (phrase.thing, False)

    def _list_tails(self, number: int, *, bracketed: bool) -> list[str]:
        """Return the other values: those that are needed, one of them in brackets now and then, and some others."""
        required = list(self._required.items())
        loose = [i for i, (_, tail) in enumerate(required) if not tail.startswith((":", ","))]
        free = [i for i in loose if required[i][1].startswith(_MOVABLE)]
        if len(free) > 1 and number % 2:
            i, j = free[0], free[-1]
            required[i], required[j] = required[j], required[i]
        may_lack = (
            loose[(number // 2) % len(loose)] if loose and number % 2 and not bracketed and len(required) <= 6 else -1
        )
        pieces = [(tail, i == may_lack) for i, (_, tail) in enumerate(required)]
        fresh = [path for path in self._optional if path not in self._said] or self._rng.sample(
            list(self._optional), len(self._optional)
        )
        room = max(1, _MAX_IN_A_SENTENCE - len(required))
        chosen = fresh[: min(_MAX_OPTIONAL_SAID, room)]
        self._said.update(chosen)
        pieces += [(tail, True) for path, tail in self._optional.items() if path in chosen]
        return _join_tails(pieces)

    def _make_long_forms(self) -> list[str]:
        """Return wordings for a tool that needs more than a sentence holds."""
        phrase = self._phrase
        act = _join(get_said(phrase.verb), phrase.thing) + phrase.fixed
        paths = SLOT.findall("".join(self._required.values()))
        values = "".join(f", {self._labels[path]} {{{path}}}" for path in paths).removeprefix(", ")
        pieces = [f"[, {tail.strip(' ,:')}]" for tail in self._optional.values()]
        forms = [f"{act}: {values}", f"I need to {act}. {values}", f"Could you {act} with this: {values}"]
        forms.append(f"Here is what you need to {act}: {values}")
        return [_finish(text + "".join(pieces), ends=True) for text in forms]

    def _make_form(self) -> str:
        """Return a wording as on a form: ``Haircut: barber {barber}, day {day}``."""
        noun = self._phrase.noun
        thing = re.sub(r"\[[^\]]*\]", "", self._phrase.thing)
        paths = SLOT.findall("".join([thing, self._phrase.fixed, *self._required.values()]))
        values = ", ".join(f"{self._labels.get(path, path)} {{{path}}}" for path in paths)
        verb = (
            f"{get_said(self._phrase.verb)} "
            if self._phrase.kind not in ("look", "list", "find", "compute", "make")
            else ""
        )
        return _finish(f"{verb}{noun}: {values}", ends=False)


def _join_tails(pieces: Sequence[tuple[str, bool]]) -> list[str]:
    """Put tails in a row, the bracketed ones in brackets: "with …" only once, a long text last."""
    first = [piece for piece in pieces if not piece[0].startswith((" with ", ":", ","))]
    withs = sorted((piece for piece in pieces if piece[0].startswith(" with ")), key=lambda piece: piece[1])
    last = sorted(
        (piece for piece in pieces if piece[0].startswith((":", ","))), key=lambda piece: piece[0].startswith(":")
    )
    joined: list[tuple[str, bool]] = []
    for i, (tail, loose) in enumerate(withs):
        joint = " and" if i == len(withs) - 1 or loose else ","
        joined.append((f"{joint} {tail.removeprefix(' with ')}" if i and not withs[0][1] else tail, loose))
    return [f"[{tail}]" if loose else tail for tail, loose in (*first, *joined, *last)]


def _group_tails(tails: Mapping[str, str], slots: Mapping[str, DraftSlot]) -> dict[str, str]:
    """Join the tails of the parts of one object, which are said together."""
    joined: dict[str, str] = {}
    for path, tail in tails.items():
        key = slots[path].group or path
        joined[key] = joined.get(key, "") + tail
    return joined


def _sort_tails(tails: Mapping[str, str], slots: Mapping[str, DraftSlot]) -> dict[str, str]:
    """Put long texts last, and what follows a comma behind what has a preposition."""
    return dict(
        sorted(
            tails.items(),
            key=lambda item: (item[1].startswith(":"), slots[item[0]].kind == "text", item[1].startswith(",")),
        )
    )


def _join(verb: str, thing: str) -> str:
    """Return verb and thing: ``give me``, but ``call off the order``."""
    return f"{verb} {thing}".strip()


def _finish(text: str, *, ends: bool) -> str:
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r"\ba (?=[aeio]\w)", "an ", text)
    if ends and not text.endswith((".", "?", "!")):
        text = f"{text}."
    return text[:1].upper() + text[1:] if not text.startswith(("{", "[")) else text


def make_follow_ups(phrase: DraftPhrase, slots: Sequence[DraftSlot]) -> list[str]:
    """Return ways to ask for the same with another value."""
    needed = [
        slot for slot in slots if not slot.is_optional and slot.kind in ("proper", "id") and not slot.path.count(".")
    ]
    if not needed:
        return []
    first = needed[0]
    if first.kind == "id":
        value = f"{first.noun or phrase.head} {first.slot}".strip()
        return [f"And {value}?", _finish(f"{value} as well", ends=True)]
    tail = phrase.tails.get(first.path, f" for {first.slot}")
    tail = tail if not tail.startswith((":", ",")) else f" for {first.slot}"
    return [f"And{tail}?", f"The same{tail}, please."]
