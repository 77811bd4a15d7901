"""From the built training file to tensors: batches of similar length, padded on the right, within a token budget.

Padding, and not packing into one row: with the padding on the right a causal mask needs no mask tensor, so attention
takes its fast path. On a CPU (6 layers of the 135M model, bfloat16) four trajectories of 1,024 tokens trained at 591
tokens/s as rows and at 285 packed; sorting by length keeps the padding at a few percent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, cast

import torch
from langchain_core.messages import ChatMessage
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from alpha_umi.errors import ConfigError, ContextOverflow, TrajectoryError
from alpha_umi.nodes.format.render import encode_messages, load_template, template_kwargs
from alpha_umi.nodes.format.trajectory import Role, Trajectory
from alpha_umi.nodes.models.engine.checkpoint import hash_file
from alpha_umi.training.config import StageName, TokenWeights, TrainConfig
from alpha_umi.training.data.dataset import find_rows, parse_row, read_rows
from alpha_umi.training.samples import (
    IGNORE_INDEX,
    Sample,
    TrainedTurn,
    has_turn,
    make_sample,
    make_single_sample,
    make_weights,
    split_long,
)

Tensors: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Corpus:
    """The training split of what ``alpha-umi data build`` made, by id, and the hash of the whole file."""

    trajectories: dict[str, Trajectory]
    sha256: str


@dataclass(frozen=True, slots=True)
class TrainingItem:
    """One sample on its way into a batch.

    Args:
        id: Names the trajectory in messages to the user.
        input_ids: int32, (T,).
        labels: int32, (T,); `IGNORE_INDEX` where nothing is trained.
        turns: The trained turns, in order.
        weights: float32, (T,), weight of each label; `None` if all weigh 1.
        n_shared: How many tokens at the beginning say which tools there are.
        positions: int32, (T,); `None` for 0 … T - 1.
        branches: int32, (T,), of several conversations which one a token belongs to, from 1; 0 what all share. `None`
            for a single conversation.
    """

    id: str
    input_ids: Tensor
    labels: Tensor
    turns: tuple[TrainedTurn, ...]
    weights: Tensor | None = None
    n_shared: int = 0
    positions: Tensor | None = None
    branches: Tensor | None = None

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.input_ids)

    @property
    def n_trajectories(self) -> int:
        """How many conversations it holds."""
        return 1 if self.branches is None else int(self.branches.max())


@dataclass(frozen=True)
class StageSamples:
    """What a stage is trained on, and how many trajectories were left out, at least in part: no cut makes them fit."""

    items: list[TrainingItem]
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
    corpus: Corpus,
    config: TrainConfig,
    stage: StageName,
    tokenizer: PreTrainedTokenizerBase,
) -> StageSamples:
    """Return the samples of a stage; a trajectory without a turn of its roles has none.

    Long conversations are trained in parts, see `split_long`. Those with the same tools are joined, as far as they fit
    one forward pass.

    Args:
        corpus: From `load_corpus`.
        config: The training run.
        stage: Tells which roles are trained.
        tokenizer: With the template that is trained.

    Raises:
        TrajectoryError: If nothing is left.
    """
    roles = config.get_roles(stage)
    make = make_single_sample if config.template == "single" else partial(make_sample, roles=roles)
    items: list[TrainingItem] = []
    too_long: set[str] = set()
    is_weighted = config.token_weights != TokenWeights()
    selected = _select(corpus, config, stage)
    for id_, part in ((id_, part) for id_, whole in selected for part in split_long(whole, tokenizer, config)):
        if not has_turn(part, roles):
            continue
        try:
            sample = make(part, tokenizer, limit_tokens=config.max_tokens, repeat_names=config.repeat_names)
        except ContextOverflow:
            too_long.add(id_)
            continue
        weights = make_weights(sample, tokenizer, config.token_weights) if is_weighted else None
        items.append(make_item(id_, sample, weights, n_shared=find_second_turn(sample.input_ids, tokenizer)))
    if not items:
        raise TrajectoryError(
            f"No trajectory is left to train stage {stage!r} on: of {len(corpus.trajectories)}, {len(too_long)} are "
            f"longer than max_tokens ({config.max_tokens}), the others have no turn of {' or '.join(roles)}. "
            "Raise max_tokens, or build the data from more sources."
        )
    joined = share_tools(items, min(config.max_tokens, config.stages[stage].tokens_per_forward))
    return StageSamples(joined, len(too_long))


def find_second_turn(input_ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> int:
    """Return where the system's turn, which lists the tools, has ended."""
    return input_ids.index(cast(int, tokenizer.convert_tokens_to_ids("<|im_start|>")), 1)


