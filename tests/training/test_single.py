from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from alpha_umi.errors import TrajectoryError
from alpha_umi.nodes.format.render import load_template, render_messages
from alpha_umi.nodes.format.trajectory import ROLES, Call, Observation, Role, Step, Trajectory, Turn
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.config import TokenWeights, TrainConfig
from alpha_umi.training.glpft import train
from alpha_umi.training.samples import IGNORE_INDEX, make_single_sample, make_weights

WORKED = Trajectory(
    (ToolSpec("add"),),
    (
        Turn(
            "2+3?",
            (
                Step("I add.", "caller", (Call("1", "add", {"a": 2}, Observation("5")),)),
                Step("", "conclusion", answer="5."),
            ),
        ),
        Turn("And Paris?", (Step("No tool.", "give up"),)),
    ),
)


def _decode_targets(trajectory: Trajectory, tokenizer: PreTrainedTokenizerFast) -> list[str]:
    sample = make_single_sample(trajectory, tokenizer)
    assert all(label in (IGNORE_INDEX, id_) for id_, label in zip(sample.input_ids, sample.labels, strict=True))
    return [str(tokenizer.decode(sample.labels[turn.start : turn.end])) for turn in sample.turns]


def test_plan_and_call_or_answer_are_one_trained_turn(tokenizer: PreTrainedTokenizerFast) -> None:
    assert _decode_targets(WORKED, tokenizer) == [
        'I add.\nNext: caller.\nAction: add\nAction Input: {"a":2}<|im_end|>',
        "Next: conclusion.\n5.<|im_end|>",
        "No tool.\nNext: give up.<|im_end|>",
    ]


@given(data=st.data())
def test_nothing_but_what_the_model_writes_is_trained(
    data: st.DataObject, tokenizer: PreTrainedTokenizerFast, trajectories: st.SearchStrategy[Trajectory]
) -> None:
    trajectory = data.draw(trajectories)
    written = [message for message in render_messages(trajectory) if message.role in ROLES]
    if not written:
        with pytest.raises(TrajectoryError):
            make_single_sample(trajectory, tokenizer)
        return
    sample = make_single_sample(trajectory, tokenizer)
    trained = [label for label in sample.labels if label != IGNORE_INDEX]
    n_plans = sum(message.role == "planner" for message in written)
    start_id, end_id = tokenizer.encode("<|im_start|><|im_end|>")
    assert len(sample.turns) == trained.count(end_id) == n_plans
    assert start_id not in trained


@pytest.mark.parametrize(("role", "n_messages"), [("planner", 2), ("caller", 3), ("planner", 5), ("summarizer", 6)])
def test_a_served_prompt_is_the_beginning_of_the_trained_sequence(
    role: Role, n_messages: int, tokenizer: PreTrainedTokenizerFast
) -> None:
    rows = [{"role": message.role, "content": message.text} for message in render_messages(WORKED)[:n_messages]]
    prompt = tokenizer.apply_chat_template(
        rows, chat_template=load_template("single"), add_generation_prompt=True, role=role, return_dict=False
    )
    ids = make_single_sample(WORKED, tokenizer).input_ids
    assert ids[: len(prompt)] == prompt
    following = {"planner": "<|im_end|>", "caller": "Action", "summarizer": "5."}[role]
    assert following in tokenizer.decode(ids[len(prompt) :])


def test_the_call_in_a_planner_s_turn_is_weighed_too(tokenizer: PreTrainedTokenizerFast) -> None:
    sample = make_single_sample(WORKED, tokenizer)
    weights = make_weights(sample, tokenizer, TokenWeights(decision=2, action=3))
    heavy: dict[float, list[int]] = {1: [], 2: [], 3: []}
    for id_, weight in zip(sample.input_ids, weights, strict=True):
        heavy[weight].append(id_)
    assert str(tokenizer.decode(heavy[2])).replace(" ", "") == "caller.conclusion.giveup."
    assert str(tokenizer.decode(heavy[3])).strip() == "add"


def test_the_checkpoint_carries_its_template(
    make_config: Callable[..., TrainConfig], data: Path, tmp_path: Path
) -> None:
    train(make_config("single", max_steps=1), data, tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path).chat_template == load_template("single")
