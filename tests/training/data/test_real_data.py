"""The public data sets themselves, where somebody has them beside the repository: every known fault is survived."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from alpha_umi.training.data.clean import clean
from alpha_umi.training.data.dataset import Tally
from alpha_umi.training.data.sources import load_reader

DATA = Path(__file__).parents[4] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the public data sets are not beside the repository")


def read_first(name: str, *files: str, n: int = 500) -> tuple[Counter[str], Tally]:
    """Read the first `n` records and count the decisions that are left."""
    tally = Tally()
    decisions: Counter[str] = Counter()
    for example in islice(load_reader(name)(",".join(str(DATA / file) for file in files), tally, seed=0), n):
        trajectory = clean(example, tally, max_observation_chars=4000)
        if trajectory is not None:
            tally.kept += 1
            decisions.update(step.decision for turn in trajectory.turns for step in turn.steps)
    return decisions, tally


def test_real_toolbench() -> None:
    decisions, tally = read_first("toolbench", "toolbench_answers.tar.gz")
    assert tally.kept == 474
    assert decisions["give up"] == 223
    assert decisions["conclusion"] == 245
    assert tally.repaired["call of a tool that does not exist removed"] > 15


def test_real_gsm8k() -> None:
    decisions, tally = read_first("gsm8k", "gsm8k_train.jsonl.gz")
    assert tally.kept == 500
    assert decisions["caller"] > 1000
    assert not tally.dropped["calculator disagrees with the stated value"]


def test_real_complexfuncbench() -> None:
    decisions, tally = read_first("complexfuncbench", "complexfuncbench_train.jsonl.gz", n=784)
    assert tally.kept == 784
    assert decisions["conclusion"] > 650


def test_real_fireact() -> None:
    decisions, tally = read_first("fireact", "fireact_search.jsonl.gz", n=1086)
    assert tally.kept == decisions["conclusion"] == 1046
    assert tally.dropped == {"wrong answer": 40}


def test_real_sealtools() -> None:
    decisions, tally = read_first("sealtools", "sealtools_train.jsonl.gz", "sealtools_tools.jsonl.gz", n=1400)
    assert tally.kept == 1400
    assert decisions["caller"] == 3599


def test_real_toolrl() -> None:
    decisions, tally = read_first("toolrl", "toolrl_sft.jsonl.gz")
    assert tally.kept >= 399
    assert decisions["caller"] > 350


def test_real_star() -> None:
    decisions, tally = read_first("star", "star.jsonl.gz")
    assert tally.kept >= 495
    assert decisions["caller"] > 1300
    assert sum(tally.repaired.values()) < 30


def test_real_taskmaster4() -> None:
    decisions, tally = read_first("taskmaster4", "taskmaster4.jsonl.gz", n=3710)
    assert tally.kept == 3708
    assert decisions["caller"] == 15388
    assert tally.repaired["value quoted twice"] == 70


def test_real_metatool() -> None:
    decisions, tally = read_first("metatool", "metatool.jsonl.gz", n=2000)
    assert tally.kept == decisions["caller"] == 2000


def test_real_toolverifier() -> None:
    decisions, tally = read_first("toolverifier", "toolverifier.csv.gz")
    assert tally.kept == decisions["caller"] == 500