def share_tools(items: Iterable[TrainingItem], max_tokens: int) -> list[TrainingItem]:
    """Join conversations that begin with the same list of tools into one sequence that reads it once.

    Each still sees the tools and itself alone, so losses and gradients stay the same.

    Worked example, with tools ``ss`` and conversations ``ab`` and ``cde``::

        input_ids    s s a b c d e
        positions    0 1 2 3 2 3 4
        branches     0 0 1 1 2 2 2
    """
    groups: dict[bytes, list[TrainingItem]] = {}
    for item in items:
        groups.setdefault(item.input_ids[: item.n_shared].numpy().tobytes(), []).append(item)
    joined: list[TrainingItem] = []
    for group in groups.values():
        part: list[TrainingItem] = []
        for item in group:
            n_tokens = sum(len(each) - each.n_shared for each in (*part, item)) + item.n_shared
            if part and n_tokens > max_tokens:
                joined.append(_join(part))
                part = []
            part.append(item)
        joined.append(_join(part))
    return joined


def _join(items: Sequence[TrainingItem]) -> TrainingItem:
    if len(items) == 1:
        return items[0]
    first, n = items[0], items[0].n_shared
    lengths = [len(item) - n for item in items]
    offsets = [sum(lengths[:i]) for i in range(len(items))]
    turns = [
        replace(turn, start=turn.start + offset, end=turn.end + offset)
        for item, offset in zip(items, offsets, strict=True)
        for turn in item.turns
    ]

    def cat(rows: Sequence[Tensor]) -> Tensor:
        return torch.cat([rows[0][:n], *(row[n:] for row in rows)])

    weights = [item.weights for item in items if item.weights is not None]
    return TrainingItem(
        id=", ".join(item.id for item in items),
        input_ids=cat([item.input_ids for item in items]),
        labels=cat([item.labels for item in items]),
        turns=tuple(turns),
        weights=cat(weights) if weights else None,
        n_shared=first.n_shared,
        positions=cat([torch.arange(len(item), dtype=torch.int32) for item in items]),
        branches=torch.cat(
            [torch.zeros(n, dtype=torch.int32)]
            + [torch.full((length,), i, dtype=torch.int32) for i, length in enumerate(lengths, 1)]
        ),
    )


def _select(corpus: Corpus, config: TrainConfig, stage: StageName) -> Iterable[tuple[str, Trajectory]]:
    """Without reuse each instruction always belongs to the same one of the two stages, whatever else is in the data."""
    if config.reuse or config.method != "umi":
        return corpus.trajectories.items()

    def get_half(trajectory: Trajectory) -> int:
        return hashlib.sha256(trajectory.turns[0].instruction.encode("utf-8", "replace")).digest()[0] % 2

    wanted = 0 if stage == "backbone" else 1
    return [(id_, each) for id_, each in corpus.trajectories.items() if get_half(each) == wanted]


def make_item(id: str, sample: Sample, weights: Sequence[float] | None = None, *, n_shared: int = 0) -> TrainingItem:
    """Put a sample into compact tensors: a large data set is held in memory."""
    input_ids = torch.tensor(sample.input_ids, dtype=torch.int32)
    labels = torch.tensor(sample.labels, dtype=torch.int32)
    tensor = None if weights is None else torch.tensor(weights)
    return TrainingItem(id, input_ids, labels, sample.turns, tensor, n_shared)


