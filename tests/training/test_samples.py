from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import ChatMessage
from tokenizers import Tokenizer, models, normalizers, processors, trainers
from transformers import AutoTokenizer, BatchEncoding, PreTrainedTokenizerFast

from alpha_umi.errors import ConfigError, ContextOverflow, TrajectoryError
from alpha_umi.nodes.format.escaping import Style
from alpha_umi.nodes.format.render import STUB, encode_messages, load_template, render_messages, template_kwargs
from alpha_umi.nodes.format.trajectory import ROLES, Call, Observation, Role, Step, Trajectory, Turn
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.config import TokenWeights, TrainConfig
from alpha_umi.training.glpft import train
from alpha_umi.training.samples import IGNORE_INDEX, Sample, make_sample, make_single_sample, make_weights

ADD = ToolSpec("add")

WORKED = Trajectory(
    (ADD,),
    (
        Turn(
            "2+3?",
            (
                Step("I add.", "caller", (Call("1", "add", {"a": 2}, Observation("5")),)),
                Step("", "conclusion", answer="5."),
            ),
        ),
    ),
)


@pytest.fixture(scope="module")
def llama_tokenizer() -> PreTrainedTokenizerFast:
    """Like Llama 2's: puts a space before each text, so that prompt and completion cannot be joined as text."""
    bpe = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    bpe.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=[*special, *(f"<0x{i:02X}>" for i in range(128))], show_progress=False
    )
    bpe.train_from_iterator(["The planner assistant: I add. caller: Action: x conclusion: 5."], trainer)
    bpe.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def _cut_before_each_turn(trajectory: Trajectory) -> Iterator[tuple[Role, Trajectory]]:
    """Yield the role of every model turn and what a served role knows when it is its turn."""
    for i, turn in enumerate(trajectory.turns):
        for j, step in enumerate(turn.steps):
            before, pending = turn.steps[:j], replace(step, calls=(), answer=None)
            roles: list[tuple[Role, tuple[Step, ...]]] = [("planner", before)]
            if step.calls:
                roles.append(("caller", (*before, pending)))
            if step.answer is not None:
                roles.append(("summarizer", (*before, pending)))
            for role, steps in roles:
                yield role, replace(trajectory, turns=(*trajectory.turns[:i], Turn(turn.instruction, steps)))


def _encode_prompt(
    messages: list[ChatMessage],
    tokenizer: PreTrainedTokenizerFast,
    role: Role,
    trajectory: Trajectory,
    style: Style = "umi",
) -> list[int]:
    """Return the prompt that a role is served with."""
    arguments = template_kwargs(role, trajectory.tools)
    return encode_messages(messages, tokenizer, load_template(style), add_generation_prompt=True, **arguments)


def _hash(ids: list[int]) -> str:
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:16]


def _trained(*ids: int) -> list[tuple[int, int]]:
    return [(id_, id_) for id_ in ids]


def _ignored(*ids: int) -> list[tuple[int, int]]:
    return [(id_, IGNORE_INDEX) for id_ in ids]


def _decode_targets(sample: Sample, tokenizer: PreTrainedTokenizerFast) -> str:
    return str(tokenizer.decode([label for label in sample.labels if label != IGNORE_INDEX]))


def test_make_sample_of_worked_trajectory_is_pinned(tokenizer: PreTrainedTokenizerFast) -> None:
    sample = make_sample(WORKED, tokenizer)
    n_system = 227
    assert _hash(sample.input_ids[:n_system]) == "1e5725a33d512f77"
    assert sample.labels[:n_system] == [IGNORE_INDEX] * n_system
    assert list(zip(sample.input_ids, sample.labels, strict=True))[n_system:] == [
        *_ignored(1, 290, 201, 20, 13, 21, 33, 2, 201),  # user: 2+3?
        *_ignored(1, 284, 282, 201),  # planner: I add. Next: caller.
        *_trained(43, 223, 67, 70, 70, 16, 201, 277, 28, 299, 16, 2),
        *_ignored(201, 1, 69, 264, 280, 201),  # caller: Action: add, Action Input: {"a":2}
        *_trained(300, 28, 223, 67, 70, 70, 201, 300, 396, 28, 363, 67, 302, 20, 95, 2),
        *_ignored(201, 1, 81, 312, 346, 201, 23, 2, 201),  # observation: 5
        *_ignored(1, 284, 282, 201),  # planner: Next: conclusion.
        *_trained(277, 28, 405, 16, 2),
        *_ignored(201, 1, 85, 343, 389, 201),  # summarizer: 5.
        *_trained(23, 16, 2),
        *_ignored(201),
    ]
    assert [(turn.role, turn.start, turn.end) for turn in sample.turns] == [
        ("planner", 240, 252),
        ("caller", 258, 274),
        ("planner", 287, 292),
        ("summarizer", 298, 301),
    ]


