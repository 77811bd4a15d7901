"""Trajectories to evaluate on, and the questions that every one of their steps asks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.render import render_calls, render_plan
from alpha_umi.nodes.format.trajectory import Step, Trajectory
from alpha_umi.training.data.base import SPLITS, Example, Tally
from alpha_umi.training.data.dataset import find_rows, parse_row, read_rows
from alpha_umi.training.data.sources import alpha_umi
from alpha_umi.training.evaluation.records import Output

DataFormat: TypeAlias = Literal["trajectories", "umi"]


@dataclass(frozen=True, slots=True)
class Query:
    """One reference step and what had happened before it.

    Args:
        key: ``example/turn.step``.
        example: The trajectory it belongs to.
        history: Up to the step; its last turn is the step's.
        step: What is right.
    """

    key: str
    example: Example
    history: Trajectory
    step: Step

    @property
    def reference(self) -> Output:
        """The step as its roles should write it."""
        call = render_calls(self.step.calls) if self.step.decision == "caller" and self.step.calls else None
        answer = self.step.answer if self.step.decision == "conclusion" else None
        return Output(render_plan(self.step.rationale, self.step.decision), call, answer)

    def go_on(self, step: Step) -> Trajectory:
        """Return the history followed by an unfinished step, for the caller or the summarizer to complete."""
        *earlier, current = self.history.turns
        return replace(self.history, turns=(*earlier, replace(current, steps=(*current.steps, step))))


def load_examples(
    data: Path, *, format: DataFormat = "trajectories", split: str | None = None, sources: Collection[str] = ()
) -> list[Example]:
    """Read what to evaluate on.

    Args:
        data: A ``trajectories.jsonl``, the folder of one, or, in format ``umi``, the paper's own test file.
        format: Of the file.
        split: Only the trajectories of this split; by default all that are not for training. The format ``umi`` has
            none.
        sources: Only the trajectories from these; by default from all.

    Raises:
        ConfigError: If the file does not exist, or nothing in it is of that split and from those sources.
        TrajectoryError: If a row is wrong; the message names file and line.
    """
    path = find_rows(data)
    if split is not None and (format == "umi" or split not in SPLITS):
        raise ConfigError(f"Split {split!r}: give one of {', '.join(SPLITS)}, and none for the format 'umi'.")
    read = alpha_umi.read(str(path), Tally(), seed=0) if format == "umi" else _read_rows(path, split)
    found = [example for example in read if any(turn.steps for turn in example.trajectory.turns)]
    if not found:
        what = f"of the split {split!r}" if split else "outside of the split 'train'"
        raise ConfigError(f"{path} has no trajectory {what}; give another file or --split.")
    examples = [example for example in found if not sources or example.source in sources]
    if not examples:
        known = ", ".join(sorted({example.source for example in found}))
        raise ConfigError(f"{path} has nothing from {', '.join(sources)}; it has trajectories from {known}.")
    return examples


def choose_examples(examples: Sequence[Example], limit: int | None) -> list[Example]:
    """Return so many examples, drawn from all of them in the same way each time; a larger limit keeps the smaller's."""
    if limit is None:
        return list(examples)
    ranked = sorted(examples, key=lambda example: hashlib.sha256(example.id.encode("utf-8", "replace")).digest())
    chosen = {example.id for example in ranked[:limit]}
    return [example for example in examples if example.id in chosen]


def _read_rows(path: Path, split: str | None) -> Iterator[Example]:
    for where, row in read_rows(path, split):
        if split is not None or row.get("split") != "train":
            yield parse_row(row, where)


def make_queries(examples: Sequence[Example]) -> list[Query]:
    """Return one query per step of the examples, in order.

    Raises:
        ConfigError: If an id occurs twice.
    """
    queries: dict[str, Query] = {}
    for example in examples:
        for query in _split_steps(example):
            if query.key in queries:
                raise ConfigError(f"{example.where}: id {example.id!r} occurs twice; give each trajectory its own.")
            queries[query.key] = query
    return list(queries.values())


def _split_steps(example: Example) -> Iterator[Query]:
    turns = example.trajectory.turns
    for i, turn in enumerate(turns):
        for j, step in enumerate(turn.steps):
            history = replace(example.trajectory, turns=(*turns[:i], replace(turn, steps=turn.steps[:j])))
            yield Query(f"{example.id}/{i}.{j}", example, history, step)


def hash_examples(examples: Sequence[Example]) -> str:
    """Return the sha256 of what is evaluated on."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(json.dumps([example.id, example.trajectory.to_row()], sort_keys=True).encode("utf-8", "replace"))
    return digest.hexdigest()
