"""What comes of a call, for a first draft: reply, answer, errors, and how a refusal names the tool."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_type_hints

from langchain_core.tools import BaseTool
from pydantic import TypeAdapter

from alpha_umi.tools.names import split_name
from alpha_umi.tools.spec.schema import make_lookup
from alpha_umi.training.data.sheets.draft.english import (
    get_said,
    is_mass,
    is_plural,
    make_participle,
    put_article,
    singular,
)
from alpha_umi.training.data.sheets.draft.guess import CLUELESS, find_id_core, find_json_type, guess_value
from alpha_umi.training.data.sheets.draft.sentences.phrase import DraftPhrase
from alpha_umi.training.data.sheets.draft.slots import DraftSlot
from alpha_umi.training.data.sheets.real_tool import read_reply
from alpha_umi.training.data.sheets.reference import unfold

_MAX_FIELDS = 5
_MAX_TOLD = 3
_FACTS = ["as planned", "higher than last week", "fine", "three points are open", "nothing unusual"]
_BARE: Sequence[Mapping[str, Any]] = ({"type": "string"}, {"type": "object"}, {"type": "array"})
_TELLING = frozenset({"pattern", "format", "enum", "const", "example", "examples"})
_FINDINGS = ("look", "list", "find", "check", "compute")


@dataclass
class DraftOutcome:
    """What a sheet says of a call's end; `returns` and `reply` are left out of a tool that is run.

    `told` names the `returns` whose form the tool itself tells.
    """

    answer: str
    returns: dict[str, Any] = field(default_factory=dict)
    reply: Any = None
    fails: list[str] = field(default_factory=list)
    told: set[str] = field(default_factory=set)


def say_cannot(phrase: DraftPhrase) -> str:
    """Return what goes after "no tool can"."""
    verb = "list" if phrase.kind == "list" else get_said(phrase.verb)
    if phrase.is_clause:
        return f"{'tell' if phrase.kind in _FINDINGS else verb} {phrase.noun}"
    if not phrase.noun:
        return verb
    noun = phrase.noun
    head = phrase.counted or noun.split()[-1]
    if phrase.is_foreign:
        return f"do {noun}"
    if phrase.kind in ("look", "list", "compute", "check") and not phrase.is_entity and not is_plural(head):
        return f"{verb} the {noun}"
    return f"{verb} {noun if is_plural(head) or is_mass(head) else _put_first_article(noun)}"


def _make_id(head: str) -> str:
    letters = re.sub(r"[^A-Z]", "", head[:2].upper())
    return f"id {letters or 'N'}-####"


def _guess_answer(phrase: DraftPhrase) -> Any:
    """Return what a question in a clause may be answered with."""
    first = phrase.thing.split()[0].lower() if phrase.thing else ""
    if phrase.thing.startswith(("how many", "how much")):
        return "int 2..90"
    return {"when": "date", "who": "person", "where": "city", "whether": ["yes", "no"], "": ["yes", "no"]}.get(
        first, _FACTS
    )


def _put_first_article(noun: str) -> str:
    first, _, rest = noun.partition(" of ")
    return f"{put_article(first)} of {rest}" if rest else put_article(noun)


def make_up_outcome(phrase: DraftPhrase, slots: Sequence[DraftSlot], tool: BaseTool) -> DraftOutcome:
    """Return a reply as the tool may give it, told by what its function says that it returns."""
    maker = _OutcomeMaker(phrase, slots)
    schema = read_return_schema(tool)
    outcome = maker.from_schema(schema) if schema else None
    outcome = outcome or maker.guess()
    return replace(outcome, fails=maker.list_failures())


def tell_replies(phrase: DraftPhrase, slots: Sequence[DraftSlot], replies: Sequence[str]) -> DraftOutcome:
    """Return the answer for a tool that is run, which replied like this."""
    maker = _OutcomeMaker(phrase, slots)
    paths = [path for path in find_common_parts(replies) if re.fullmatch(r"reply\.\w*[^\W\d]\w*", path)]
    facts = [(" ".join(split_name(path.partition(".")[2])), f"{{{path}}}") for path in paths[:_MAX_TOLD]]
    return DraftOutcome(maker.tell(facts) if facts else "{reply}")


def find_common_parts(replies: Sequence[str]) -> dict[str, Any]:
    """Return the text and the numbers that all replies have, if they are JSON, by path, with one of the values."""
    common: dict[str, Any] | None = None
    for text in replies:
        parts = {
            path: part
            for path, part in read_reply(text).items()
            if path != "reply" and isinstance(part, str | int | float) and re.fullmatch(r"[\w.]+", path)
        }
        common = parts if common is None else {path: part for path, part in common.items() if path in parts}
    return common or {}


def read_return_schema(tool: BaseTool) -> Mapping[str, Any] | None:
    """Return the JSON Schema of what a tool says that it returns; None if it says nothing that helps."""
    if told := getattr(tool, "returns", None):
        return dict(told)
    function = getattr(tool, "func", None) or getattr(tool, "coroutine", None)
    try:
        kind = get_type_hints(function).get("return") if function else None
        if kind in (None, Any, str, dict, list):
            return None
        schema = TypeAdapter(kind).json_schema(mode="serialization")
    except Exception:  # any type may stand there, and none is needed
        return None
    return schema


def phrase_is_told_by_value(phrase: DraftPhrase) -> bool:
    """Tell whether the thing is a value that is worked on, as in "convert {amount} {currency}"."""
    return phrase.kind == "compute" and not phrase.thing.startswith("the ")


class _OutcomeMaker:
    def __init__(self, phrase: DraftPhrase, slots: Sequence[DraftSlot]) -> None:
        self._phrase = phrase
        self._slots = list(slots)
        self._taken = {slot.path for slot in slots} | {slot.path.partition(".")[0] for slot in slots}
        self._required = [slot for slot in slots if not slot.is_optional]
        self._depths: dict[str, int] = {}
        self._told: set[str] = set()

    def tell(self, facts: Sequence[tuple[str, str]]) -> str:
        """Return a sentence that tells what is known: labels, and values in braces."""
        subject = self._say_subject()
        if phrase_is_told_by_value(self._phrase):
            subject = ""
            facts = [(facts[0][0].capitalize(), facts[0][1]), *facts[1:]]
        if len(facts) == 1 and self._phrase.kind in ("look", "compute") and subject.startswith("The "):
            return f"{subject} is {facts[0][1]}."
        told = ", ".join(f"{label}: {value}" for label, value in facts)
        return f"{subject}: {told}." if subject else f"{told}."

    def _say_subject(self, n_tails: int = 2) -> str:
        phrase = self._phrase
        thing = phrase.thing or phrase.noun
        tails = [
            phrase.tails[slot.path]
            for slot in self._required
            if slot.path in phrase.tails
            and slot.kind not in ("text", "bool")
            and not phrase.tails[slot.path].startswith((",", ":"))
        ]
        thing = re.sub(r"\[[^\]]*\]", "", thing)
        text = f"{thing}{phrase.fixed}{''.join(tails[:n_tails])}".strip()
        return text[:1].upper() + text[1:] if not text.startswith("{") else text

    def _add(self, returns: dict[str, Any], name: str, schema: Mapping[str, Any]) -> str | None:
        """Make a value up; return its name, None where none is known."""
        words = split_name(name)
        if find_id_core(words) == [] and self._phrase.head.isalpha():
            words = [self._phrase.head, *words]
        if schema.get("type") == "boolean":
            source: Any = [True, False]
        elif "enum" in schema:
            source = [value for value in schema["enum"] if value is not None]
        else:
            guess = guess_value(words, schema, set(self._phrase.noun.split()))
            if guess is None:
                return None
            source = guess.values.get("from")
        key = name if name not in self._taken else f"{name}_told"
        self._taken.add(key)
        returns[key] = source
        return key

    def from_schema(self, schema: Mapping[str, Any]) -> DraftOutcome | None:
        """Return an outcome of the form that a schema describes; None if it says too little."""
        lookup = make_lookup(schema)
        returns: dict[str, Any] = {}
        reply = self._fill_in(unfold(schema, lookup), lookup, returns, self._phrase.head or "result", 0)
        if reply is None or not returns or schema in _BARE:
            return None
        facts = [(" ".join(split_name(name)), f"{{{name}}}") for name in self._choose_told(returns)]
        if self._phrase.kind in _FINDINGS:
            return DraftOutcome(self.tell(facts), returns, reply, told=self._told)
        said = "".join(f", {label} {value}" for label, value in facts)
        return DraftOutcome(f"{self._say_done()}{said}.", returns, reply, told=self._told)

    def _choose_told(self, returns: Mapping[str, Any]) -> list[str]:
        """Return what of a reply is told: what stands outermost; a number first of what was made, else last."""
        finds = self._phrase.kind in ("look", "check", "compute")

        def rank(name: str) -> tuple[int, bool]:
            return self._depths.get(name, 0), (find_id_core(split_name(name)) is not None) == finds

        return sorted(returns, key=rank)[:_MAX_TOLD]

    def _fill_in(self, node: Mapping[str, Any], lookup: Any, returns: dict[str, Any], name: str, depth: int) -> Any:
        if depth > 3:
            return None
        if node.get("properties"):
            filled = {}
            for key, part in list(node["properties"].items())[:_MAX_FIELDS]:
                if given := self._find_given(key, depth):
                    filled[key] = f"{{{given}}}"
                elif (value := self._fill_in(unfold(part, lookup), lookup, returns, key, depth + 1)) is not None:
                    filled[key] = value
            return filled or None
        if node.get("type") == "array":
            item = self._fill_in(unfold(node.get("items") or {}, lookup), lookup, returns, singular(name), depth + 1)
            return [item] if item is not None else None
        if find_json_type(node) in ("string", "integer", "number", "boolean") and node:
            key = self._add(returns, name, node)
            if key is None:
                return None
            self._depths[key] = depth
            if _TELLING & node.keys():
                self._told.add(key)
            return f"{{{key}}}"
        return None

    def _find_given(self, key: str, depth: int) -> str | None:
        """Return the value of the request that a part of the reply repeats: the same name, or the thing's own id."""
        is_own = depth == 0 and find_id_core(split_name(key)) == []
        for slot in self._required:
            if slot.path == key or (is_own and find_id_core(slot.words) in ([self._phrase.head], [])):
                return slot.path
        return None

    def guess(self) -> DraftOutcome:
        """Return an outcome where nothing is known of it but what the tool does."""
        phrase = self._phrase
        returns: dict[str, Any] = {}
        head = phrase.head or "result"
        if phrase.is_clause and phrase.kind not in _FINDINGS:
            done = make_participle(get_said(phrase.verb))
            subject = self._say_subject()
            return DraftOutcome(f"It is {done} {subject[:1].lower()}{subject[1:]}.", {}, {"status": done})
        if phrase.is_clause or phrase.kind == "check":
            name = self._name("result")
            returns[name] = _guess_answer(phrase)
            subject = self._say_subject()
            return DraftOutcome(f"{subject}: {{{name}}}.", returns, {"result": f"{{{name}}}"})
        if phrase.kind == "compute":
            name = self._name("result")
            returns[name] = "decimal 5..900"
            return DraftOutcome(f"{self._say_subject()}: {{{name}}}.", returns, {"result": f"{{{name}}}"})
        if phrase.kind in ("list", "find"):
            return self._guess_list(head)
        if phrase.kind == "look":
            word = "status" if phrase.is_entity or not head.isidentifier() else head
            name = self._name(word)
            key = self._add(returns, name, {"type": "string"}) or name
            if returns.get(key) == list(CLUELESS):
                returns[key] = _FACTS
                return DraftOutcome(f"{self._say_subject()}: {{{key}}}.", returns, {word: f"{{{key}}}"})
            if phrase.is_entity or not phrase.thing.startswith("the "):
                return DraftOutcome(f"{self._say_subject()}: {word} {{{key}}}.", returns, {word: f"{{{key}}}"})
            verb = "are" if is_plural(phrase.counted) else "is"
            return DraftOutcome(f"{self._say_subject()} {verb} {{{key}}}.", returns, {word: f"{{{key}}}"})
        done = make_participle(get_said(phrase.verb))
        if phrase.kind != "make":
            return DraftOutcome(f"{self._say_done()}.", {}, {"status": done})
        name = self._name(f"{head}_id" if head.isidentifier() else "id")
        returns[name] = _make_id(head)
        return DraftOutcome(f"{self._say_done()}, number {{{name}}}.", returns, {"status": done, name: f"{{{name}}}"})

    def _guess_list(self, head: str) -> DraftOutcome:
        returns: dict[str, Any] = {}
        guess = guess_value([head], {"type": "string"}, set())
        source = guess.values["from"] if guess and not guess.is_clueless else _make_id(head)
        one, two = self._name("first_found"), self._name("second_found")
        returns |= {one: source, two: source}
        return DraftOutcome(f"I found {{{one}}} and {{{two}}}.", returns, [f"{{{one}}}", f"{{{two}}}"])

    def _name(self, wanted: str) -> str:
        while wanted in self._taken:
            wanted = f"{wanted}_told"
        return wanted

    def _say_done(self) -> str:
        phrase = self._phrase
        done = make_participle(get_said(phrase.verb))
        subject = self._say_subject()
        if phrase.is_foreign:
            return f"Done: {subject}"
        if not phrase.thing:
            return f"It is {done}{subject}"
        head = [phrase.counted]
        length = len(re.sub(r"\[[^\]]*\]", "", phrase.thing))
        thing = subject[:length]
        verb = "are" if is_plural(head[-1]) and not phrase.is_entity else "is"
        rest = subject[length:]
        return f"{thing} {verb} {done}{rest}"

    def list_failures(self) -> list[str]:
        """Return errors that the tool may give."""
        fails = [
            f"no {slot.noun or self._phrase.head} {slot.slot} was found"
            for slot in self._required
            if slot.kind == "id" and "{" not in slot.noun
        ]
        days = [slot for slot in self._required if slot.values.get("from") == "date"]
        if not fails and days and self._phrase.kind == "make":
            fails = [f"nothing is free on {days[0].slot}"]
        return fails[:2]
