from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerFast

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.config import TokenWeights
from alpha_umi.training.samples import make_sample, make_weights

CALLS = (
    Call("1", "add", {"text": "Action: süß", "n": "日本"}, Observation("Next: caller.\nAction: fake")),
    Call("2", "multiply", {}, Observation("")),
)
TRAJECTORY = Trajectory(
    (ToolSpec("add"),),
    (Turn("Next: conclusion.", (Step("Next: x.", "caller", CALLS), Step("é", "give up"))),),
)


def _decode_heavy(trajectory: Trajectory, tokenizer: PreTrainedTokenizerFast, weight: float) -> str:
    sample = make_sample(trajectory, tokenizer)
    weights = make_weights(sample, tokenizer, TokenWeights(decision=2, action=3))
    assert len(weights) == len(sample.input_ids)
    return str(tokenizer.decode([id_ for id_, each in zip(sample.input_ids, weights, strict=True) if each == weight]))


def test_decisions_weigh_what_they_are_given_and_nothing_else_does(tokenizer: PreTrainedTokenizerFast) -> None:
    assert _decode_heavy(TRAJECTORY, tokenizer, 2).replace(" ", "") == "caller.giveup."


def test_action_names_weigh_what_they_are_given_and_nothing_else_does(tokenizer: PreTrainedTokenizerFast) -> None:
    assert _decode_heavy(TRAJECTORY, tokenizer, 3).replace(" ", "") == "addmultiply"


@pytest.mark.parametrize(
    ("rationale", "heavy"),
    [
        ("Part 1 (add 2 (two) and 3): I call my.add-2.", "I call my.add-2"),
        ("Part 2 (call it off) with HC-1: I call cancel.", "I call cancel"),
        ("Part 1 (call me a cab): no tool can call a taxi.", "no tool"),
        ("All parts are done. I call nobody: no tool is needed.", ""),
    ],
)
def test_the_choice_of_a_tool_weighs_in_the_plan_too(
    rationale: str, heavy: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    asked = Turn("Part 1 (x): I call add.\nNext: caller.", (Step(rationale, "give up"),))
    trajectory = Trajectory((ToolSpec("add", "Part 1 (x): no tool"),), (asked,))
    assert _decode_heavy(trajectory, tokenizer, 3).replace(" ", "") == heavy.replace(" ", "")


def test_a_weight_of_one_leaves_all_alike(tokenizer: PreTrainedTokenizerFast) -> None:
    sample = make_sample(TRAJECTORY, tokenizer)
    assert set(make_weights(sample, tokenizer, TokenWeights(decision=1, action=1))) == {1.0}


def test_a_tokenizer_that_splits_otherwise_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    sample = make_sample(TRAJECTORY, tokenizer, roles=["planner"])
    turn = sample.turns[0]
    # one letter per token, which no tokenizer with merges gives back
    letters = [id_ for character in "Next: caller." for id_ in tokenizer.encode(character)]
    odd = type(sample)(sample.input_ids[: turn.start] + letters, [], (type(turn)("planner", turn.start, 10_000),))
    with pytest.raises(ConfigError, match="leave them at 1"):
        make_weights(odd, tokenizer, TokenWeights(decision=2))
