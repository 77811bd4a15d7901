"""What a tool does, in words: read from its description, or from its name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.sheets.draft.english import (
    VerbKind,
    find_kind,
    plural,
    singular,
)
from alpha_umi.training.data.sheets.draft.sentences.describe import (
    CLAUSE,
    PREPOSITIONS,
    is_foreign,
    read_description,
    read_name,
)
from alpha_umi.training.data.sheets.draft.sentences.nouns import (
    VAGUE,
    cut_at_prepositions,
    drop_states,
    find_core,
    put_determiner,
    strip_list_of,
    strip_noun,
)
from alpha_umi.training.data.sheets.draft.slots import DraftSlot

_KEPT = frozenset({"for", "in", "at", "from", "to", "with", "on", "of", "into", "about", "near"})
_ALIKE = (
    {"place", "location", "town", "city"},
    {"individual", "person", "someone"},
    {"item", "product", "article"},
    {"text", "message", "body", "content"},
    {"query", "text", "keyword", "term", "phrase", "word", "string", "q"},
)
_ONE_OF = r"\b(?:an?|the|this|given|specified|your|which)(?: \w+)? "
_SUMS = frozenset({"money", "amount", "sum", "funds", "cash"})
_OPENED = frozenset({"open", "start", "launch", "take", "put up"})
_KINDS = frozenset({"kind", "type", "style"})


@dataclass(slots=True)
class DraftPhrase:
    """What a tool does.

    Args:
        verb: In its base form: ``book``, ``turn on``.
        kind: What the verb does.
        noun: What it is done to, without article and values: ``haircut``, ``status of an order``; may be empty.
        thing: The same as said, with the values that it names: ``a haircut``, ``the status of order {order_id}``.
        open_thing: The same so that a value may be left out: ``the order[ {order_id}]``; empty if it names none.
        head: The word that counts, in the singular: ``haircut``.
        counted: The noun that says whether there are several: ``terms`` of "terms of a contract".
        fixed: What belongs behind it in every sentence: `` to the catalogue``.
        tails: How further values end a sentence, by path; in the order in which they are said.
        is_clause: Whether `thing` is a clause: ``whether {domain} is free``.
        is_foreign: Whether the description is not in English.
    """

    verb: str
    kind: VerbKind
    noun: str
    thing: str
    open_thing: str = ""
    head: str = ""
    counted: str = ""
    fixed: str = ""
    tails: dict[str, str] = field(default_factory=dict)
    is_clause: bool = False
    is_foreign: bool = False

    @property
    def is_entity(self) -> bool:
        """Whether the thing is one that has a number or a name: ``order {order_id}``."""
        return bool(re.fullmatch(r"(?!the )(?:(?! of )[\w -])+ \{[^}]+\}", self.thing))


def read_phrase(spec: ToolSpec, slots: Sequence[DraftSlot], *, by_name: bool = False) -> DraftPhrase:
    """Return what a tool does, said with its values; with `by_name` the description does not count."""
    foreign = is_foreign(spec.description)
    named = read_name(spec)
    told = None if foreign or by_name else read_description(spec, named[0])
    verb, words = told or named
    builder = _PhraseBuilder(
        verb, words, list(slots), has_told=told is not None, is_prose=spec.description.rstrip().endswith(".")
    )
    phrase = builder.build()
    phrase.is_foreign = foreign
    return phrase


class _PhraseBuilder:
    """Puts the values of a tool into the words that name them."""

    def __init__(self, verb: str, words: list[str], slots: list[DraftSlot], *, has_told: bool, is_prose: bool) -> None:
        self._verb = verb
        self._words = words
        self._left = [slot for slot in slots if slot.kind != "bool"]
        self._slots = slots
        self._has_told = has_told
        self._is_prose = is_prose
        self._tails: dict[str, str] = {}
        self._said_prepositions: set[str] = set()

    def build(self) -> DraftPhrase:
        kind = find_kind(self._verb)
        words = self._words
        if self._has_told and _is_clause(words):
            return self._build_clause(words, kind)
        words, kind = strip_list_of(words, kind)
        chunks = cut_at_prepositions(words)
        noun = strip_noun(chunks[0][1])
        thing, opened = self._name_thing(chunks[0][1], noun, kind)
        thing = self._say_kind(self._say_sum(thing, singular(noun[-1]) if noun else ""), noun)
        kept: list[str] = []
        fixed = ""
        for preposition, part in chunks[1:]:
            told = self._take_part(preposition, part, kind, n_kept=len(kept))
            if told is None:
                break
            text, is_thing = told
            if is_thing and text and thing and (fixed or preposition not in ("of", "about")):
                fixed += text
                kept.append(f" {preposition} {' '.join(part)}")
            elif is_thing and text:
                thing = f"{thing}{text}"
                opened = f"{opened}{text}" if opened else ""
                kept.append(f" {preposition} {' '.join(part)}")
        full = " ".join([*noun, *"".join(kept).split()])
        head = singular(noun[-1]) if noun else ""
        if kind == "make" and self._verb in _OPENED and thing.startswith("the "):
            kind = "do"
        phrase = DraftPhrase(self._verb, kind, full, thing, opened, head, noun[-1] if noun else "", fixed)
        self._name_the_thing_itself(phrase, kind)
        phrase.tails = {**self._tails, **{slot.path: self._make_tail(slot, phrase) for slot in self._left}}
        phrase.tails |= {slot.path: slot.render_tail(kind) for slot in self._slots if slot.kind == "bool"}
        self._count_things(phrase)
        return phrase

    def _count_things(self, phrase: DraftPhrase) -> None:
        """Say a quantity before what is counted: ``{quantity} {product}``."""
        paths = {slot.path: slot for slot in self._slots if not slot.is_optional}
        same = next(
            (slot for slot in paths.values() if slot.kind == "count" and slot.words[-1] == phrase.counted), None
        )
        if same and same.path in phrase.tails and phrase.thing.startswith(phrase.counted):
            phrase.thing = f"{same.slot} {phrase.thing}"
            del phrase.tails[same.path]
        number = next(
            (
                path
                for path in paths
                if phrase.tails.get(path, "").startswith(", ") and paths[path].tail.endswith(" of them")
            ),
            None,
        )
        goods = next((slot for slot in paths.values() if slot.is_countable), None)
        if number is None or goods is None:
            return
        both = f"{{{number}}} {goods.slot}"
        if goods.slot in phrase.thing:
            phrase.thing = phrase.thing.replace(goods.slot, both)
        else:
            phrase.tails[goods.path] = phrase.tails[goods.path].replace(goods.slot, both)
        del phrase.tails[number]

    def _build_clause(self, words: list[str], kind: VerbKind) -> DraftPhrase:
        text = " ".join(["whether" if words[0].lower() == "if" else words[0].lower(), *words[1:16]])
        noun = text
        for slot in list(self._left):
            core = find_core(slot)
            found = (
                re.search(
                    rf"\b(?:an?|the|this|given|specified|your|which)(?: \w+)? {re.escape(' '.join(core))}\b", text
                )
                if core
                else None
            )
            if found and not slot.is_optional and slot.kind != "text" and "{" not in found[0]:
                is_bare = slot.kind == "proper" or slot.values.get("from") in ("date", "time", "datetime")
                is_bare = is_bare or slot.words[-1].lower() in ("year", "month", "quarter", "weekday")
                text = text.replace(found[0], slot.slot if is_bare else f"{slot.noun} {slot.slot}", 1)
                self._left.remove(slot)
        phrase = DraftPhrase(self._verb, kind, noun, text, is_clause=True)
        phrase.tails = {slot.path: self._make_tail(slot, phrase) for slot in self._left}
        phrase.tails |= {slot.path: slot.render_tail(kind) for slot in self._slots if slot.kind == "bool"}
        return phrase

    def _name_thing(self, words: list[str], noun: list[str], kind: VerbKind) -> tuple[str, str]:
        """Return the thing with the value that it is named by, and the same so that the value may be left out."""
        slot = self._find_slot(noun) if noun else None
        if slot is not None and not slot.is_optional and _is_said_by_noun(slot):
            self._left.remove(slot)
            plain = drop_states(noun)
            if slot.kind != "proper":
                return f"{plain} {slot.slot}", f"the {plain}[ {slot.slot}]"
            return _say_it(slot), ""
        possessed = self._name_owner(noun, kind)
        return possessed or put_determiner(words, noun, kind, has_told=self._has_told, is_prose=self._is_prose), ""

    def _name_owner(self, noun: Sequence[str], kind: VerbKind) -> str:
        """Return ``{name}'s licence class`` for "a pupil's licence class"; empty if nobody owns it."""
        owner = next((i for i, word in enumerate(noun) if word.endswith("'s")), -1)
        if owner < 0 or owner == len(noun) - 1:
            return ""
        name = noun[owner].removesuffix("'s")
        found = self._find_slot([name])
        bare = [
            slot
            for slot in self._left
            if not find_core(slot) and not slot.is_optional and slot.kind in ("id", "proper")
        ]
        slot = found or (bare[0] if bare else None)
        if slot is None or slot.is_optional:
            return ""
        self._left.remove(slot)
        rest = " ".join(noun[owner + 1 :])
        return f"{slot.slot}'s {rest}" if slot.kind == "proper" else f"the {rest} of {name} {slot.slot}"

    def _say_sum(self, thing: str, head: str) -> str:
        """Return ``{amount} {currency}`` where it is money that is moved."""
        by_name = {slot.words[-1].lower(): slot for slot in self._left if not slot.is_optional and len(slot.words) == 1}
        amount = by_name.get("amount") or by_name.get("sum")
        if head not in _SUMS or amount is None:
            return thing
        self._left.remove(amount)
        found = [slot for slot in self._left if slot.words[-1].lower() == "currency" and not slot.is_optional]
        currency = next((slot for slot in found if slot.words[0].lower() not in ("to", "target", "quote")), None)
        if currency is None:
            return amount.slot
        self._left.remove(currency)
        if currency.words[0].lower() != "currency":
            self._said_prepositions.add("from")
        return f"{amount.slot} {currency.slot}"

    def _say_kind(self, thing: str, noun: Sequence[str]) -> str:
        """Put a kind before its thing: ``a {kind} bike``."""
        for slot in self._left:
            if (
                noun
                and thing.endswith(noun[-1])
                and "{" not in thing
                and slot.words[-1].lower() in _KINDS
                and "items" not in slot.values
            ):
                core = [word for word in find_core(slot) if word not in _KINDS]
                if not core or core == [noun[-1]]:
                    self._left.remove(slot)
                    before = thing.removesuffix(" ".join(noun))
                    said = f"[{slot.slot} ]" if slot.is_optional else f"{slot.slot} "
                    return f"{before}{said}{' '.join(noun)}"
        return thing

    def _find_slot(self, noun: Sequence[str]) -> DraftSlot | None:
        """Return the value that a noun means."""
        plain = [singular(word.lower()) for word in noun]
        best: DraftSlot | None = None
        for slot in self._left:
            core = [singular(word) for word in find_core(slot)]
            is_same = plain[-len(core) :] == core or (
                len(core) == 1 and any({core[0], plain[-1]} <= alike for alike in _ALIKE)
            )
            if core and is_same and (best is None or len(core) > len(find_core(best))):
                best = slot
            elif core and len(core) > 1 and core[-1] == plain[-1] and len(plain) == 1 and best is None:
                best = slot if slot.kind == "id" else None
        return best

    def _take_part(self, preposition: str, part: list[str], kind: VerbKind, *, n_kept: int) -> tuple[str, bool] | None:
        """Return how a part with a preposition is said, and whether it belongs to the thing; None ends the phrase."""
        noun = strip_noun(part)
        if preposition in self._said_prepositions:
            return "", False
        if kind == "find" and preposition == "for" and noun and any(noun[-1] in alike for alike in _ALIKE[-2:]):
            slot = next((slot for slot in self._left if slot.kind == "text" and not slot.is_optional), None)
            return ("", False) if slot else None
        slot = self._find_directed(preposition) or (self._find_slot(noun) if noun else None)
        if slot is not None:
            self._left.remove(slot)
            if preposition not in _KEPT or slot.kind == "text" or (slot.kind == "plain" and not _is_said_by_noun(slot)):
                self._tails[slot.path] = slot.render_tail(kind)
            elif slot.kind == "id" and preposition == "by":
                self._tails[slot.path] = f" with {slot.label} {slot.slot}"
            elif slot.kind == "count":
                self._tails[slot.path] = f" {preposition} {slot.slot} {plural(noun[-1])}"
            else:
                said = _say_it(slot) if slot.kind == "proper" else f"{' '.join(noun)} {slot.slot}"
                if preposition == "of" and not slot.is_optional:
                    return f" of {said}", True
                self._tails[slot.path] = f" {preposition} {said}"
            return "", False
        is_vague = (
            any(word.lower() in VAGUE for word in part) or not noun or part[0].lower() in ("their", "its", "your")
        )
        if preposition not in _KEPT or (is_vague and preposition != "of"):
            return (
                None
                if preposition not in ("by", "using", "via", "given", "based", "with", "for", "in", "from", "between")
                else ("", False)
            )
        if n_kept >= 2 or len(part) > 4 or is_vague:
            return None
        return f" {preposition} {' '.join(part)}", True

    def _find_directed(self, preposition: str) -> DraftSlot | None:
        """Return the value whose name begins with the preposition: ``from_currency``."""
        if preposition not in ("from", "to"):
            return None
        words = {"from": ("from", "source", "origin", "sender"), "to": ("to", "target", "destination", "recipient")}[
            preposition
        ]
        return next((slot for slot in self._left if slot.words[0].lower() in words and slot.kind == "proper"), None)

    def _name_the_thing_itself(self, phrase: DraftPhrase, kind: VerbKind) -> None:
        """Put a mere ``id`` or ``name`` behind the thing: ``order {id}``, ``the status of order {id}``."""
        for slot in list(self._left):
            is_bare = not find_core(slot) and not slot.is_optional
            is_bare = is_bare and (slot.kind in ("id", "proper") or slot.words == ("number",))
            if not is_bare or not phrase.head or (kind == "make" or kind == "list") or "{" in phrase.thing:
                continue
            if kind == "change" and slot.kind == "proper":
                continue
            noun = phrase.noun if len(phrase.noun.split()) <= 3 and " of " not in f" {phrase.noun} " else phrase.head
            self._left.remove(slot)
            if re.search(r" of (?:an? |the )?[\w -]+$", phrase.thing):
                before, _, of = phrase.thing.rpartition(" of ")
                of = re.sub(r"^(?:an?|the) ", "", of)
                phrase.thing, phrase.open_thing = f"{before} of {of} {slot.slot}", f"{before} of the {of}[ {slot.slot}]"
            else:
                noun = drop_states([*noun.split()[:-1], singular(noun.split()[-1])])
                phrase.thing, phrase.open_thing = f"{noun} {slot.slot}", f"the {noun}[ {slot.slot}]"

    def _make_tail(self, slot: DraftSlot, phrase: DraftPhrase) -> str:
        if slot.kind != "id":
            if (
                slot.words[0].lower() in ("from", "to")
                and len(slot.words) > 1
                and slot.kind in ("proper", "plain")
                and slot.tail.startswith((" with", " in"))
            ):
                return f" {slot.words[0].lower()} {slot.slot}"
            tail = slot.render_tail(phrase.kind)
            is_moved = phrase.verb in ("move", "reschedule", "postpone", "shift") and tail.startswith(
                (" on {", " at {")
            )
            return f" to {slot.slot}" if is_moved else tail
        core = " ".join(find_core(slot)) or slot.noun
        preposition = "of" if phrase.kind in ("look", "compute", "list") and core != phrase.head else "for"
        if phrase.kind in ("change", "make", "send", "do") and slot.words[0].lower() in ("to", "target", "new"):
            preposition = "to"
        if not core or core == phrase.head:
            return f" with {slot.label} {slot.slot}"
        return f" {preposition} {core} {slot.slot}"


def _say_it(slot: DraftSlot) -> str:
    """Return a value that stands by itself: ``{city}``, ``the {lamp}``."""
    return f"the {slot.slot}" if "the {}" in slot.tail else slot.slot


def _is_said_by_noun(slot: DraftSlot) -> bool:
    """Tell whether a value may stand for its noun, or behind it: a city, ``hive {hive}``."""
    is_list = "items" in slot.values or "count" in slot.values
    return slot.kind in ("id", "proper") or (
        slot.kind == "plain" and not is_list and (slot.is_clueless or slot.is_listed)
    )


def _is_clause(words: Sequence[str]) -> bool:
    """Tell whether words are a clause: "whether …", "from which …", "that …"."""
    first = words[0].lower() if words else ""
    return first in CLAUSE | {"that"} or (
        len(words) > 1 and first in PREPOSITIONS and words[1].lower() in ("which", "whom")
    )
