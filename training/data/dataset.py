"""The file that `alpha-umi data build` writes: one trajectory a line, as `{"id", "source", "split", "trajectory"}`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from alpha_umi.errors import ConfigError, TrajectoryError
from alpha_umi.nodes.format.trajectory import Trajectory
from alpha_umi.training.data.base import SPLITS, Example
from alpha_umi.training.data.files import Record, read_records
from alpha_umi.training.samples import IGNORE_INDEX, Sample, make_sample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROWS_FILE = "trajectories.jsonl"


def find_rows(data: str | Path) -> Path:
    """Return the file of trajectories: `data` itself, or the one in the folder `data`."""
    path = Path(data)
    return path / ROWS_FILE if path.is_dir() else path


def read_rows(data: str | Path, split: str | None = None) -> Iterator[tuple[str, Record]]:
    """Yield place (file and line) and row of every trajectory of a built folder or file, or only of one split.

    Raises:
        ConfigError: If there is no such file.
        TrajectoryError: If a line is no JSON object; the message names file and line.
    """
    for where, row in read_records(find_rows(data)):
        if split is None or row.get("split") == split:
            yield where, row


def make_row(example: Example) -> Record:
    """Return an example as a row."""
    names = ("id", "source", "split")
    return {name: getattr(example, name) for name in names} | {"trajectory": example.trajectory.to_row()}


def parse_row(row: Record, where: str) -> Example:
    """Validate one row.

    Raises:
        TrajectoryError: If it is none; the message names the place and the field.
    """
    if not isinstance(row.get("id"), str) or not isinstance(row.get("trajectory"), dict):
        raise TrajectoryError(
            f"{where}: expected 'id' and 'trajectory', as 'alpha-umi data build' writes them "
            "(of the commands that take the paper's own files, say --format umi)."
        )
    try:
        trajectory = Trajectory.from_row(row["trajectory"])
    except TrajectoryError as error:
        raise TrajectoryError(f"{where}: trajectory {row['id']!r}: {error}") from error
    split = row.get("split")
    return Example(row["id"], str(row.get("source", "")), trajectory, where, split=split if split in SPLITS else None)


ROLE_COLOURS = {"planner": "bold cyan", "caller": "bold yellow", "summarizer": "bold green"}


def show_row(folder: Path, number: int, tokenizer: PreTrainedTokenizerBase) -> Text:
    """Return trajectory `number` (from 0) of a built folder with its loss mask in colour.

    Raises:
        ConfigError: If there are not so many.
        TrajectoryError: If the line is no trajectory.
    """
    path = find_rows(folder)
    found = next(islice(read_rows(path), number, None), None) if number >= 0 else None
    if found is None:
        raise ConfigError(f"{path} has no trajectory number {number}; they count from 0, see report.md for how many.")
    example = parse_row(found[1], found[0])
    text = Text(f"{example.id} ({example.split})\n", style="bold")
    return text.append_text(show_sample(make_sample(example.trajectory, tokenizer), tokenizer))


def show_sample(sample: Sample, tokenizer: PreTrainedTokenizerBase) -> Text:
    """Return a sample's text, trained tokens in the colour of their role, all others dim, and a line of counts.

    Example:
        ``Next: conclusion.<|im_end|>`` of a planner is cyan; the observation before it is dim.
    """
    text, position = Text(), 0
    for turn in sample.turns:
        text.append(str(tokenizer.decode(sample.input_ids[position : turn.start])), style="dim")
        text.append(str(tokenizer.decode(sample.input_ids[turn.start : turn.end])), style=ROLE_COLOURS[turn.role])
        position = turn.end
    text.append(str(tokenizer.decode(sample.input_ids[position:])), style="dim")
    n_trained = sum(label != IGNORE_INDEX for label in sample.labels)
    text.append(f"\n{len(sample.input_ids):,} tokens, {n_trained:,} trained: ", style="bold")
    for role, colour in ROLE_COLOURS.items():
        n_tokens = sum(turn.end - turn.start for turn in sample.turns if turn.role == role)
        text.append(f"{role} {n_tokens:,}  ", style=colour)
    return text.append("\n")
