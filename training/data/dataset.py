"""The file that `alpha-umi data build` writes: one trajectory a line, as `{"id", "source", "split", "trajectory"}`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from alpha_umi.errors import TrajectoryError
from alpha_umi.nodes.format.trajectory import Trajectory
from alpha_umi.training.data.base import SPLITS, Example
from alpha_umi.training.data.files import Record, read_records

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
