"""What the tests of all sources need: files to read, and a way to read them to the end."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alpha_umi.errors import TrajectoryError
from alpha_umi.training.data.clean import clean
from alpha_umi.training.data.dataset import UNREADABLE, Example, Tally
from alpha_umi.training.data.sources import load_reader

Read = Callable[..., tuple[list[Example], Tally]]
WriteLines = Callable[..., str]


@pytest.fixture
def write_lines(tmp_path: Path) -> WriteLines:
    """Write records as JSON Lines and return the path."""

    def write(records: Sequence[Any], name: str = "records.jsonl") -> str:
        path = tmp_path / name
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def read() -> Read:
    """Read a source to its end, clean every trajectory as a build does, and return what is left and the counts.

    Raises:
        TrajectoryError: If a record cannot be read, unless `is_lenient`.
    """

    def read_all(name: str, location: str, seed: int = 0, *, is_lenient: bool = False) -> tuple[list[Example], Tally]:
        tally = Tally()
        kept = []
        for example in load_reader(name)(location, tally, seed=seed):
            trajectory = clean(example, tally, max_observation_chars=4000)
            if trajectory is not None:
                kept.append(replace(example, trajectory=trajectory))
        if UNREADABLE in tally.dropped and not is_lenient:
            raise TrajectoryError(tally.first[UNREADABLE])
        return kept, tally

    return read_all
