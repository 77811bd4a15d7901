"""Teaching a checkpoint other tools: its roles are trained further on tool sheets; see `alpha_umi.training.further`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alpha_umi.nodes.format.trajectory import ROLES, Role
from alpha_umi.nodes.models.engine.checkpoint import hash_file
from alpha_umi.training.data.build import BuildSettings
from alpha_umi.training.data.sheets.form import ToolSheet
from alpha_umi.training.data.sheets.load import list_sheet_files, load_sheets
from alpha_umi.training.further import FurtherTraining, mix, read_start, train_further

_EACH_MINUTE, _FEWEST, _MOST = 60, 240, 6_000
"""Conversations with the sheets' tools for a minute of training. Slow machines do not get through them all."""


@dataclass(frozen=True, kw_only=True)
class Lesson(FurtherTraining):
    """What is taught, and to whom; see `read_lesson`."""

    place: Path
    tools: Sequence[ToolSheet]

    def describe(self) -> dict[str, Any]:
        """Return all that the result depends on."""
        sheets = {path.name: hash_file(path) for path in list_sheet_files(self.place)}
        return {"sheets": sheets, **super().describe()}

    def list_sources(self) -> list[str]:
        """Return the sources of the training data, as `alpha-umi data build` takes them."""
        n_own = round(min(max(self.minutes * _EACH_MINUTE, _FEWEST), _MOST))
        return [f"world:{self.place},{n_own}", *mix(n_own)]


def read_lesson(
    sheets: Path, start: str, *, roles: Sequence[Role] = ROLES, minutes: float = 60.0, seed: int = 1
) -> Lesson:
    """Read sheets and checkpoint, before anything takes time.

    Args:
        sheets: Folder or file of tool sheets.
        start: Checkpoint whose roles are trained further: a folder, or the name of one that ships.
        roles: Which of them.
        minutes: Of training, for all roles together.
        seed: Of data and training.

    Raises:
        ConfigError: If a sheet is wrong (with file and line), or the checkpoint cannot be trained further.
        ModelNotAvailable: If the weights of its base are not here.
    """
    checkpoint = read_start(start, roles)
    ordered = [role for role in ROLES if role in roles]
    return Lesson(start=checkpoint, roles=ordered, minutes=minutes, seed=seed, place=sheets, tools=load_sheets(sheets))


def teach(lesson: Lesson, out: Path) -> Path:
    """Make the data and train the roles, as far as that is not done; return the folder of the checkpoint.

    Raises:
        ConfigError: If files cannot be written, or a tool that is run to make data cannot be run.
        TrainingStopped: If the loss is no number or the disk is full; another call goes on.
    """
    return train_further(lesson, lesson.list_sources(), out, BuildSettings(seed=lesson.seed))
