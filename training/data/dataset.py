"""Trajectories for training: what a data source gives, and the file that `alpha-umi data build` writes.

A line of the file is one trajectory: ``{"id", "source", "split", "trajectory"}``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, get_args

from rich.text import Text

from alpha_umi.errors import ConfigError, TrajectoryError
from alpha_umi.nodes.format.trajectory import Trajectory
from alpha_umi.training.data.files import Record, blame, read_records
from alpha_umi.training.samples import IGNORE_INDEX, Sample, make_sample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROWS_FILE = "trajectories.jsonl"
UNREADABLE = "record that cannot be read"
_MAX_FAULT_CHARS = 400
ROLE_COLOURS = {"planner": "bold cyan", "caller": "bold yellow", "summarizer": "bold green"}
Split: TypeAlias = Literal["train", "dev-tools", "dev-instructions"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True, slots=True)
class Example:
    """One trajectory, of at least one tool and one step, on its way into the training file.

    Args:
        id: Unique in the built file; starts with the source's name.
        where: File and line (or archive member) it came from, for messages to the user.
        task_id: The task's number in the source's own counting, for ``--exclude`` files that list such numbers.
        group: Examples of one group stay in one split; by default those with the same first instruction.
        split: Set by a source that knows the split itself, as a generator with held-out wording does.
    """

    id: str
    source: str
    trajectory: Trajectory
    where: str
    task_id: str = ""
    group: str = ""
    split: Split | None = None


@dataclass(slots=True)
class Tally:
    """How many records of one source were kept, repaired or dropped, for which reasons, and where each came first."""

    kept: int = 0
    repaired: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    place: str = ""

    @contextmanager
    def reading(self, where: str) -> Iterator[None]:
        """Read one record: repairs and drops in this block name its place; one with any other fault is skipped."""
        self.place = where
        try:
            with blame(where):
                yield
        except TrajectoryError as error:
            self.skip(error)

    def skip(self, error: TrajectoryError) -> None:
        """Count a record that cannot be read; the error names its place."""
        self.drop(UNREADABLE, " ".join(str(error).split())[:_MAX_FAULT_CHARS])

    def repair(self, reason: str, where: str = "") -> None:
        """Count one repair, of the record being read or of the one at `where`."""
        self.repaired[reason] += 1
        self.first.setdefault(reason, where or self.place)

    def drop(self, reason: str, where: str = "") -> None:
        """Count one dropped record: the one being read or the one at `where`."""
        self.dropped[reason] += 1
        self.first.setdefault(reason, where or self.place)

    def to_json(self) -> dict[str, Any]:
        """Return what ``report.json`` says about the source."""
        changes = {
            kind: {reason: {"count": n, "first": self.first[reason]} for reason, n in counter.most_common()}
            for kind, counter in (("repaired", self.repaired), ("dropped", self.dropped))
        }
        return {"kept": self.kept, **changes}


class Reader(Protocol):
    """How a source is read.

    A record with a fault that is known of the source is repaired or dropped, and counted in `tally`. One with any other
    fault is read, and its example yielded, within `tally.reading`, which drops and counts it: an odd record never stops
    a build. A file that cannot be read at all raises `TrajectoryError`.
    """

    def __call__(self, location: str, tally: Tally, *, seed: int) -> Iterator[Example]:
        """Yield the examples at `location`: a file, a folder, or what the source's docstring says."""
        ...


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
            "(for the paper's own files, where a command takes them, say --format umi)."
        )
    try:
        trajectory = Trajectory.from_row(row["trajectory"])
    except TrajectoryError as error:
        raise TrajectoryError(f"{where}: trajectory {row['id']!r}: {error}") from error
    split = row.get("split")
    return Example(row["id"], str(row.get("source", "")), trajectory, where, split=split if split in SPLITS else None)


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
