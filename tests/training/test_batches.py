from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.trajectory import ROLES, Call, Observation, Role, Step, Trajectory, Turn
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.batches import (
    CollateTurns,
    TrainingItem,
    collate_whole,
    make_batches,
    make_branch_mask,
    make_item,
    make_marker,
    make_turn_mask,
    share_tools,
)
from alpha_umi.training.samples import IGNORE_INDEX, Sample, TrainedTurn, make_sample

WORKED = Trajectory(
    (ToolSpec("add"),),
    (
        Turn(
            "two and three",
            (
                Step("plan one", "caller", (Call("1", "add", {"a": 2}, Observation("five")),)),
                Step("plan two", "conclusion", answer="it is 5"),
            ),
        ),
    ),
)
M = 99
IDS = [1, 2, M, 11, 12, 3, 4, M, 13, 14]
TURNS = (TrainedTurn("caller", 3, 5), TrainedTurn("caller", 8, 10))


def _make_letters() -> TrainingItem:
    labels = [IGNORE_INDEX] * 10
    for turn in TURNS:
        labels[turn.start : turn.end] = IDS[turn.start : turn.end]
    return make_item("letters", Sample(IDS, labels, TURNS))


def _make_plain(length: int, name: str) -> TrainingItem:
    return make_item(name, Sample([1] * length, [IGNORE_INDEX] * length, ()))


@given(lengths=st.lists(st.integers(1, 50), max_size=30), budget=st.integers(1, 120), seed=st.randoms())
def test_batches_hold_each_item_once_within_the_budget(lengths: list[int], budget: int, seed: object) -> None:
    items = [_make_plain(length, f"{i:02}") for i, length in enumerate(lengths)]
    batches = make_batches(items, budget)
    assert Counter(item.id for batch in batches for item in batch) == Counter(item.id for item in items)
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(map(len, batch)) <= budget


@given(order=st.permutations(range(8)))
def test_batches_do_not_depend_on_the_order_of_the_items(order: list[int]) -> None:
    items = [_make_plain(3 + i % 4, f"{i}") for i in range(8)]
    expected = [[item.id for item in batch] for batch in make_batches(items, 12)]
    assert [[item.id for item in batch] for batch in make_batches([items[i] for i in order], 12)] == expected


def test_collate_whole_pads_on_the_right_and_never_trains_padding() -> None:
    long, short = _make_letters(), make_item("short", Sample([5, 6], [IGNORE_INDEX, 6], (TrainedTurn("caller", 1, 2),)))
    tensors = collate_whole([(long, short)])
    assert tensors["ids"] == ["letters", "short"]
    assert tensors["input_ids"][1].tolist() == [5, 6, *[0] * 8]
    assert tensors["labels"][1].tolist() == [IGNORE_INDEX, 6, *[IGNORE_INDEX] * 8]
    assert tensors["input_ids"].dtype == torch.int64


def test_collate_turns_makes_the_tensors_of_the_worked_example() -> None:
    tensors = CollateTurns({"caller": [M]})([(_make_letters(),)])
    assert tensors["prefix_ids"].tolist() == [[1, 2, M, 11, 12, 3, 4]]
    assert tensors["input_ids"].tolist() == [[M, 11, 12, M, 13, 14]]
    assert tensors["position_ids"].tolist() == [[2, 3, 4, 7, 8, 9]]
    assert tensors["labels"].tolist() == [[IGNORE_INDEX, 11, 12, IGNORE_INDEX, 13, 14]]
    assert tensors["turn_starts"].tolist() == [[2, 2, 2, 7, 7, 7]]


def test_collate_turns_cuts_the_weights_like_the_labels() -> None:
    item = make_item("weighted", Sample(IDS, IDS, TURNS), [float(i) for i in range(10)])
    assert CollateTurns({"caller": [M]})([(item,)])["weights"].tolist() == [[2.0, 3.0, 4.0, 7.0, 8.0, 9.0]]


def test_collate_turns_refuses_a_marker_that_is_not_in_the_ids() -> None:
    with pytest.raises(ConfigError, match=r"'letters'.*Use 'lora'"):
        CollateTurns({"caller": [98]})([(_make_letters(),)])


