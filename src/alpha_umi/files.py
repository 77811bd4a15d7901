"""Files and folders that appear whole or not at all, whenever the process is killed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO
from uuid import uuid4


@contextmanager
def write_atomically(path: Path) -> Iterator[TextIO]:
    """Open a temporary UTF-8 file next to `path` that replaces it if the block succeeds, and else is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with temporary.open("x", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically."""
    with write_atomically(path) as file:
        json.dump(value, file, indent=2)
        file.write("\n")


@contextmanager
def make_folder_atomically(path: Path) -> Iterator[Path]:
    """Give a fresh folder next to `path` that takes its place if the block succeeds, and else is removed.

    A folder that is there already is replaced. A kill between the two renames leaves none; the next call puts the old
    one back first. Only one process at a time may make a folder: a second one removes what the first has begun.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh, old = (path.with_name(f".{path.name}.{state}") for state in ("new", "old"))
    _tidy(path, fresh, old)
    try:
        fresh.mkdir()
        yield fresh
        if path.exists():
            path.replace(old)
        fresh.replace(path)
    finally:
        _tidy(path, fresh, old)


def _tidy(path: Path, fresh: Path, old: Path) -> None:
    if old.exists() and not path.exists():
        old.replace(path)
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
