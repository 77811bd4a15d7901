"""Requests that go on with what another tool returned: ``then`` of drafts, matched by the names of ids."""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.tools import BaseTool

from alpha_umi.tools.names import split_name
from alpha_umi.training.data.sheets.draft.draft import SheetDraft, resolve_item
from alpha_umi.training.data.sheets.draft.english import singular
from alpha_umi.training.data.sheets.draft.guess import find_id_core
from alpha_umi.training.data.sheets.draft.sentences.phrase import DraftPhrase
from alpha_umi.training.data.sheets.draft.sentences.wordings import make_wordings
from alpha_umi.training.data.sheets.draft.slots import DraftSlot

_N_WORDINGS = 3
_MAX_LINKS = 3


@dataclass(frozen=True, slots=True)
class _Result:
    """An id that a tool returns.

    Args:
        core: Of what: ``("order",)``.
        tool: The tool's name.
        value: As a sheet calls it: ``order_id`` of `returns`, or ``reply.id`` of a tool that is run.
        source: Where its values come from, a list of one if it was observed.
        owner: The draft that makes it up, whose values may be changed to those that another tool takes.
    """

    core: tuple[str, ...]
    tool: str
    value: str
    source: Any
    owner: SheetDraft | None = None

    @property
    def name(self) -> str:
        return f"{self.tool}.{self.value}"


def link_drafts(drafts: Sequence[tuple[BaseTool, SheetDraft]], others: Mapping[str, Mapping[str, Any]]) -> None:
    """Write ``then`` into every draft that needs an id which another tool of the file returns.

    Args:
        drafts: The tools and their drafts, which are changed.
        others: What the file has already, by the tool's name; it stays as it is.
    """
    results = [result for tool, draft in drafts for result in _list_results(tool.name, draft)]
    results += [result for name, item in others.items() for result in _list_made_up(name, item)]
    names = {result.name for result in results}
    for tool, draft in drafts:
        for slot in draft.slots:
            core = find_id_core(slot.words)
            if core is None or slot.is_optional:
                continue
            wanted = tuple(core) or (singular(draft.phrase.head),)
            fitting = [each for each in results if each.tool != tool.name and each.core == wanted]
            _link(tool, draft, slot, fitting, names)


def _list_results(name: str, draft: SheetDraft) -> Iterator[_Result]:
    head = singular(draft.phrase.head)
    yield from _list_made_up(name, draft.item, draft, head)
    for path, value in draft.observed.items():
        outer = [part for part in path.split(".")[1:-1] if not part.isdecimal()]
        of = singular(outer[-1].lower()) if outer else head
        core = find_id_core(split_name(path.rpartition(".")[2]))
        yield from [_Result(tuple(core) or (of,), name, path, [value])] if core is not None else []


def _list_made_up(
    name: str, item: Mapping[str, Any], owner: SheetDraft | None = None, head: str = ""
) -> Iterator[_Result]:
    for value, source in (item.get("returns") or {}).items():
        core = find_id_core(split_name(value))
        yield from [_Result(tuple(core) or (head,), name, value, source, owner)] if core is not None else []


def _link(
    tool: BaseTool, draft: SheetDraft, slot: DraftSlot, results: Sequence[_Result], names: Collection[str]
) -> None:
    """Let a value come from these results as well, as far as the tool takes what they look like."""
    wordings = _word_without(draft.phrase, draft.slots, slot)
    own = _find_parameter(draft.item, slot.path).get("from")
    if not wordings or not isinstance(own, str):
        return
    source, linked = own, list[_Result]()
    for result in results[:_MAX_LINKS]:
        agreed = _agree(tool, draft.item, slot.path, source, result, names)
        source, linked = (agreed, [*linked, result]) if agreed else (source, linked)
    if linked:
        item = _put_source(draft.item, slot.path, " or ".join([source, *(result.name for result in linked)]))
        then = {"then": item.pop("then", {}) | {slot.path: wordings}}
        at = [*item].index("cannot")
        item = dict([*item.items()][:at]) | then | dict([*item.items()][at:])
        if not resolve_item(item, tool, names)[1]:
            draft.item = item


def _agree(
    tool: BaseTool, item: Mapping[str, Any], path: str, own: str, result: _Result, names: Collection[str]
) -> str | None:
    """Return where both values come from: what the other tool says if this one takes it; None if they cannot agree."""
    made_up = result.owner.item["returns"] if result.owner else {}
    source = made_up.get(result.value, result.source)
    if source == own:
        return own
    if result.owner and result.value not in result.owner.told:
        made_up[result.value] = own
        result.owner.told.add(result.value)
        return own
    takes = not resolve_item(_put_source(item, path, source), tool, names)[1]
    return (source if isinstance(source, str) else own) if takes else None


def _put_source(item: Mapping[str, Any], path: str, source: Any) -> dict[str, Any]:
    fresh = deepcopy(dict(item))
    _find_parameter(fresh, path)["from"] = source
    return fresh


def _find_parameter(item: Mapping[str, Any], path: str) -> dict[str, Any]:
    *outer, name = path.split(".")
    place: Any = item["parameters"]
    for key in outer:
        place = place[key]["properties"]
    found: dict[str, Any] = place[name]
    return found


def _word_without(phrase: DraftPhrase, slots: Sequence[DraftSlot], slot: DraftSlot) -> list[str]:
    """Return wordings that point back to a value instead of saying it: "Cancel that order."."""

    def point_back(text: str) -> str:
        return re.sub(rf"(?:\b(?:the|an?) )?\b([\w-]+)\[? {re.escape(slot.slot)}\]?", r"that \1", text)

    thing = point_back(phrase.thing)
    tails = {path: tail for path, tail in phrase.tails.items() if path != slot.path}
    if thing == phrase.thing and slot.path not in phrase.tails:
        return []
    core = find_id_core(slot.words) or []
    if thing == phrase.thing and core and phrase.head not in core:
        thing = f"{thing} {_find_preposition(phrase.tails[slot.path])} that {' '.join(core)}"
    said = replace(phrase, thing=thing, open_thing="", tails=tails, noun=re.sub(r"^that ", "", thing))
    kept = [each for each in slots if each is not slot]
    texts = make_wordings(said, kept, random.Random(slot.path))
    return [text for text in texts if slot.slot not in text and len(re.findall(r"\bthat\b", text)) == 1][:_N_WORDINGS]


def _find_preposition(tail: str) -> str:
    return found[1] if (found := re.match(r" (for|of|to|from|in|on|at|about) ", tail)) else "for"