TrainingBatch: TypeAlias = tuple[TrainingItem, ...]


def make_batches(items: Iterable[TrainingItem], tokens_per_forward: int) -> list[TrainingBatch]:
    """Group items of similar length so that rows times longest row is at most `tokens_per_forward`.

    An item longer than that is a batch by itself. The result depends on the items alone, not on their order.
    """
    batches: list[list[TrainingItem]] = []
    for item in sorted(items, key=lambda item: (-len(item), item.id)):
        if batches and (len(batches[-1]) + 1) * len(batches[-1][0]) <= tokens_per_forward:
            batches[-1].append(item)
        else:
            batches.append([item])
    return [tuple(batch) for batch in batches]


def collate_whole(batches: Sequence[TrainingBatch]) -> Tensors:
    """Return the tensors of whole trajectories; all (B, T), padded on the right.

    Only where several share a sequence are there ``position_ids`` and ``branches``.
    """
    (batch,) = batches  # a data loader hands over lists
    tensors: Tensors = {
        "ids": [item.id for item in batch],
        "input_ids": _pad([item.input_ids for item in batch], 0),
        "labels": _pad([item.labels for item in batch], IGNORE_INDEX),
    }
    weights = [item.weights for item in batch if item.weights is not None]
    if any(item.branches is not None for item in batch):
        tensors["position_ids"] = _pad([_get_positions(item) for item in batch], 0)
        tensors["branches"] = _pad([_get_branches(item) for item in batch], _PADDING)
    return tensors | ({"weights": _pad(weights, 0)} if weights else {})


_PADDING = -1


def _get_positions(item: TrainingItem) -> Tensor:
    return torch.arange(len(item), dtype=torch.int32) if item.positions is None else item.positions


def _get_branches(item: TrainingItem) -> Tensor:
    return torch.zeros(len(item), dtype=torch.int32) if item.branches is None else item.branches


@dataclass(frozen=True)
class CollateTurns:
    """Splits trajectories into the prefix that the frozen backbone reads and the turns that an adapter is trained on.

    Worked example, with one letter per token, marker ``M`` of one token and turns ``ab`` and ``cd``::

        trajectory    s s M a b o o M c d        positions 0 … 9
        prefix_ids    s s M a b o o              everything before the last marker, seen by the backbone alone
        input_ids     M a b M c d                position_ids 2 3 4 7 8 9
        labels        · a b · c d                turn_starts  2 2 2 7 7 7

    Args:
        markers: Token ids of each role's marker.
    """

    markers: Mapping[Role, Sequence[int]]

    def __call__(self, batches: Sequence[TrainingBatch]) -> Tensors:
        """Return int64 tensors: ``prefix_ids`` (B, P), the others (B, T); padded on the right."""
        (batch,) = batches
        spans = [[(self._find_start(item, turn), turn.end) for turn in item.turns] for item in batch]
        ends = [each[-1][0] for each in spans]
        positions, branches = [_get_positions(item) for item in batch], [_get_branches(item) for item in batch]
        tensors: Tensors = {
            "ids": [item.id for item in batch],
            "prefix_ids": _pad([item.input_ids[:end] for item, end in zip(batch, ends, strict=True)], 0),
            "input_ids": _pad(_cut([item.input_ids for item in batch], spans), 0),
            "labels": _pad(_cut([item.labels for item in batch], spans), IGNORE_INDEX),
            "position_ids": _pad(_cut(positions, spans), 0),
            "turn_starts": _pad([torch.cat([torch.full((e - s,), s) for s, e in each]) for each in spans], 0),
        }
        if any(item.branches is not None for item in batch):
            tensors["prefix_position_ids"] = _pad([row[:end] for row, end in zip(positions, ends, strict=True)], 0)
            tensors["prefix_branches"] = _pad([row[:end] for row, end in zip(branches, ends, strict=True)], _PADDING)
            tensors["branches"] = _pad(_cut(branches, spans), _PADDING)
        weights = [item.weights for item in batch if item.weights is not None]
        return tensors | ({"weights": _pad(_cut(weights, spans), 0)} if weights else {})

    def _find_start(self, item: TrainingItem, turn: TrainedTurn) -> int:
        marker = list(self.markers[turn.role])
        start = turn.start - len(marker)
        if start < 1 or item.input_ids[start : turn.start].tolist() != marker:
            raise ConfigError(
                f"Trajectory {item.id!r}: the {turn.role}'s turn does not start with its marker as served; this "
                "tokenizer joins the marker with its neighbours, so kind 'alora' cannot be used with it. Use 'lora'."
            )
        return start