@given(data=st.data())
def test_served_prompt_and_output_are_what_was_trained(
    tokenizer: PreTrainedTokenizerFast, trajectories: st.SearchStrategy[Trajectory], data: st.DataObject
) -> None:
    trajectory = data.draw(trajectories.filter(lambda drawn: any(turn.steps for turn in drawn.turns)))
    sample = make_sample(trajectory, tokenizer)
    written = [message for message in render_messages(trajectory) if message.role in ROLES]
    cuts = list(_cut_before_each_turn(trajectory))
    assert len(sample.turns) == len(written) == len(cuts)
    for turn, message, (role, cut) in zip(sample.turns, written, cuts, strict=True):
        prompt = _encode_prompt(render_messages(cut), tokenizer, role, cut)
        output = tokenizer.encode(f"{message.content}<|im_end|>", add_special_tokens=False)
        assert turn.role == role
        assert sample.input_ids[: turn.start] == prompt
        assert sample.input_ids[turn.start : turn.end] == output
        assert sample.labels[turn.start : turn.end] == output


def test_paper_prompt_is_that_of_its_training_code(llama_tokenizer: PreTrainedTokenizerFast) -> None:
    prompt = (
        'system: You have assess to the following apis:\n{"Name": "add", "function": "", "input": {}}\n\n'
        "The conversation history is:\nuser: 2+3?</s>\n"
        "You are the assistant to plan what to do next and whether is caller's or conclusion's turn to answer.\n"
        "Answer with a following format:\nThe thought of the next step, followed by Next: caller or conclusion "
        "or give up. assistant: "
    )
    messages = render_messages(WORKED, style="toolbench")[:2]
    ids = _encode_prompt(messages, llama_tokenizer, "planner", WORKED, style="toolbench")
    assert ids == llama_tokenizer.encode(prompt)


@pytest.mark.parametrize("roles", [ROLES, ("planner",), ("caller",), ("summarizer",), ("summarizer", "caller")])
def test_make_sample_trains_only_what_the_roles_wrote(
    tokenizer: PreTrainedTokenizerFast, roles: tuple[Role, ...]
) -> None:
    sample = make_sample(WORKED, tokenizer, roles=roles)
    written = [f"{m.content}<|im_end|>" for m in render_messages(WORKED) if m.role in roles]
    assert _decode_targets(sample, tokenizer) == "".join(written)
    assert sample.input_ids == make_sample(WORKED, tokenizer).input_ids
    assert all(label in (id_, IGNORE_INDEX) for id_, label in zip(sample.input_ids, sample.labels, strict=True))


@pytest.mark.parametrize(("style", "ends"), [("umi", (7,)), ("toolbench", (3, 4, 6, 7)), ("toolalpaca", (3, 4, 6, 7))])
def test_template_marks_the_same_text_for_other_trainers(
    tokenizer: PreTrainedTokenizerFast, style: Style, ends: tuple[int, ...]
) -> None:
    messages = render_messages(WORKED, style=style)
    for end in ends:
        encoded = cast(
            BatchEncoding,
            tokenizer.apply_chat_template(
                [{"role": m.role, "content": str(m.content)} for m in messages[:end]],
                chat_template=load_template(style),
                return_assistant_tokens_mask=True,
                return_dict=True,
                tool_names=["add"],
            ),
        )
        ids, mask = encoded["input_ids"], encoded["assistant_masks"]
        marked = str(tokenizer.decode([id_ for id_, bit in zip(ids, mask, strict=True) if bit]))
        if style == "umi":
            sample = make_sample(WORKED, tokenizer)
            assert tokenizer.decode(ids) == tokenizer.decode(sample.input_ids)
            assert marked.lstrip() == _decode_targets(sample, tokenizer).lstrip()
        else:
            past, last = messages[: end - 1], messages[end - 1]
            prompt = _encode_prompt(past, tokenizer, cast(Role, last.role), WORKED, style)
            assert tokenizer.decode(ids) == f"{tokenizer.decode(prompt)}{last.content}<|im_end|>"
            assert marked.lstrip() == f"{last.content}<|im_end|>".lstrip()


