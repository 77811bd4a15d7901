"""Which tasks must not be trained on, because someone will be tested on them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from alpha_umi.errors import ConfigError
from alpha_umi.training.data.base import Example
from alpha_umi.training.data.files import open_text

_KEYS = ("id", "query_id", "task_id", "instruction", "query", "question", "input")


class Exclusions:
    """Ids and instructions of test tasks.

    Args:
        entries: Ids of examples, the sources' own task numbers, or instructions, in any mixture.
    """

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
    return Exclusions(entry for path in paths for entry in _read(path))


def _read(path: Path) -> list[str]:
    if not path.is_file():
        raise ConfigError(f"--exclude {path}: no such file.")
    with open_text(path) as file:
        text = file.read()
    entries = [entry for entry in _parse(text) if entry.strip()]
    if not entries:
        raise ConfigError(f"--exclude {path}: the file names no id and no instruction; nothing would be excluded.")
    return entries


def normalize(text: str) -> str:
    """Return `text` in the form in which instructions are compared."""
    return " ".join(text.split()).casefold()


def _parse(text: str) -> Iterator[str]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        for line in text.splitlines():
            yield from _parse_line(line)
        return
    if isinstance(value, dict) and not any(key in value for key in _KEYS):
        yield from map(str, value)
        return
    for item in value if isinstance(value, list) else [value]:
        yield from _names(item)


def _parse_line(line: str) -> Iterator[str]:
    try:
        yield from _names(json.loads(line))
    except json.JSONDecodeError:
        yield line


def _names(item: Any) -> Iterator[str]:
    if isinstance(item, dict):
        yield from (str(item[key]) for key in _KEYS if key in item)
    else:
        yield str(item)
