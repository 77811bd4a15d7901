"""A first draft of a sheet for one tool, which the checker takes."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool, ToolException
from pydantic import ValidationError

from alpha_umi.errors import ConfigError
from alpha_umi.tools.convert import spec_from_tool
from alpha_umi.tools.names import say_name, split_name
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.sheets.check import find_faults
from alpha_umi.training.data.sheets.draft.english import find_kind
from alpha_umi.training.data.sheets.draft.outcome import (
    DraftOutcome,
    find_common_parts,
    make_up_outcome,
    say_cannot,
    tell_replies,
)
from alpha_umi.training.data.sheets.draft.sentences.phrase import DraftPhrase, read_phrase
from alpha_umi.training.data.sheets.draft.sentences.wordings import (
    choose_slots,
    find_shape,
    make_follow_ups,
    make_wordings,
)
from alpha_umi.training.data.sheets.draft.slots import DraftSlot, read_slots
from alpha_umi.training.data.sheets.form import SheetPlace, ToolReference, ToolSheet
from alpha_umi.training.data.sheets.load import load_common
from alpha_umi.training.data.sheets.real_tool import RealTool
from alpha_umi.training.data.sheets.reference import resolve
from alpha_umi.training.data.sheets.request import draw_need
from alpha_umi.yaml_files import YamlFile

_N_TRIALS = 3
_N_TRIED_NUMBERS = 12
_MIN_WORDINGS = 4
_NOWHERE = SheetPlace(Path("draft"), YamlFile(None, None))


@dataclass
class SheetDraft:
    """A sheet as it is written.

    Args:
        item: What stands in the file.
        comments: What its writer should look at.
        guesses: Values that nothing told.
        phrase: What the tool does.
        slots: What it takes.
        told: Values of `returns` whose form the tool itself tells.
        observed: Parts of the tool's own replies by path: ``reply.id``; of one that is run.
    """

    item: dict[str, Any]
    comments: list[str] = field(default_factory=list)
    guesses: list[str] = field(default_factory=list)
    phrase: DraftPhrase = field(default_factory=lambda: DraftPhrase("", "do", "", ""))
    slots: Sequence[DraftSlot] = ()
    told: set[str] = field(default_factory=set)
    observed: Mapping[str, Any] = field(default_factory=dict)


class CannotDraft(Exception):
    """No sheet can be written for a tool; says why."""


@dataclass
class TakenWords:
    """What the tools of a domain share.

    Args:
        shapes: Of the wordings that others have already.
        cannot: What cannot be done without them.
        known: Numbers that a tool took, by the name of the value; others have them under the same name.
    """

    shapes: set[str] = field(default_factory=set)
    cannot: set[str] = field(default_factory=set)
    known: dict[str, list[int]] = field(default_factory=dict)

    def add(self, item: Mapping[str, Any]) -> None:
        """Take what a sheet says."""
        self.shapes |= {find_shape(str(text)) for text in item.get("ask") or ()}
        self.cannot.add(str(item.get("cannot")))


def draft_sheet(tool: BaseTool, reference: str, taken: TakenWords) -> SheetDraft:
    """Return a sheet for a tool.

    Args:
        tool: The tool; it is run a few times if it has no effects and is one of this process.
        reference: What the sheet calls it, such as ``my_tools:TOOLS#book``.
        taken: What its wordings must not repeat.

    Raises:
        CannotDraft: If it takes something that no sentence can say.
    """
    try:
        spec = spec_from_tool(tool)
    except ConfigError as error:
        raise CannotDraft(str(error)) from error
    read = read_slots(spec)
    if read.required_unsaid:
        path = read.required_unsaid[0]
        raise CannotDraft(f"it needs {path}: {read.unsaid[path]}")
    slots = [_put_known(slot, taken) for slot in choose_slots(read.said)]
    for _ in range(len(slots) + 1):
        draft, faulty = _draft(tool, spec, reference, slots, taken)
        if not faulty:
            return draft
        slots = [slot for slot in slots if slot.path not in faulty or not slot.is_optional]
        if faulty.keys() & {slot.path for slot in slots} or "" in faulty:
            raise CannotDraft(next(iter(faulty.values())))
    raise CannotDraft("no sheet could be written that the checker takes")


def _draft(
    tool: BaseTool, spec: ToolSpec, reference: str, slots: Sequence[DraftSlot], taken: TakenWords
) -> tuple[SheetDraft, Mapping[str, str]]:
    """Return a sheet, and the values that the tool refuses with the reason; the empty name stands for all of it."""
    phrase, wordings = _word(spec, slots, taken)
    item: dict[str, Any] = {"tool": reference}
    if slots:
        item["parameters"] = _nest({slot.path: dict(slot.values) for slot in slots})
    item["ask"] = wordings
    if again := make_follow_ups(phrase, slots):
        item["again"] = again
    cannot = say_cannot(phrase)
    item["cannot"] = cannot if cannot not in taken.cannot else f"{cannot} ({' '.join(split_name(spec.name)).lower()})"
    guesses = [slot.path for slot in slots if slot.is_clueless]
    draft = SheetDraft(item, _list_comments(phrase, spec), guesses, phrase, slots)
    if draft.guesses:
        draft.comments.append(f"Nothing tells what these values look like, correct them: {', '.join(draft.guesses)}")
    outcome = make_up_outcome(phrase, slots, tool)
    _put_outcome(draft, outcome)
    sheet, faults = resolve_item(item, tool)
    if sheet is None or faults:
        return draft, faults
    if spec.effects == "none" and spec.source in ("langchain", "builtin"):
        _try_it(draft, sheet, phrase, slots, taken)
    return draft, {}


def _word(spec: ToolSpec, slots: Sequence[DraftSlot], taken: TakenWords) -> tuple[DraftPhrase, list[str]]:
    """Return what a tool does and its wordings: told by its description, or by its name if others say the same."""
    phrase = read_phrase(spec, slots)
    wordings = make_wordings(phrase, slots, random.Random(spec.name), taken.shapes)
    if len(wordings) < _MIN_WORDINGS:
        named = read_phrase(spec, slots, by_name=True)
        wordings += make_wordings(named, slots, random.Random(spec.name), taken.shapes | set(map(find_shape, wordings)))
        phrase = named if phrase.kind != "do" and find_kind(named.verb) == phrase.kind else phrase
    if not wordings:
        marked = replace(phrase, thing=f"{phrase.thing} ({spec.name})".strip(), open_thing="")
        wordings = make_wordings(marked, slots, random.Random(spec.name))
    return phrase, wordings


def _put_outcome(draft: SheetDraft, outcome: DraftOutcome) -> None:
    if outcome.returns:
        draft.item["returns"] = outcome.returns
        draft.told = outcome.told
    draft.item |= {"reply": outcome.reply, "answer": outcome.answer}
    if outcome.fails:
        draft.item["fails"] = outcome.fails


def _put_known(slot: DraftSlot, taken: TakenWords) -> DraftSlot:
    """Draw a value from the numbers that another tool took under its name."""
    known = taken.known.get(slot.path)
    fits = known and str(slot.values.get("from", "")).startswith("int ")
    if not fits:
        return slot
    kind = "id" if slot.is_clueless else slot.kind
    return replace(slot, values={**slot.values, "from": known}, is_clueless=False, kind=kind)


def _find_known(sheet: ToolSheet, slots: Sequence[DraftSlot]) -> tuple[str, list[int]]:
    """Return numbers that a tool takes, if it needs nothing but one; found by trying."""
    needed = [slot for slot in slots if not slot.is_optional]
    if len(needed) != 1 or not str(needed[0].values.get("from", "")).startswith("int ") or "." in needed[0].path:
        return "", []
    works: list[int] = []
    for number in range(1, _N_TRIED_NUMBERS + 1):
        try:
            if sheet.real:
                sheet.real.run({needed[0].path: number})
                works.append(number)
        except ToolException:
            continue
    return needed[0].path, works if len(works) > 1 else []


def _try_it(
    draft: SheetDraft, sheet: ToolSheet, phrase: DraftPhrase, slots: Sequence[DraftSlot], taken: TakenWords
) -> None:
    """Run a tool that changes nothing; if it works, its own replies take the place of what was made up."""
    replies: list[str] = []
    problem = ""
    for number in range(_N_TRIALS):
        arguments = draw_need(sheet, random.Random(number)).arguments
        try:
            replies.append(sheet.real.run(arguments) if sheet.real else "")
        except ToolException as error:
            problem = str(error)
    path, works = _find_known(sheet, slots) if len(replies) * 2 <= _N_TRIALS else ("", [])
    if works and sheet.real:
        taken.known[path] = works
        draft.item["parameters"][path]["from"] = works
        replies = [sheet.real.run({path: number}) for number in works]
    if len(replies) * 2 > _N_TRIALS:
        for key in ("returns", "reply"):
            draft.item.pop(key, None)
        draft.item["answer"] = tell_replies(phrase, slots, replies).answer
        draft.observed = find_common_parts(replies)
    else:
        draft.comments.append(
            f"It was tried and failed ({' '.join(problem.split())[:120]}), so the reply is made up; with values that "
            "it knows, leave returns and reply out."
        )


def resolve_item(
    item: Mapping[str, Any], tool: BaseTool, results: Collection[str] = ()
) -> tuple[ToolSheet | None, Mapping[str, str]]:
    """Return the sheet that an item makes, and what the checker does not take, by the value that it is about.

    Args:
        item: What stands in the file.
        tool: The tool.
        results: What the other tools of the file return: ``TOOL.VALUE``.
    """
    try:
        reference = ToolReference.model_validate(item)
        real = RealTool(tool, str(item["tool"]).partition("#")[0])
    except (ValidationError, ConfigError) as error:
        return None, {"": str(error)}
    resolved, faults = resolve(reference, real)
    if faults:
        return None, {"": faults[0][1]}
    sheet = ToolSheet("draft", False, resolved, load_common(), _NOWHERE, real)
    found: dict[str, str] = {}
    for fault in find_faults(sheet, results):
        text = fault.text.removeprefix(f"{resolved.name}: ")
        path = next((path for path in sheet.sources if text.startswith(f"{path}: ")), "")
        found.setdefault(path, text)
    return sheet, found


def _list_comments(phrase: DraftPhrase, spec: ToolSpec) -> list[str]:
    comments = []
    if phrase.is_foreign:
        comments.append("Its description is not in English, so the wordings are poor: write them as people say them.")
    elif spec.description.strip() in ("", say_name(spec.name)):
        comments.append("It has no description: say in the tool what it does, the model reads nothing else.")
    if spec.effects == "once" and phrase.kind in ("look", "list", "find", "check", "compute"):
        comments.append(
            "It declares no effects, so it counts as one that changes something; if it only looks up: effects: none"
        )
    return comments


def _nest(values: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return parameters with those of objects below ``properties``."""
    nested: dict[str, Any] = {}
    for path, each in values.items():
        *outer, name = path.split(".")
        place = nested
        for key in outer:
            place = place.setdefault(key, {"properties": {}})["properties"]
        place[name] = each
    return nested