def make_branch_mask(branches: Tensor) -> Tensor:
    """Return which tokens each token sees: of those up to itself what all share, and its own conversation.

    Args:
        branches: int64, (B, T); see `TrainingItem`, -1 for padding.

    Returns:
        bool, (B, 1, T, T).
    """
    causal = torch.ones(branches.shape[1], branches.shape[1], dtype=torch.bool, device=branches.device).tril()
    return (_sees(branches, branches) & causal)[:, None]


def make_turn_mask(
    turn_starts: Tensor, n_prefix: int, branches: Tensor | None = None, prefix_branches: Tensor | None = None
) -> Tensor:
    """Return which keys each turn token sees: the prefix before its own turn, and its turn up to itself.

    Args:
        turn_starts: int64, (B, T); where the turn of each token starts in its trajectory, 0 for padding.
        n_prefix: P, length of the padded prefix. Padding there is never seen: no turn starts after its own prefix.
        branches: int64, (B, T), where several conversations share a sequence: of the prefix, the others are not seen.
        prefix_branches: int64, (B, P).

    Returns:
        bool, (B, 1, T, P + T). Padding sees at least itself: a row without keys would make attention give NaN.
    """
    n_turn = turn_starts.shape[1]
    sees_prefix = torch.arange(n_prefix, device=turn_starts.device) < turn_starts[:, :, None]
    if branches is not None and prefix_branches is not None:
        sees_prefix &= _sees(branches, prefix_branches)
    same_turn = turn_starts[:, :, None] == turn_starts[:, None, :]
    causal = torch.ones(n_turn, n_turn, dtype=torch.bool, device=turn_starts.device).tril()
    return torch.cat([sees_prefix, same_turn & causal], dim=-1)[:, None]


def _sees(branches: Tensor, key_branches: Tensor) -> Tensor:
    keys = key_branches[:, None, :]
    return (keys == 0) | (keys == branches[:, :, None])


def make_marker(tokenizer: PreTrainedTokenizerBase, role: Role) -> list[int]:
    """Return the token ids that open a role's turn: what the umi template adds to ask for it."""
    messages, template = [ChatMessage(role="user", content="x")], load_template("umi")
    unasked = encode_messages(messages, tokenizer, template)
    asked = encode_messages(messages, tokenizer, template, add_generation_prompt=True, **template_kwargs(role, ()))
    return asked[len(unasked) :]


def _cut(rows: Sequence[Tensor], spans: Sequence[Sequence[tuple[int, int]]]) -> list[Tensor]:
    """Keep and join the spans of each row."""
    return [torch.cat([row[start:end] for start, end in each]) for row, each in zip(rows, spans, strict=True)]


def _pad(rows: Sequence[Tensor], value: int) -> Tensor:
    """Stack rows of different length, (B, T); integers become int64, which embeddings and losses ask for."""
    padded = pad_sequence(list(rows), batch_first=True, padding_value=value)
    return padded if padded.is_floating_point() else padded.long()