def test_turn_mask_shows_each_turn_the_prefix_before_it_and_itself() -> None:
    mask = make_turn_mask(torch.tensor([[2, 2, 7, 0]]), n_prefix=8)[0, 0]
    seen = [row.nonzero().flatten().tolist() for row in mask]
    assert seen == [[0, 1, 8], [0, 1, 8, 9], [0, 1, 2, 3, 4, 5, 6, 10], [11]]


def _make_branch(name: str, own: list[int], shared: tuple[int, ...] = (7, 8)) -> TrainingItem:
    ids = [*shared, *own]
    labels = [IGNORE_INDEX] * len(shared) + own
    turn = TrainedTurn("caller", len(shared), len(ids))
    return make_item(name, Sample(ids, labels, (turn,)), [float(id_) for id_ in ids], n_shared=len(shared))


def test_conversations_with_one_list_of_tools_are_joined_behind_it() -> None:
    items = [_make_branch("a", [1, 2]), _make_branch("x", [9], (7, 7)), _make_branch("b", [3, 4, 5])]
    joined, alone = share_tools(items, max_tokens=7)
    assert alone is items[1]
    assert joined.id == "a, b"
    assert joined.input_ids.tolist() == [7, 8, 1, 2, 3, 4, 5]
    assert joined.labels.tolist() == [IGNORE_INDEX, IGNORE_INDEX, 1, 2, 3, 4, 5]
    assert joined.weights is not None
    assert joined.weights.tolist() == joined.input_ids.tolist()
    assert joined.turns == (TrainedTurn("caller", 2, 4), TrainedTurn("caller", 4, 7))
    tensors = collate_whole([(joined,)])
    assert tensors["position_ids"].tolist() == [[0, 1, 2, 3, 2, 3, 4]]
    assert tensors["branches"].tolist() == [[0, 0, 1, 1, 2, 2, 2]]
    assert (joined.n_trajectories, alone.n_trajectories) == (2, 1)


def test_joined_conversations_stay_within_the_bound() -> None:
    items = [_make_branch(f"{i}", [i] * 3) for i in range(5)] + [_make_branch("long", [6] * 20)]
    joined = share_tools(items, max_tokens=8)
    assert [item.id for item in joined] == ["0, 1", "2, 3", "4", "long"]
    assert [len(item) for item in joined] == [8, 8, 5, 22]


def test_branch_mask_shows_what_all_share_and_the_own_conversation() -> None:
    mask = make_branch_mask(torch.tensor([[0, 0, 1, 1, 2, 2, -1]]))[0, 0]
    seen = [row.nonzero().flatten().tolist() for row in mask]
    assert seen == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 4], [0, 1, 4, 5], [0, 1, 6]]


@pytest.mark.parametrize("role", ROLES)
def test_marker_is_what_stands_before_each_turn(role: Role, tokenizer: PreTrainedTokenizerFast) -> None:
    sample = make_sample(WORKED, tokenizer, roles=[role])
    marker = make_marker(tokenizer, role)
    assert tokenizer.decode(marker) == f"<|im_start|>{role}\n"
    for turn in sample.turns:
        assert sample.input_ids[turn.start - len(marker) : turn.start] == marker


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("planner", ["plan one\nNext: caller.<|im_end|>", "plan two\nNext: conclusion.<|im_end|>"]),
        ("caller", ['Action: add\nAction Input: {"a":2}<|im_end|>']),
        ("summarizer", ["it is 5<|im_end|>"]),
    ],
)
def test_turns_train_what_the_role_wrote_and_nothing_else(
    role: Role, expected: list[str], tokenizer: PreTrainedTokenizerFast
) -> None:
    item = make_item("worked", make_sample(WORKED, tokenizer, roles=[role]))
    collate = CollateTurns({role: make_marker(tokenizer, role) for role in ROLES})
    for tensors in (collate([(item,)]), collate_whole([(item,)])):
        labels = tensors["labels"][0]
        assert tokenizer.decode(labels[labels != IGNORE_INDEX]) == "".join(expected)
