"""The built training file, and the samples a stage makes of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from alpha_umi.errors import ConfigError, ContextOverflow, TrajectoryError
from alpha_umi.nodes.format.trajectory import Role, Trajectory
from alpha_umi.nodes.models.engine.checkpoint import hash_file
from alpha_umi.training.batches import Item, make_item
from alpha_umi.training.config import StageName, TokenWeights, TrainConfig
from alpha_umi.training.data.dataset import find_rows, parse_row, read_rows
from alpha_umi.training.samples import Sample, Turn, make_sample
from alpha_umi.training.single import make_single_sample


@dataclass(frozen=True)
class Corpus:
    """What ``alpha-umi data build`` made.

    Args:
        trajectories: Those of the training split, by id.
        sha256: Of the file.
    """

    trajectories: dict[str, Trajectory]
    sha256: str


@dataclass(frozen=True)
class Samples:
    """What one stage is trained on.

    Args:
        items: One per trajectory that has a turn of the stage's roles.
        n_too_long: Trajectories left out because no cutting makes them fit.
    """

    items: list[Item]
    n_too_long: int


def load_corpus(data: str | Path) -> Corpus:
    """Read the training split of a built data folder, or of a ``trajectories.jsonl``.

    Raises:
        ConfigError: If the file does not exist.
        TrajectoryError: If a row is wrong, or there is none; the message names file and line.
    """
    path = find_rows(data)
    trajectories: dict[str, Trajectory] = {}
    for where, row in read_rows(path):
        example = parse_row(row, where)
        if not example.trajectory.tools:
            raise TrajectoryError(f"{where}: trajectory {example.id!r} has no tools; remove the row or give it tools.")
        if example.id in trajectories:
            raise TrajectoryError(f"{where}: id {example.id!r} occurs twice; build the data again.")
        if example.split == "train":
            trajectories[example.id] = example.trajectory
    if not trajectories:
        raise TrajectoryError(f"{path} has no trajectory of the split 'train'; build the data again with more sources.")
    return Corpus(trajectories, hash_file(path))


def make_stage_samples(
    corpus: Corpus, config: TrainConfig, stage: StageName, tokenizer: PreTrainedTokenizerBase
) -> Samples:
    """Return the samples of a stage; a trajectory without a turn of its roles has none.

    Raises:
        TrajectoryError: If nothing is left.
    """
    roles = config.get_roles(stage)
    items: list[Item] = []
    n_too_long = 0
    for id_, trajectory in _select(corpus, config, stage):
        if not _has_turn(trajectory, roles):
            continue
        try:
            if config.template == "single":
                sample = make_single_sample(trajectory, tokenizer, limit_tokens=config.max_tokens)
            else:
                sample = make_sample(trajectory, tokenizer, roles=roles, limit_tokens=config.max_tokens)
        except ContextOverflow:
            n_too_long += 1
            continue
        items.append(make_item(id_, sample, _weigh(sample, config, tokenizer)))
    if not items:
        raise TrajectoryError(
            f"No trajectory is left to train stage {stage!r} on: of {len(corpus.trajectories)}, {n_too_long} are "
            f"longer than max_tokens ({config.max_tokens}), the others have no turn of {' or '.join(roles)}. "
            "Raise max_tokens, or build the data from more sources."
        )
    return Samples(items, n_too_long)


def _select(corpus: Corpus, config: TrainConfig, stage: StageName) -> Iterable[tuple[str, Trajectory]]:
    """Without reuse each instruction belongs to one of the two stages for good, whatever else is in the data."""
    if config.reuse or config.method != "umi":
        return corpus.trajectories.items()
    wanted = 0 if stage == "backbone" else 1
    return [(id_, each) for id_, each in corpus.trajectories.items() if _get_half(each) == wanted]


def _get_half(trajectory: Trajectory) -> int:
    return hashlib.sha256(trajectory.turns[0].instruction.encode("utf-8", "replace")).digest()[0] % 2


_HAS_TURN: dict[str, Callable[[Trajectory], bool]] = {
    "planner": lambda trajectory: any(turn.steps for turn in trajectory.turns),
    "caller": lambda trajectory: any(step.calls for turn in trajectory.turns for step in turn.steps),
    "summarizer": lambda trajectory: any(
        step.decision == "conclusion" and step.answer is not None for turn in trajectory.turns for step in turn.steps
    ),
}


def _has_turn(trajectory: Trajectory, roles: Iterable[str]) -> bool:
    return any(_HAS_TURN[role](trajectory) for role in roles)


def _weigh(sample: Sample, config: TrainConfig, tokenizer: PreTrainedTokenizerBase) -> list[float] | None:
    return None if config.token_weights.is_plain else make_weights(sample, tokenizer, config.token_weights)


_DECISION = re.compile(r"^Next: ((?:caller|conclusion|give up)\.)$", re.MULTILINE)
_ACTION = re.compile(r"^Action: (.+)$", re.MULTILINE)


def make_weights(sample: Sample, tokenizer: PreTrainedTokenizerBase, weights: TokenWeights) -> list[float]:
    """Return the weight of each label of a sample, (T,).

    Example:
        With ``decision: 2`` the plan ``I add. ⏎ Next: caller.<|im_end|>`` weighs 1 but for ``caller.``, which weighs 2.

    Raises:
        ConfigError: If the tokenizer does not split a turn's text the same way when it stands alone.
    """
    values = [1.0] * len(sample.input_ids)
    for turn in sample.turns:
        for index, weight in _weigh_turn(sample, turn, tokenizer, weights):
            values[turn.start + index] = weight
    return values


def _weigh_turn(
    sample: Sample, turn: Turn, tokenizer: PreTrainedTokenizerBase, weights: TokenWeights
) -> Iterator[tuple[int, float]]:
    if turn.role == "summarizer":
        return
    ids = [token for token in sample.input_ids[turn.start : turn.end] if token != tokenizer.eos_token_id]
    text = str(tokenizer.decode(ids))
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    if encoded["input_ids"] != ids:
        raise ConfigError("token_weights need a tokenizer that splits a turn the same way alone; leave them at 1.0.")
    for first, last, weight in _find_spans(text, turn.role, weights):
        for index, (start, end) in enumerate(encoded["offset_mapping"]):
            if start < last and end > first:
                yield index, weight


def _find_spans(text: str, role: Role, weights: TokenWeights) -> Iterator[tuple[int, int, float]]:
    """Yield what is weighed as ``[start, end)`` in characters; in a Single-LLM's turn the call follows the decision."""
    start = 0
    if role == "planner":
        decision = _DECISION.search(text)
        if decision is None:
            return
        yield *decision.span(1), weights.decision
        start = decision.end()
    for action in _ACTION.finditer(text, start):
        yield *action.span(1), weights.action