def test_make_sample_cuts_old_observations_to_the_limit(tokenizer: PreTrainedTokenizerFast) -> None:
    steps = tuple(Step("", "caller", (Call(str(i), "add", {}, Observation("word " * 50)),)) for i in range(3))
    trajectory = Trajectory((), (Turn("Go", (*steps, Step("", "conclusion", answer="Done."))),))
    full = make_sample(trajectory, tokenizer)
    cut = make_sample(trajectory, tokenizer, limit_tokens=len(full.input_ids) - 1)
    assert len(cut.input_ids) < len(full.input_ids)
    assert STUB in tokenizer.decode(cut.input_ids)
    assert _decode_targets(cut, tokenizer) == _decode_targets(full, tokenizer)
    with pytest.raises(ContextOverflow):
        make_sample(trajectory, tokenizer, limit_tokens=100)


def test_make_sample_refuses_trajectory_without_trained_turn(tokenizer: PreTrainedTokenizerFast) -> None:
    roles: tuple[Role, ...] = ("caller",)
    with pytest.raises(TrajectoryError, match="no turn of caller to train"):
        make_sample(Trajectory((), (Turn("Hi", (Step("", "give up"),)),)), tokenizer, roles=roles)


def test_a_step_of_weight_0_is_read_and_not_trained(tokenizer: PreTrainedTokenizerFast) -> None:
    call, answer = WORKED.turns[0].steps
    masked = replace(WORKED, turns=(Turn("2+3?", (replace(call, weight=0), answer)),))
    assert (
        Trajectory.from_messages(masked.to_messages(), masked.tools) == Trajectory.from_row(masked.to_row()) == masked
    )
    for make in (make_sample, make_single_sample):
        sample, whole = make(masked, tokenizer), make(WORKED, tokenizer)
        assert sample.input_ids == whole.input_ids
        assert sample.turns == tuple(turn for turn in whole.turns if turn.start >= sample.turns[0].start)
        trained = tokenizer.decode([label for label in sample.labels if label != IGNORE_INDEX])
        assert "Next: conclusion." in trained
        assert "I add." not in trained
    with pytest.raises(TrajectoryError, match="no turn of caller"):
        make_sample(masked, tokenizer, roles=["caller"])


def test_make_sample_refuses_tokenizer_without_control_tokens(llama_tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ConfigError, match="add both as special tokens"):
        make_sample(WORKED, llama_tokenizer)


TWO_TURNS = replace(WORKED, turns=(*WORKED.turns, Turn("And Paris?", (Step("No tool.", "give up"),))))


def _decode_turns(trajectory: Trajectory, tokenizer: PreTrainedTokenizerFast) -> list[str]:
    sample = make_single_sample(trajectory, tokenizer)
    assert all(label in (IGNORE_INDEX, id_) for id_, label in zip(sample.input_ids, sample.labels, strict=True))
    return [str(tokenizer.decode(sample.labels[turn.start : turn.end])) for turn in sample.turns]


def test_plan_and_call_or_answer_are_one_trained_turn(tokenizer: PreTrainedTokenizerFast) -> None:
    assert _decode_turns(TWO_TURNS, tokenizer) == [
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
    rows = [{"role": message.role, "content": message.text} for message in render_messages(TWO_TURNS)[:n_messages]]
    prompt = tokenizer.apply_chat_template(
        rows, chat_template=load_template("single"), add_generation_prompt=True, role=role, return_dict=False
    )
    ids = make_single_sample(TWO_TURNS, tokenizer).input_ids
    assert ids[: len(prompt)] == prompt
    following = {"planner": "<|im_end|>", "caller": "Action", "summarizer": "5."}[role]
    assert following in tokenizer.decode(ids[len(prompt) :])


def test_the_call_in_a_planner_s_turn_is_weighed_too(tokenizer: PreTrainedTokenizerFast) -> None:
    sample = make_single_sample(TWO_TURNS, tokenizer)
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
