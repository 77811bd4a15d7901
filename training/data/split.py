"""Who goes into training and who is held out: by tool, and by instruction.

A trajectory that calls a held-out tool is in ``dev-tools``; elsewhere the documents of held-out tools are taken away,
so that training never sees them, not even among the tools to choose from. Of the rest a share of the instructions is in
``dev-instructions``.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.trajectory import Trajectory
from alpha_umi.training.data.dataset import Example, Split
from alpha_umi.training.data.files import open_text

_MAX_HASH = 1 << 64


@dataclass(slots=True)
class ToolUse:
    """How many trajectories of each source call each tool."""

    totals: Counter[str] = field(default_factory=Counter)
    calls: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    pinned: set[str] = field(default_factory=set)

    def add(self, source: str, trajectory: Trajectory, *, movable: bool) -> None:
        """Count one trajectory; the tools of one that its source has put into a split cannot be held out."""
        self.totals[source] += 1
        if not movable:
            self.pinned.update(tool.name for tool in trajectory.tools)
            return
        for name in called_tools(trajectory):
            self.calls[name][source] += 1


def choose_heldout_tools(use: ToolUse, share: float, seed: int) -> frozenset[str]:
    """Return tools in random order as long as no source loses more than `share` of its trajectories to them.

    So a source with one tool, as GSM8K has, loses none.
    """
    budget = {source: share * total for source, total in use.totals.items()}
    chosen = []
    for name in sorted(use.calls.keys() - use.pinned, key=lambda name: hash_text(name, seed)):
        if all(n_calls <= budget[source] for source, n_calls in use.calls[name].items()):
            chosen.append(name)
            for source, n_calls in use.calls[name].items():
                budget[source] -= n_calls
    return frozenset(chosen)


def assign_split(
    trajectory: Trajectory, group: str, *, heldout_tools: AbstractSet[str], share: float, seed: int
) -> tuple[Split, Trajectory]:
    """Return the split of a trajectory, and the trajectory with only the tools that this split may see.

    A `share` of the groups is held out, by `seed`; one group comes into one split, as far as the tools allow.
    """
    known = tuple(tool for tool in trajectory.tools if tool.name not in heldout_tools)
    if not known or not heldout_tools.isdisjoint(called_tools(trajectory)):
        return "dev-tools", trajectory
    held_out = hash_text(group, seed) < share * _MAX_HASH
    return "dev-instructions" if held_out else "train", replace(trajectory, tools=known)


def called_tools(trajectory: Trajectory) -> set[str]:
    """Return the names of all tools that are called."""
    return {call.name for turn in trajectory.turns for step in turn.steps for call in step.calls}


def hash_text(text: str, seed: int) -> int:
    """Return a number in [0, 2**64) that is the same on every machine."""
    return int.from_bytes(blake2b(f"{seed} {text}".encode(), digest_size=8).digest(), "big")


_KEYS = ("id", "query_id", "task_id", "instruction", "query", "question", "input")


class Exclusions:
    """Test tasks: ids of examples, the sources' own task numbers, or instructions, in any mixture."""

    def __init__(self, entries: Iterable[str] = ()) -> None:
        """Remember the entries; instructions are compared without regard to case and spacing."""
        self._entries = {normalize(entry) for entry in entries}

    def __contains__(self, example: Example) -> bool:
        """Say whether the example is one of the tasks."""
        names = [example.id, example.task_id, *(turn.instruction for turn in example.trajectory.turns)]
        return any(normalize(name) in self._entries for name in names if name)


def load_exclusions(*paths: Path) -> Exclusions:
    """Read files of test tasks: one id or instruction per line, JSON Lines, or JSON.

    JSON may be a list or, as ToolBench's `test_query_ids` are, an object with the ids as keys; a listed object counts
    with its id and its instruction.

    Raises:
        ConfigError: If there is no such file, or it names nothing.
    """
    entries: list[str] = []
    for path in paths:
        if not path.is_file():
            raise ConfigError(f"--exclude {path}: no such file.")
        try:
            with open_text(path) as file:
                found = [entry for entry in _parse(file.read()) if entry.strip()]
        except (OSError, EOFError, ValueError, RecursionError, zlib.error) as error:
            raise ConfigError(f"--exclude {path} cannot be read ({error}); give a text file in UTF-8.") from error
        if not found:
            raise ConfigError(f"--exclude {path}: the file names no id and no instruction; nothing would be excluded.")
        entries += found
    return Exclusions(entries)


def normalize(text: str) -> str:
    """Return `text` in the form in which instructions are compared."""
    return " ".join(text.split()).casefold()


def _parse(text: str) -> Iterator[str]:
    value = _parse_json(text)
    if value == text:
        value = [_parse_json(line) for line in text.splitlines()]
    elif isinstance(value, dict) and not any(key in value for key in _KEYS):
        value = list(value)
    for item in value if isinstance(value, list) else [value]:
        yield from (str(item[key]) for key in _KEYS if key in item) if isinstance(item, dict) else [str(item)]


def _parse_json(text: str) -> Any:
    """Return the value, or the text itself if it is no JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text
