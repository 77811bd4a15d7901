"""What static evaluation asks and gets: a query for every step of given trajectories, and its prediction."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from functools import cache
from operator import add
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import TypeAdapter, ValidationError

from alpha_umi.errors import ConfigError, TrajectoryError
from alpha_umi.nodes.format.render import render_calls, render_plan
from alpha_umi.nodes.format.trajectory import Decision, Step, Trajectory
from alpha_umi.training.data.dataset import SPLITS, Example, Tally, find_rows, parse_row, read_rows
from alpha_umi.training.data.sources import alpha_umi

DataFormat: TypeAlias = Literal["trajectories", "umi"]


@dataclass(frozen=True, slots=True)
class StepOutput:
    """The texts of planner, caller and summarizer for one step; None where a role was not asked."""

    plan: str
    call: str | None = None
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of all model calls made for one step or task; 0 where a model does not say."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        """Add two counts."""
        return Usage(*map(add, astuple(self), astuple(other)))

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any] | None) -> Usage:
        """Read the ``usage_metadata`` of a LangChain message."""
        metadata = metadata or {}
        cached = (metadata.get("input_token_details") or {}).get("cache_read") or 0
        return cls(metadata.get("input_tokens", 0), cached, metadata.get("output_tokens", 0))


@dataclass(frozen=True, slots=True)
class StepQuery:
    """One reference step, with the key ``example/turn.step``, and the history up to it; its last turn is the step's."""

    key: str
    example: Example
    history: Trajectory
    step: Step

    @property
    def reference(self) -> StepOutput:
        """The step as its roles should write it."""
        call = render_calls(self.step.calls) if self.step.decision == "caller" and self.step.calls else None
        answer = self.step.answer if self.step.decision == "conclusion" else None
        return StepOutput(render_plan(self.step.rationale, self.step.decision), call, answer)

    def extend(self, step: Step) -> Trajectory:
        """Return the history followed by an unfinished step, for the caller or the summarizer to complete."""
        *earlier, current = self.history.turns
        return replace(self.history, turns=(*earlier, replace(current, steps=(*current.steps, step))))


@dataclass(frozen=True, slots=True)
class Prediction:
    """One step, predicted from the reference history: one line of ``predictions.jsonl``.

    It holds the raw texts, so that every metric can be computed again without a model.

    Args:
        key: ``example/turn.step``, counted from 0; unique in a run.
        example: Id of the trajectory.
        source: Data source that it is from.
        step: Position in its turn, counted from 0.
        prompt_chars: Length of the planner's prompt, tool descriptions included.
        instruction: What the user asked in this turn.
        observation: The last one before the step, cut; ``""`` if there is none.
        offered: Names of the tools on offer.
        decision: The right one.
        reference: What is right; `call` and `answer` are None where the data has none.
        predicted: The pipeline: caller and summarizer continue from the planner's own text.
        isolated: Caller and summarizer continue from the reference plan; None if that was not asked for.
        usage: Of all calls made for this step.
        overflowed: Some prompt did not fit the model's window; its output counts as empty.
    """

    key: str
    example: str
    source: str
    step: int
    prompt_chars: int
    instruction: str
    observation: str
    offered: tuple[str, ...]
    decision: Decision
    reference: StepOutput
    predicted: StepOutput
    isolated: StepOutput | None = None
    usage: Usage = Usage()
    overflowed: bool = False

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Prediction:
        """Read one line, or raise `TrajectoryError`."""
        try:
            return _adapter().validate_python(row)
        except ValidationError as error:
            first = error.errors()[0]
            fault = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
            raise TrajectoryError(f"Not a line of predictions.jsonl ({fault}); evaluate into a new folder.") from error


@cache
def _adapter() -> TypeAdapter[Prediction]:
    return TypeAdapter(Prediction)


def load_examples(
    data: Path, *, format: DataFormat = "trajectories", split: str | None = None, sources: Collection[str] = ()
) -> list[Example]:
    """Read a ``trajectories.jsonl``, the folder of one, or in format ``umi`` the paper's own test file, to evaluate on.

    By default all that are not for training, from all sources; the format ``umi`` has no splits.

    Raises:
        ConfigError: If the file does not exist, or nothing in it is of that split and from those sources.
        TrajectoryError: If a row is wrong; the message names file and line.
    """
    path = find_rows(data)
    if split is not None and (format == "umi" or split not in SPLITS):
        raise ConfigError(f"Split {split!r}: give one of {', '.join(SPLITS)}, and none for the format 'umi'.")
    if format == "umi":
        read = alpha_umi.read(str(path), Tally(), seed=0)
    else:
        rows = read_rows(path, split)
        read = (parse_row(row, where) for where, row in rows if split or row.get("split") != "train")
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


def hash_examples(examples: Sequence[Example]) -> str:
    """Return the sha256 of what is evaluated on."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(json.dumps([example.id, example.trajectory.to_row()], sort_keys=True).encode("utf-8", "replace"))
    return digest.hexdigest()


def make_queries(examples: Sequence[Example]) -> list[StepQuery]:
    """Return one query per step that is to be learnt, in order; an id that occurs twice is a `ConfigError`."""
    queries: list[StepQuery] = []
    seen: set[str] = set()
    for example in examples:
        if example.id in seen:
            raise ConfigError(f"{example.where}: id {example.id!r} occurs twice; give each trajectory its own.")
        seen.add(example.id)
        turns = example.trajectory.turns
        for i, turn in enumerate(turns):
            for j, step in enumerate(turn.steps):
                history = replace(example.trajectory, turns=(*turns[:i], replace(turn, steps=turn.steps[:j])))
                if step.weight:
                    queries.append(StepQuery(f"{example.id}/{i}.{j}", example, history, step))
    return queries
