"""`alpha-umi data show`: one training sample as the model sees it, every trained token in its role's colour."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from alpha_umi.errors import ConfigError, TrajectoryError
from alpha_umi.nodes.format.render import Style
from alpha_umi.nodes.format.trajectory import Trajectory
from alpha_umi.training.data.build import ROWS_FILE
from alpha_umi.training.data.files import Record, read_records
from alpha_umi.training.samples import IGNORE_INDEX, Sample, make_samples

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROLE_COLOURS = {"planner": "bold cyan", "caller": "bold yellow", "summarizer": "bold green"}
_MASKED = "dim"


def show_row(folder: Path, number: int, tokenizer: PreTrainedTokenizerBase, *, style: Style = "umi") -> Text:
    """Return trajectory `number` (from 0) of a built folder with its loss mask in colour.

    Raises:
        ConfigError: If there are not so many.
        TrajectoryError: If the line is no trajectory.
    """
    where, row = _find_row(folder / ROWS_FILE, number)
    try:
        trajectory = Trajectory.from_row(row["trajectory"])
    except (KeyError, TrajectoryError) as error:
        raise TrajectoryError(f"{where}: {error}") from error
    text = Text(f"{row.get('id')} ({row.get('split')})\n", style="bold")
    for sample in make_samples(trajectory, tokenizer, style=style):
        text.append_text(show_sample(sample, tokenizer))
    return text


def show_sample(sample: Sample, tokenizer: PreTrainedTokenizerBase) -> Text:
    """Return a sample's text, trained tokens in the colour of their role, all others dim, and a line of counts.

    Example:
        ``Next: conclusion.<|im_end|>`` of a planner is cyan; the observation before it is dim.
    """
    text = Text()
    for start, end, colour in _spans(sample):
        text.append(str(tokenizer.decode(sample.input_ids[start:end])), style=colour)
    n_trained = sum(label != IGNORE_INDEX for label in sample.labels)
    text.append(f"\n{len(sample.input_ids):,} tokens, {n_trained:,} trained: ", style="bold")
    for role, colour in ROLE_COLOURS.items():
        n_tokens = sum(turn.end - turn.start for turn in sample.turns if turn.role == role)
        text.append(f"{role} {n_tokens:,}  ", style=colour)
    return text.append("\n")


def _spans(sample: Sample) -> Iterator[tuple[int, int, str]]:
    """Yield ``[start, end)`` and colour of every stretch, trained or not."""
    position = 0
    for turn in sample.turns:
        yield position, turn.start, _MASKED
        yield turn.start, turn.end, ROLE_COLOURS[turn.role]
        position = turn.end
    yield position, len(sample.input_ids), _MASKED


def _find_row(path: Path, number: int) -> tuple[str, Record]:
    found: Any = next(islice(read_records(path), number, None), None) if number >= 0 else None
    if found is None:
        raise ConfigError(f"{path} has no trajectory number {number}; they count from 0, see report.md for how many.")
    where, row = found
    return where, row
