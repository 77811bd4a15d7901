"""`alpha-umi data show`: one training sample as the model sees it, every trained token in its role's colour."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from alpha_umi.errors import ConfigError
from alpha_umi.training.data.dataset import find_rows, parse_row, read_rows
from alpha_umi.training.samples import IGNORE_INDEX, Sample, make_sample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROLE_COLOURS = {"planner": "bold cyan", "caller": "bold yellow", "summarizer": "bold green"}
_MASKED = "dim"


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
