"""A share of the training data as a data folder of its own."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from alpha_umi.errors import ConfigError
from alpha_umi.files import write_atomically
from alpha_umi.training.data.dataset import ROWS_FILE, find_rows, read_rows
from alpha_umi.training.data.files import Record


def write_share(data: Path, fraction: float, out: Path) -> Path:
    """Write a share of the training split, drawn from all of it in the same way each time.

    A larger share holds all of a smaller one, so that a curve over shares shows what more data add.

    Args:
        data: Folder made by ``alpha-umi data build``, or its file.
        fraction: In (0, 1]; at least one trajectory is taken.
        out: Folder to write into.

    Returns:
        `out`.

    Raises:
        ConfigError: If there is no such data, or no training split in it.
    """
    rows = _read_training_rows(data)
    ranked = sorted(_rank(str(row.get("id"))) for row in rows)
    last = ranked[max(1, round(fraction * len(rows))) - 1]
    with write_atomically(out / ROWS_FILE) as file:
        for row in rows:
            if _rank(str(row.get("id"))) <= last:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return out


def hash_share(data: Path) -> str:
    """Return the sha256 of the training split."""
    digest = hashlib.sha256()
    for row in _read_training_rows(data):
        digest.update(json.dumps(row, sort_keys=True).encode())
    return digest.hexdigest()


def _read_training_rows(data: Path) -> list[Record]:
    rows = [row for _, row in read_rows(data, "train")]
    if not rows:
        raise ConfigError(
            f"{find_rows(data)} has no trajectory of the split 'train'; give a folder of 'alpha-umi data build'."
        )
    return rows


def _rank(id_: str) -> str:
    return hashlib.sha256(id_.encode("utf-8", "replace")).hexdigest()
