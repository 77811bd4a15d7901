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
    """Open a temporary UTF-8 file beside `path` that replaces it when the block ends well and is removed otherwise."""
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
    """Give a fresh folder beside `path` that becomes `path` when the block ends well and is removed otherwise.

    A folder that is there already is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh, old = (path.with_name(f".{path.name}.{uuid4().hex}.{part}") for part in ("new", "old"))
    try:
        fresh.mkdir()
        yield fresh
        if path.exists():
            path.replace(old)
        fresh.replace(path)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
