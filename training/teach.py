"""Teaching a checkpoint other tools: its roles are trained further on tool sheets, the backbone stays as it is.

OUT/data/         conversations of the sheets, and some of what ships with the package, so that nothing is forgotten
OUT/checkpoint/   the roles, trained further; those that are not taught are as they were

Each is whole or not there, and a stage of training goes on from its last checkpoint, so a run that was killed can be
started again.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alpha_umi.errors import ConfigError
from alpha_umi.files import make_folder_atomically, write_json
from alpha_umi.nodes.format.trajectory import ROLES, Role
from alpha_umi.nodes.models.engine.checkpoint import (
    CALLER_MAY_OMIT,
    CARD,
    REPEAT_NAMES,
    Checkpoint,
    hash_file,
    read_checkpoint,
)
from alpha_umi.nodes.models.engine.fit import read_adapter_config
from alpha_umi.nodes.models.engine.weights import resolve
from alpha_umi.training.checkpoint_folder import LOGS, WORK
from alpha_umi.training.config import StageConfig, TrainConfig
from alpha_umi.training.data.build import BuildSettings, build
from alpha_umi.training.data.dataset import ROWS_FILE
from alpha_umi.training.data.sheets.form import ToolSheet
from alpha_umi.training.data.sheets.load import list_sheet_files, load_sheets
from alpha_umi.training.glpft import train

DATA, CHECKPOINT = "data", "checkpoint"
MINUTES: Mapping[Role, float] = {"planner": 0.6, "caller": 0.25, "summarizer": 0.15}
"""Shares of the time: the planner has the most to learn, and its turns are the longest."""
_EACH_MINUTE, _FEWEST, _MOST = 60, 240, 6_000
"""Conversations with the sheets' tools for a minute of training. Slow machines do not get through them all."""
_WORLD, _BUILTIN = 0.35, 0.15
"""Conversations with the tools that ship, for each of the sheets'."""
_EPOCHS = 3.0
_NEW_RANK = 16
_METHODS = ("umi", "single-multitask", "multi-one-stage")


@dataclass(frozen=True)
class Lesson:
    """What is taught, and to whom; see `read_lesson`."""

    place: Path
    tools: Sequence[ToolSheet]
    name: str
    start: Checkpoint
    roles: Sequence[Role]
    minutes: float
    seed: int

    def describe(self) -> dict[str, Any]:
        """Return all that the result depends on."""
        return {
            "sheets": {path.name: hash_file(path) for path in list_sheet_files(self.place)},
            "start": {"backbone": self.start.backbone.sha256}
            | {role: part.sha256 for role, part in self.start.roles.items()},
            "roles": list(self.roles),
            "minutes": self.minutes,
            "seed": self.seed,
        }

    def list_sources(self) -> list[str]:
        """Return the sources of the training data, as `alpha-umi data build` takes them."""
        n_own = round(min(max(self.minutes * _EACH_MINUTE, _FEWEST), _MOST))
        return [
            f"world:{self.place},{n_own}",
            f"world:{round(n_own * _WORLD)}",
            f"builtin:{round(n_own * _BUILTIN)}",
        ]

    def make_config(self) -> TrainConfig:
        """Return the settings of the training."""
        card, share = self.start.card, sum(MINUTES[role] for role in self.roles)
        before: Mapping[str, Any] = card.get("config", {})
        return TrainConfig(
            method=_choose_method(self.start),
            base=self.start.base,
            base_sha256=self.start.base_sha256,
            start_from=str(self.start.path),
            seed=self.seed,
            max_tokens=before.get("max_tokens", 2560),
            token_weights=before.get("token_weights", {}),
            caller_may_omit=card.get(CALLER_MAY_OMIT, False),
            repeat_names=card.get(REPEAT_NAMES, False),
            stages={
                "backbone": StageConfig(kind="lora", learning_rate=1e-9),  # is not trained
                **{role: self._make_stage(role, self.minutes * MINUTES[role] / share) for role in ROLES},
            },
        )

    def _make_stage(self, role: Role, minutes: float) -> StageConfig:
        part = self.start.roles[role]
        rank = read_adapter_config(part.path)["r"] if part.path else _NEW_RANK
        return StageConfig(
            kind="alora" if part.kind == "none" else part.kind,
            learning_rate=6e-4,
            epochs=_EPOCHS,
            max_minutes=minutes,
            warmup_ratio=0.08,
            tokens_per_forward=2560,
            forwards_per_step=2,
            lora_rank=rank,
            lora_alpha=2 * rank,
            save_every_steps=10,
        )


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
    checkpoint = read_checkpoint(resolve(start))
    if checkpoint.card["method"] not in _METHODS:
        raise ConfigError(f"{start} plans and calls in one turn (method single), so it has no roles to teach.")
    for role in roles:
        if checkpoint.roles[role].kind == "full":
            raise ConfigError(
                f"The {role} of {start} is a whole model, and only adapters are trained further here; train it with a "
                "configuration of its own, see docs/training.md."
            )
    ordered = [role for role in ROLES if role in roles]
    return Lesson(sheets, load_sheets(sheets), start, checkpoint, ordered, minutes, seed)


def teach(lesson: Lesson, out: Path) -> Path:
    """Make the data and train the roles, as far as that is not done; return the folder of the checkpoint.

    Raises:
        ConfigError: If files cannot be written, or a tool that is run to make data cannot be run.
        TrainingStopped: If the loss is no number or the disk is full; another call goes on.
    """
    if not (out / DATA / ROWS_FILE).exists():
        build(lesson.list_sources(), out / DATA, BuildSettings(seed=lesson.seed))
    if not (out / CHECKPOINT).exists():
        _copy(lesson.start, out / CHECKPOINT)
    config = lesson.make_config()
    for role in lesson.roles:
        train(config, out / DATA, out / CHECKPOINT, only=role, resume=True, progress=True)
    return out / CHECKPOINT


def _copy(start: Checkpoint, target: Path) -> None:
    """Copy a checkpoint as one of which no stage was trained here."""
    with make_folder_atomically(target) as fresh:
        shutil.copytree(start.path, fresh, ignore=shutil.ignore_patterns(LOGS, WORK), dirs_exist_ok=True)
        write_json(fresh / CARD, {**start.card, "method": _choose_method(start), "stages": {}})


def _choose_method(start: Checkpoint) -> Any:
    method = start.card["method"]
    return "umi" if method == "single-multitask" else method
