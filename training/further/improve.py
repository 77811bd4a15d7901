"""Rejection sampling: of several runs of each task the right ones become training data (expert iteration).

Source: Yuan et al., "Scaling Relationship on Learning Mathematical Reasoning" (arXiv 2308.01825), keeps one run for
each distinct way as well.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from alpha_umi.errors import ConfigError
from alpha_umi.files import write_atomically, write_json
from alpha_umi.nodes.format.escaping import replace_surrogates
from alpha_umi.nodes.format.trajectory import Trajectory
from alpha_umi.training.data.build import BuildSettings, list_way
from alpha_umi.training.data.dataset import Example, make_row, read_rows
from alpha_umi.training.data.files import Record
from alpha_umi.training.evaluation.suites import list_ran_calls
from alpha_umi.training.further import FurtherTraining, mix, train_further

RIGHT = "right.jsonl"
SOURCE = "improve"
_MOST_WAYS = 3
_LEAST_EASY = 0.25


@dataclass(frozen=True, slots=True)
class Choice:
    """The runs that are trained on, and how many there were.

    Args:
        examples: What is trained on.
        n_runs: All runs.
        n_right: Right ones.
        n_tasks: All tasks.
        n_solved: Tasks with a right run.
    """

    examples: Sequence[Example]
    n_runs: int
    n_right: int
    n_tasks: int
    n_solved: int

    def to_json(self) -> dict[str, int]:
        """Return the counts."""
        names = ("n_runs", "n_right", "n_tasks", "n_solved")
        return {name: getattr(self, name) for name in names} | {"n_chosen": len(self.examples)}


def is_right(row: Record) -> bool:
    """Tell whether a run may be learnt: right answer or refusal, exact calls, and no call that its tool refused."""
    if not row["success"] or row["error"] is not None or row["checks"].get("calls_exact", 1.0) < 1.0:
        return False
    turns = Trajectory.from_row(row["trajectory"]).turns
    return len(list_ran_calls(turns)) == sum(len(step.calls) for turn in turns for step in turn.steps)


def choose_right(samples: Sequence[Iterable[Record]], *, seed: int) -> Choice:
    """Return right runs: of each task one for every distinct way, but no more than `_MOST_WAYS`.

    Of tasks that every sample solved one run is kept, and of no more such tasks than there are others, but a quarter
    at least: easy tasks teach little.

    Args:
        samples: Of each sample the outcomes of all tasks, as `evaluate_tasks` writes them.
        seed: Of the choice among easy tasks.
    """
    right: dict[str, list[tuple[str, Trajectory]]] = {}
    tasks, n_runs = set[str](), 0
    for number, rows in enumerate(samples, 1):
        for row in rows:
            n_runs += 1
            tasks.add(row["key"])
            if is_right(row):
                run = Trajectory.from_row(row["trajectory"])
                right.setdefault(row["key"], []).append((f"{SOURCE}-{row['key']}#{number}", run))
    easy = sorted(key for key, runs in right.items() if len(runs) == len(samples) > 1)
    n_easy = max(len(right) - len(easy), round(_LEAST_EASY * len(easy)), 1)
    kept_easy = random.Random(f"{seed} easy").sample(easy, min(n_easy, len(easy)))
    kept = {key: 1 if key in kept_easy else _MOST_WAYS for key in right if key in kept_easy or key not in easy}
    examples = [each for key, n_ways in kept.items() for each in _list_ways(right[key], n_ways)]
    return Choice(examples, n_runs, sum(map(len, right.values())), len(tasks), len(right))


def _list_ways(runs: Sequence[tuple[str, Trajectory]], n_ways: int) -> list[Example]:
    ways: dict[str, tuple[str, Trajectory]] = {}
    for run in runs:
        ways.setdefault(json.dumps(list_way(run[1]), sort_keys=True), run)
    return [Example(name, SOURCE, run, name, split="train") for name, run in list(ways.values())[:n_ways]]


def write_choice(choice: Choice, folder: Path) -> None:
    """Write the chosen runs as `data build` reads them, and ``right.json`` with the counts.

    Raises:
        ConfigError: If no run was right.
    """
    if not choice.examples:
        raise ConfigError(
            f"None of {choice.n_runs:,} runs was right, so there is nothing to learn from; raise --samples or "
            "--temperature, or teach the tools first (alpha-umi teach)."
        )
    write_json((folder / RIGHT).with_suffix(".json"), choice.to_json())
    with write_atomically(folder / RIGHT) as file:
        for example in choice.examples:
            file.write(replace_surrogates(json.dumps(make_row(example), ensure_ascii=False)) + "\n")


def train_on_right(training: FurtherTraining, folder: Path) -> Path:
    """Train on the chosen runs in a folder, mixed with data that ship; return the checkpoint's folder.

    Raises:
        ConfigError: If files cannot be written.
        TrainingStopped: If the loss is no number or the disk is full; another call goes on.
    """
    n_right = sum(1 for _ in read_rows(folder / RIGHT))
    sources = [f"own:{folder / RIGHT}", *mix(n_right)]
    return train_further(training, sources, folder, BuildSettings(seed=training.seed, keep_ways=True))


def render_rounds(rounds: Sequence[Mapping[str, int]]) -> str:
    """Return what each round sampled and learnt from, a line each."""
    return "\n".join(
        f"Round {number}: {each['n_right']:,} of {each['n_runs']:,} runs were right, for {each['n_solved']:,} of "
        f"{each['n_tasks']:,} tasks; trained on {each['n_chosen']:,}."
        for number, each in enumerate(rounds, 1)
    )
