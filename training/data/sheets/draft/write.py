"""First sheets for all tools of a source, in a file that people go on with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from langchain_core.tools import BaseTool

from alpha_umi.errors import ConfigError
from alpha_umi.progress import make_progress
from alpha_umi.tools.convert import spec_from_tool
from alpha_umi.tools.load import load_tools
from alpha_umi.training.data.sheets.draft.chains import link_drafts
from alpha_umi.training.data.sheets.draft.draft import CannotDraft, SheetDraft, TakenWords, draft_sheet, resolve_item
from alpha_umi.training.data.sheets.draft.sentences.wordings import find_shape
from alpha_umi.training.data.sheets.draft.sheet_file import add_items, add_wordings, load_items
from alpha_umi.training.data.sheets.draft.sources.requests import RequestMatcher, SentRequest
from alpha_umi.training.data.sheets.draft.sources.teacher import Teacher
from alpha_umi.training.data.sheets.load import check_sheets

_LISTS = frozenset({"tools", "all_tools", "toolkit", "tool"})


@dataclass(slots=True)
class WrittenSheets:
    """What was written of one source.

    Args:
        path: The file.
        written: The tools that it has now and had not before.
        kept: Those that it had; they are as they were.
        left_out: Those that no sheet can be written for, and why.
        guesses: By tool the values that nothing told.
        taught: How many wordings a teacher added, by tool.
    """

    path: Path
    written: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    guesses: dict[str, list[str]] = field(default_factory=dict)
    taught: dict[str, int] = field(default_factory=dict)


def write_sheets(source: str, out: Path, teacher: Teacher | None = None) -> WrittenSheets:
    """Write a first sheet for each tool of a source that has none in its file.

    With a teacher each tool is written when it has been asked for, so that nothing is lost; tools that the file had get
    its wordings as well.

    Args:
        source: What ``--tools`` takes, such as ``my_tools:TOOLS``.
        out: Folder for the file, which has the name of the source.
        teacher: Writes further wordings, and answers of the new sheets.

    Raises:
        ConfigError: If the tools cannot be loaded, or the file cannot be added to.
    """
    path = out / f"{name_file(source)}.yaml"
    items = load_items(path)
    taken = TakenWords()
    for item in items:
        taken.add(item)
    written = WrittenSheets(path)
    known = {str(item.get("tool")) for item in items}
    drafts: dict[str, SheetDraft] = {}
    found = list(list_references(source))
    written.kept = [tool.name for tool, reference in found if reference in known]
    fresh = [(tool, reference) for tool, reference in found if reference not in known]
    # What only looks up comes first: it is run, and the values that it takes are those of the others.
    for tool, reference in sorted(fresh, key=lambda pair: _read_effects(pair[0]) != "none"):
        try:
            draft = draft_sheet(tool, reference, taken)
        except CannotDraft as error:
            written.left_out[tool.name] = str(error)
            continue
        taken.add(draft.item)
        drafts[reference] = draft
        if draft.guesses:
            written.guesses[tool.name] = draft.guesses
    written.written = [tool.name for tool, reference in found if reference in drafts]
    kept = {str(item.get("tool")): item for item in items}
    link_drafts(
        [(tool, drafts[reference]) for tool, reference in found if reference in drafts],
        {tool.name: kept[reference] for tool, reference in found if reference in kept},
    )
    domain = path.stem.replace("_", " ")
    if teacher is None:
        add_items(path, domain, [drafts[reference] for _, reference in found if reference in drafts])
        return written
    sheets = {str(sheet.place.read("tool")): sheet for sheet in check_sheets([path])[0]} if items else {}
    with make_progress() as progress:
        task = progress.add_task(f"teacher: {path.name}", total=len(found))
        for tool, reference in found:
            if reference in drafts:
                written.taught[tool.name] = _teach(teacher, tool, reference, drafts[reference], taken)
                add_items(path, domain, [drafts[reference]])
            elif reference in sheets:
                wordings = teacher.write(reference, sheets[reference], taken.shapes).wordings
                written.taught[tool.name] = len(wordings)
                add_wordings(path, reference, wordings)
            progress.update(task, advance=1, note=f"{teacher.tally.n_taken} wordings")
    return written


def _teach(teacher: Teacher, tool: BaseTool, reference: str, draft: SheetDraft, taken: TakenWords) -> int:
    """Add what a teacher writes to a draft; return how many wordings."""
    sheet, _ = resolve_item(draft.item, tool)
    if sheet is None:
        return 0
    taught = teacher.write(reference, sheet, taken.shapes)
    draft.item["ask"] = [*draft.item["ask"], *taught.wordings]
    draft.item["answer"] = taught.answer or draft.item["answer"]
    return len(taught.wordings)


@dataclass(slots=True)
class UsedRequests:
    """What became of requests that people sent: wordings by tool, and those that were not used, with the reason."""

    taken: dict[str, list[str]] = field(default_factory=dict)
    left: list[tuple[SentRequest, str]] = field(default_factory=list)


def use_requests(requests: Sequence[SentRequest], paths: Sequence[Path]) -> UsedRequests:
    """Write requests as wordings behind those of the tools in these files that they are about.

    Raises:
        ConfigError: If a file cannot be added to.
    """
    sheets, _ = check_sheets([path for path in paths if path.exists()])
    taken = {find_shape(text) for sheet in sheets for text in sheet.tool.ask}
    matcher = RequestMatcher(sheets, taken)
    used = UsedRequests()
    for request in requests:
        name, wording, reason = matcher.match(request)
        if wording:
            used.taken.setdefault(name, []).append(wording)
        else:
            used.left.append((request, reason))
    for sheet in sheets:
        reference = sheet.place.read("tool") or sheet.place.read("name")
        add_wordings(sheet.place.path, str(reference), used.taken.get(sheet.spec.name, ()))
    return used


def _read_effects(tool: BaseTool) -> str:
    try:
        return spec_from_tool(tool).effects
    except ConfigError:  # told where its sheet is drafted
        return ""


def list_references(source: str) -> Iterator[tuple[BaseTool, str]]:
    """Yield the tools of a source, and what a sheet calls each.

    Raises:
        ConfigError: If they cannot be loaded, or the source holds none that a sheet can name.
    """
    if source.startswith("replay:"):
        raise ConfigError(f"--tools {source}: a recording answers one task only; name the tools themselves.")
    if source == "builtin:*":
        yield from ((tool, f"builtin:{tool.name}") for tool in load_tools([source]))
        return
    tools = load_tools([source])
    for tool in tools:
        yield (
            tool,
            source if len(tools) == 1 and not source.startswith(("openapi:", "mcp:")) else f"{source}#{tool.name}",
        )


def name_file(source: str) -> str:
    """Return the name of the file for a source.

    Example:
        >>> [name_file(source) for source in ("my_tools:TOOLS", "a.b:book", "openapi:docs/shop.yaml")]
        ['my_tools', 'a_b_book', 'shop']
    """
    scheme, _, rest = source.partition(":")
    if scheme in ("openapi", "mcp", "toolbench"):
        place = urlsplit(rest)
        name = (place.netloc if place.netloc else Path(rest).stem) or scheme
    elif scheme == "builtin":
        name = "builtin"
    else:
        name = scheme if rest.lower() in _LISTS else f"{scheme}_{rest}"
    return re.sub(r"\W+", "_", name).strip("_").lower() or "tools"


def summarize(written: Sequence[WrittenSheets]) -> str:
    """Return one line that says how much was written."""
    n_written = sum(len(each.written) for each in written)
    n_kept = sum(len(each.kept) for each in written)
    n_left_out = sum(len(each.left_out) for each in written)
    kept = f", {n_kept} were there already and are as they were" if n_kept else ""
    left_out = f", {n_left_out} {_be('tool', n_left_out)} left out" if n_left_out else ""
    return f"{n_written} {_be('sheet', n_written)} written{kept}{left_out}."


def _be(noun: str, n: int) -> str:
    return f"{noun} is" if n == 1 else f"{noun}s are"
