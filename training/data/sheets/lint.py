"""What people should look at in sheets that can be used: what is doubtful, each with its line, and samples."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Sequence
from itertools import cycle, islice

from alpha_umi.errors import ConfigError
from alpha_umi.tools.names import say_name
from alpha_umi.tools.toolbox import Toolbox
from alpha_umi.training.data.sheets.check import find_keys
from alpha_umi.training.data.sheets.form import ENOUGH_WORDINGS, SheetFinding, ToolSheet, first_source, list_results
from alpha_umi.training.data.sheets.request import draw_need, make_answer, make_sheet_tool
from alpha_umi.training.data.sheets.wording import SLOT, ToolWording

_WORD = re.compile(r"[A-Z]?[a-z]{2,}|[A-Z]{3,}")
_STEM_CHARS = 5
_STOP_WORDS = frozenset(
    {"all", "and", "any", "are", "can", "for", "from", "get", "has", "how", "its", "new", "not", "one", "out", "set"}
    | {"that", "the", "their", "them", "this", "was", "what", "when", "where", "which", "who", "will", "with", "your"}
)
_SILENT = re.compile(r"[\s,;.]*")
_UNIT = re.compile(r"\s?[^\W\d]|\s?[%°€$£]")
_RANGE = re.compile(r"(?:int|decimal) (-?[\d.]+)\.\.(-?[\d.]+)")


def find_warnings(sheets: Sequence[ToolSheet]) -> list[SheetFinding]:
    """Return what should be looked at, in the order of the files."""
    warnings = [warning for sheet in sheets for warning in (*_warn_of_tool(sheet), *_warn_of_wordings(sheet))]
    domains: dict[str, list[ToolSheet]] = {}
    for sheet in sheets:
        domains.setdefault(sheet.domain, []).append(sheet)
    for domain in domains.values():
        warnings += [*_warn_of_strangers(domain), *_warn_of_equal_wordings(domain)]
    return sorted(warnings)


def _warn_of_tool(sheet: ToolSheet) -> Iterator[SheetFinding]:
    tool = sheet.tool
    if tool.description.strip() in ("", say_name(tool.name)):
        text = "the description is empty; say what the tool does, the model sees nothing else but its name."
        yield sheet.place.find(f"{tool.name}: {text}", "description")
    properties = sheet.spec.parameters.get("properties", {}) if sheet.real else {}
    if unclear := [name for name, schema in properties.items() if not schema.get("description")]:
        text = f"the tool does not describe {', '.join(unclear)}; do so, unless the name says it."
        yield sheet.place.find(f"{tool.name}: {text}", "tool")
    if len(tool.ask) < ENOUGH_WORDINGS:
        text = f"there are {len(tool.ask)} wordings; write {ENOUGH_WORDINGS} or more, as different as people are."
        yield sheet.place.find(f"{tool.name}: {text}", "ask")
    said = {path for wording in sheet.wordings for path in wording.slots}
    for path in sheet.sources.keys() - said:
        yield sheet.place.find(f"{tool.name}: no wording says {{{path}}}; say it, or take it out.", *find_keys(path))


def _warn_of_wordings(sheet: ToolSheet) -> Iterator[SheetFinding]:
    for i, wording in enumerate(sheet.wordings):
        for one, two in sorted(_find_adjacent(wording)):
            if _look_alike(sheet, one, two):
                advice = f"write a word between {{{one}}} and {{{two}}}, or nothing tells which is which."
                yield sheet.place.find(f"{sheet.tool.name}: {wording.text!r}: {advice}", "ask", i)


def _find_adjacent(wording: ToolWording) -> set[tuple[str, str]]:
    """Return slots that nothing tells apart by their place; brackets between them may be left out."""
    found: set[tuple[str, str]] = set()
    for i, part in enumerate(wording.parts):
        pieces = part.pieces
        found |= _find_silent(pieces)
        for other in wording.parts[i + 1 :]:
            joined = (*pieces[:-1], pieces[-1] + other.pieces[0], *other.pieces[1:])
            found |= _find_silent(joined)
            if not other.is_optional and other.slots:
                break
            pieces = pieces if other.is_optional else joined
    return found


def _find_silent(pieces: Sequence[str]) -> set[tuple[str, str]]:
    """Return slots with only spaces and commas between them, and no unit after the second."""
    found = zip(pieces[1::2], pieces[2::2], pieces[3::2], pieces[4::2], strict=False)
    return {(one, two) for one, between, two, after in found if _SILENT.fullmatch(between) and not _UNIT.match(after)}


def _look_alike(sheet: ToolSheet, one: str, two: str) -> bool:
    """Tell whether the values of two parameters may be taken for each other."""
    sources = [first_source(sheet.sources[path]) for path in (one, two)]
    ranges = [_RANGE.match(source) if isinstance(source, str) else None for source in sources]
    if ranges[0] and ranges[1]:
        (low, high), (other_low, other_high) = (map(float, found.groups()) for found in ranges if found)
        return low <= other_high and other_low <= high
    return bool(sources[0]) and sources[0] == sources[1]


def _warn_of_strangers(domain: Sequence[ToolSheet]) -> Iterator[SheetFinding]:
    traits = [_list_traits(sheet) for sheet in domain]
    for i, sheet in enumerate(domain):
        if all(traits[i].isdisjoint(others) for j, others in enumerate(traits) if j != i):
            text = f"no other tool of {sheet.domain!r} is near it; write one that people might take it for."
            yield sheet.place.find(f"{sheet.tool.name}: {text}", "name")


def _list_traits(sheet: ToolSheet) -> set[str]:
    """Return what near neighbours share one of: words that say what a tool does, without endings, and values."""
    tool = sheet.tool
    words = _WORD.findall(f"{tool.name.replace('_', ' ')} {tool.description} {tool.cannot}")
    stems = {word.lower()[:_STEM_CHARS] for word in words if word.lower() not in _STOP_WORDS}
    sources = [first_source(parameter) for parameter in sheet.sources.values()]
    values = {f"from {source}" for source in sources if isinstance(source, str) and source in sheet.lists}
    results = {".".join(result) for parameter in sheet.sources.values() for result in list_results(parameter)}
    return stems | values | results | {f"{tool.name}.{name}" for name in tool.returns}


def _warn_of_equal_wordings(domain: Sequence[ToolSheet]) -> Iterator[SheetFinding]:
    seen: dict[str, tuple[str, str]] = {}
    for sheet in domain:
        for i, text in enumerate(sheet.tool.ask):
            shape = re.sub(r"[^\w{}]+", " ", SLOT.sub("{}", text)).strip().lower()
            name, other = seen.setdefault(shape, (sheet.tool.name, text))
            if (name, other) != (sheet.tool.name, text) or sheet.tool.ask.index(text) < i:
                advice = f"is but for its slots {other!r} of {name}; word it differently."
                yield sheet.place.find(f"{sheet.tool.name}: {text!r} {advice}", "ask", i)


def render_samples(sheets: Sequence[ToolSheet], n_samples: int) -> Iterator[str | ConfigError]:
    """Yield requests with the right call, the reply and the answer; of all tools before one comes again.

    An answer that tells a part of a real tool's reply that is not there is an error; it is yielded, not raised.
    """
    rng = random.Random(0)
    for sheet in islice(cycle(rng.sample(sheets, len(sheets))), n_samples):
        try:
            yield _render_sample(sheet, rng)
        except ConfigError as error:
            yield error


def _render_sample(sheet: ToolSheet, rng: random.Random) -> str:
    need = draw_need(sheet, rng)
    reply = Toolbox([make_sheet_tool(sheet)]).execute(sheet.spec.name, need.arguments, "")
    lines = [
        f"request: {need.text}",
        f"call:    {sheet.spec.name} {json.dumps(need.arguments, ensure_ascii=False)}",
        f"reply:   {reply.text}",
    ]
    if reply.status == "success":
        lines.append(f"answer:  {make_answer(sheet, need.arguments)}")
    return "\n".join(lines)
