"""First sheets for all tools of a source, in a file that people go on with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from langchain_core.tools import BaseTool

from alpha_umi.errors import ConfigError
from alpha_umi.tools.convert import spec_from_tool
from alpha_umi.tools.load import load_tools
from alpha_umi.training.data.sheets.draft.draft import CannotDraft, SheetDraft, TakenWords, draft_sheet
from alpha_umi.training.data.sheets.draft.sheet_file import add_items, load_items

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
    """

    path: Path
    written: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    guesses: dict[str, list[str]] = field(default_factory=dict)


def write_sheets(source: str, out: Path) -> WrittenSheets:
    """Write a first sheet for each tool of a source that has none in its file.

    Args:
        source: What ``--tools`` takes, such as ``my_tools:TOOLS``.
        out: Folder for the file, which has the name of the source.

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
    in_order = [drafts[reference] for _, reference in found if reference in drafts]
    if in_order:
        add_items(path, path.stem.replace("_", " "), [(draft.item, draft.comments) for draft in in_order])
    return written


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
    return f"{n_written} sheets are written{kept}{f', {n_left_out} tools are left out' if n_left_out else ''}."
