"""The checkpoint folder while it is being trained.

OUT/umi.json, OUT/<stage>/           finished stages; a stage counts only once ``umi.json`` names it
OUT/.work/<stage>/                   Trainer checkpoints of a stage that is not finished, and what it is made from
OUT/logs/<stage>/                    metrics.jsonl and TensorBoard files
OUT/logs/loss.svg                    the losses of all stages, drawn at the end

Every step leaves the folder in a state from which the next run can continue, so a kill at any moment loses only the
work since the last Trainer checkpoint.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from transformers import PreTrainedTokenizerBase

from alpha_umi.documents import read_document
from alpha_umi.errors import ConfigError
from alpha_umi.files import write_json
from alpha_umi.nodes.models.engine.checkpoint import CARD, TEMPLATE, read_card
from alpha_umi.training.callbacks import METRICS
from alpha_umi.training.charts import ChartPoint, Line, draw_lines
from alpha_umi.training.config import STAGES, StageName
from alpha_umi.training.stage import EXPORT
from alpha_umi.training.trainer import saving

WORK = ".work"
LOGS = "logs"
CURVES = "loss.svg"
_INPUTS = "inputs.json"
_N_POINTS = 60


class CheckpointFolder:
    """The folder, which need not exist, and its card; `fresh` is the card to begin with where there is none."""

    def __init__(self, path: Path, fresh: Mapping[str, Any]) -> None:
        """Read the card; nothing is written yet."""
        self.path = path
        self.has_begun = (path / CARD).exists() or (path / WORK).exists()
        self.card: dict[str, Any] = read_card(path) if (path / CARD).is_file() else dict(fresh)

    def get_work(self, stage: StageName) -> Path:
        """Return the folder of an unfinished stage."""
        return self.path / WORK / stage

    def get_begun(self, stage: StageName) -> dict[str, Any] | None:
        """Return what an unfinished stage is being made from."""
        path = self.get_work(stage) / _INPUTS
        if not path.is_file():
            return None
        inputs: dict[str, Any] = read_document(path, f"remove {path.parent} to start over", dict[str, Any])
        return inputs

    def find_precision(self) -> Any:
        """Return the precision in which its stages were begun, if any was."""
        entries: list[Any] = [entry["inputs"] for entry in self.card["stages"].values()]
        return next((each["precision"] for each in [*entries, *map(self.get_begun, STAGES)] if each), None)

    def begin(self, stage: StageName, inputs: Mapping[str, Any], *, start_over: bool) -> None:
        """Prepare the work folder of a stage; with `start_over`, forget what an earlier run did for it."""
        work = self.get_work(stage)
        if start_over:
            _remove(work)
        work.mkdir(parents=True, exist_ok=True)
        with saving(work / _INPUTS):
            write_json(work / _INPUTS, inputs)

    def publish(self, stage: StageName) -> None:
        """Put a stage's export in its place and then write the card, which is what counts."""
        work, target = self.get_work(stage), self.path / stage
        if target.exists():
            shutil.rmtree(work / "old", ignore_errors=True)
            target.replace(work / "old")
        (work / EXPORT).replace(target)
        with saving(self.path / CARD):
            write_json(self.path / CARD, self.card)
        _remove(work)

    def save_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Write the tokenizer once; its template goes last, so that its presence says that all is there."""
        if (self.path / TEMPLATE).is_file():
            return
        folder = self.path / WORK / "tokenizer"
        with saving(folder):
            tokenizer.save_pretrained(folder)
        for path in sorted(folder.iterdir(), key=lambda path: path.name == TEMPLATE):
            path.replace(self.path / path.name)
        folder.rmdir()


def _remove(work: Path) -> None:
    """Remove a work folder; a kill in between must not leave one that looks as if it could be resumed."""
    (work / _INPUTS).unlink(missing_ok=True)
    shutil.rmtree(work, ignore_errors=True)


def draw_curves(logs: Path) -> str:
    """Return the losses of every stage that has metrics as a chart, in SVG.

    Raises:
        ConfigError: If no stage has logged a loss yet, or matplotlib is not installed.
    """
    lines = read_curves(logs)
    if not lines:
        raise ConfigError(f"{logs} holds no metrics with a loss; give the logs folder of a training that has begun.")
    return draw_lines(lines, title="Training loss (nats per trained token)", x_title="optimiser step")


def read_curves(logs: Path) -> list[Line]:
    """Return the losses of each stage.

    A point is the mean of consecutive optimiser steps, so that at most `_N_POINTS` are on a line; its band reaches from
    the lowest to the highest of them.
    """
    return [Line(stage, points) for stage in STAGES if (points := list(_read_points(logs / stage / METRICS)))]


def _read_points(path: Path) -> Iterator[ChartPoint]:
    text = path.read_text("utf-8") if path.is_file() else ""
    rows = [row for row in map(json.loads, text.splitlines()) if "loss" in row]
    size = -(-len(rows) // _N_POINTS)
    for start in range(0, len(rows), max(1, size)):
        group = rows[start : start + size]
        losses = [row["loss"] for row in group]
        yield ChartPoint(fmean(row["step"] for row in group), fmean(losses), min(losses), max(losses))
