"""Roles of a checkpoint that are trained further, by the clock; the backbone stays as it is.

OUT/data/         what they are trained on
OUT/checkpoint/   the roles, trained further; those that are not trained are as they were

Each is whole or not there, and a stage of training goes on from its last checkpoint, so a run that was killed can be
started again.
"""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alpha_umi.errors import ConfigError
from alpha_umi.files import make_folder_atomically, write_json
from alpha_umi.nodes.format.trajectory import Role
from alpha_umi.nodes.models.engine.checkpoint import (
    CALLER_MAY_OMIT,
    CARD,
    REPEAT_NAMES,
    Checkpoint,
    read_checkpoint,
)
from alpha_umi.nodes.models.engine.fit import read_adapter_config
from alpha_umi.nodes.models.engine.weights import resolve
from alpha_umi.training.checkpoint_folder import LOGS, WORK
from alpha_umi.training.config import StageConfig, StageName, TrainConfig
from alpha_umi.training.data.build import BuildSettings, build
from alpha_umi.training.data.dataset import ROWS_FILE
from alpha_umi.training.glpft import StageReport, train

_logger = logging.getLogger(__name__)

DATA, CHECKPOINT = "data", "checkpoint"
MINUTES: Mapping[StageName, float] = {"planner": 0.6, "caller": 0.25, "summarizer": 0.15}
"""Shares of the time: the planner has the most to learn, and its turns are the longest."""
_WORLD, _BUILTIN = 0.35, 0.15
"""Conversations with the tools that ship, for each one that is new."""
_EPOCHS = 3.0
_USEFUL_STEPS = 50
"""Optimiser steps of a role after which teaching begins to show."""
_NEW_RANK = 16
_METHODS = ("umi", "single-multitask", "multi-one-stage")


@dataclass(frozen=True, kw_only=True)
class FurtherTraining:
    """Which roles of a checkpoint are trained further, for how long; see `read_start`."""

    start: Checkpoint
    roles: Sequence[Role]
    minutes: float
    seed: int

    def describe(self) -> dict[str, Any]:
        """Return all that the result depends on besides the data."""
        return {
            "start": {"backbone": self.start.backbone.sha256}
            | {role: part.sha256 for role, part in self.start.roles.items()},
            "roles": list(self.roles),
            "minutes": self.minutes,
            "seed": self.seed,
        }

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
            stages={role: self._make_stage(role, self.minutes * MINUTES[role] / share) for role in self.roles},
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


def read_start(start: str, roles: Sequence[Role]) -> Checkpoint:
    """Read a checkpoint some of whose roles are to be trained further.

    Args:
        start: A folder, or the name of one that ships.
        roles: Which of them.

    Raises:
        ConfigError: If it cannot be trained further.
        ModelNotAvailable: If the weights of its base are not here.
    """
    checkpoint = read_checkpoint(resolve(start))
    if checkpoint.card["method"] not in _METHODS:
        raise ConfigError(f"{start} plans and calls in one turn (method single), so it has no roles to train further.")
    for role in roles:
        if checkpoint.roles[role].kind == "full":
            raise ConfigError(
                f"The {role} of {start} is a whole model, and only adapters are trained further here; train it with a "
                "configuration of its own, see docs/training.md."
            )
    return checkpoint


def mix(n_new: int) -> list[str]:
    """Return sources of the data that ship, to go with so many new conversations so that nothing is forgotten."""
    return [f"world:{max(1, round(n_new * _WORLD))}", f"builtin:{max(1, round(n_new * _BUILTIN))}"]


def train_further(training: FurtherTraining, sources: Sequence[str], out: Path, settings: BuildSettings) -> Path:
    """Make the data and train the roles, as far as that is not done; return the folder of the checkpoint.

    Args:
        training: What to train.
        sources: Of the data, as `alpha-umi data build` takes them.
        out: Folder for both.
        settings: Of the data.

    Raises:
        ConfigError: If files cannot be written, or a tool that is run to make data cannot be run.
        TrainingStopped: If the loss is no number or the disk is full; another call goes on.
    """
    if not (out / DATA / ROWS_FILE).exists():
        build(sources, out / DATA, settings)
    if not (out / CHECKPOINT).exists():
        _copy(training.start, out / CHECKPOINT)
    config = training.make_config()
    for role in training.roles:
        [report] = train(config, out / DATA, out / CHECKPOINT, only=role, resume=True, progress=True)
        if advice := advise_minutes(report, training.minutes, training.roles):
            _logger.warning("%s", advice)
    return out / CHECKPOINT


def advise_minutes(report: StageReport, minutes: float, roles: Sequence[Role]) -> str | None:
    """Say how many minutes are needed where they were over after one step of many, which teaches nothing.

    Args:
        report: What was done for one role.
        minutes: Of the training of all of them.
        roles: Those that share the minutes.
    """
    n_steps, step_s = report.metrics["n_steps"], report.metrics.get("train_s", 0.0)
    if n_steps > 1 or report.n_steps == 1:
        return None
    share = MINUTES[report.name] / sum(MINUTES[role] for role in roles)
    needed = math.ceil(_USEFUL_STEPS * step_s / 60 / share)
    return (
        f"Too few minutes: of {minutes:g} the {report.name} had {minutes * share:.2g}, and its first step took "
        f"{step_s:.0f} s. Give {needed} or more, which are some {_USEFUL_STEPS} steps for it, and another folder."
    )


def _copy(start: Checkpoint, target: Path) -> None:
    """Copy a checkpoint as one of which no stage was trained here."""
    with make_folder_atomically(target) as fresh:
        shutil.copytree(start.path, fresh, ignore=shutil.ignore_patterns(LOGS, WORK), dirs_exist_ok=True)
        write_json(fresh / CARD, {**start.card, "method": _choose_method(start), "stages": {}})


def _choose_method(start: Checkpoint) -> Any:
    method = start.card["method"]
    return "umi" if method == "single-multitask" else method
