from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from alpha_umi.errors import ConfigError
from alpha_umi.training.evaluation.scaling import hash_share, write_share


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [{"id": f"r{i}", "split": "dev-tools" if i % 5 == 4 else "train"} for i in range(50)]
    (tmp_path / "trajectories.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def take(data: Path, fraction: float) -> list[str]:
    folder = write_share(data, fraction, data / f"{fraction:g}")
    return [json.loads(line)["id"] for line in (folder / "trajectories.jsonl").read_text().splitlines()]


def test_a_larger_share_holds_the_smaller_ones(data: Path) -> None:
    shares = [take(data, fraction) for fraction in (0.001, 0.25, 0.5, 1)]
    assert [len(share) for share in shares] == [1, 10, 20, 40]
    assert all(set(small) < set(large) for small, large in itertools.pairwise(shares))
    assert take(data, 0.25) == shares[1]


def test_a_share_has_training_rows_in_their_order_only(data: Path) -> None:
    numbers = [int(id_[1:]) for id_ in take(data, 0.5)]
    assert numbers == sorted(numbers)
    assert all(number % 5 != 4 for number in numbers)


def test_the_hash_is_that_of_the_training_rows(data: Path, tmp_path: Path) -> None:
    whole = write_share(data, 1, tmp_path / "whole")
    assert hash_share(whole) == hash_share(data) != hash_share(write_share(data, 0.5, tmp_path / "half"))


def test_data_without_a_training_split_are_refused(tmp_path: Path) -> None:
    (tmp_path / "trajectories.jsonl").write_text('{"id": "a", "split": "dev-tools"}\n')
    with pytest.raises(ConfigError, match="data build"):
        write_share(tmp_path, 1, tmp_path / "out")
