from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from alpha_umi.nodes.format.history import (
    find_first_turn,
    list_outcomes,
    make_summary_request,
    make_summary_turn,
    split_history,
)
from alpha_umi.nodes.format.render import list_said, render_messages
from alpha_umi.nodes.format.trajectory import Step, Trajectory, Turn

N_FIXED = 10


def _find(lengths: list[int], trigger: int, keep: int, first: int = 0) -> int:
    return find_first_turn(lengths, N_FIXED, trigger_tokens=trigger, keep_tokens=keep, first=first)


def test_whole_oldest_turns_go_once_a_thread_is_too_long() -> None:
    assert _find([30, 30, 30], 100, 50) == 0
    assert _find([30, 30, 30, 30], 100, 50) == 3
    assert _find([30, 30, 30, 10], 100, 70) == 2
    assert _find([30, 200], 100, 50) == 1  # a turn itself always stays
    assert _find([500], 100, 50) == 0


@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=40),
    trigger=st.integers(60, 200),
    keep=st.integers(20, 60),
)
def test_beginnings_of_prompts_stay_and_depend_on_the_thread_alone(lengths: list[int], trigger: int, keep: int) -> None:
    before = 0
    for n in range(1, len(lengths) + 1):
        first, held = _find(lengths[:n], trigger, keep), N_FIXED + sum(lengths[before:n])
        if held <= trigger:
            assert first == before
        else:  # then down to what is kept, and no further
            assert N_FIXED + sum(lengths[first:n]) <= keep or first == n - 1
            assert first == before or N_FIXED + sum(lengths[first - 1 : n]) > keep
        assert _find(lengths[:n], trigger, keep, before) == first
        before = first


def _make_thread(lengths: list[list[int]]) -> Trajectory:
    """Return turns of steps whose rationales have as many letters as they are to have tokens, and their number."""
    return Trajectory(
        (),
        tuple(
            Turn("x", tuple(Step(f"{i} {j} " + "x" * n, "give up") for j, n in enumerate(steps)))
            for i, steps in enumerate(lengths)
        ),
    )


def _count(trajectory: Trajectory) -> int:
    return N_FIXED + sum(1 + sum(step.rationale.count("x") for step in turn.steps) for turn in trajectory.turns)


@given(
    lengths=st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=4), min_size=1, max_size=15),
    trigger=st.integers(60, 120),
    keep=st.integers(20, 60),
)
def test_parts_train_each_step_once_after_the_prompt_that_is_served(
    lengths: list[list[int]], trigger: int, keep: int
) -> None:
    thread = _make_thread(lengths)
    parts = split_history(thread, _count, trigger_tokens=trigger, keep_tokens=keep)
    trained = [step for part in parts for turn in part.turns for step in turn.steps if step.weight]
    assert trained == [step for turn in thread.turns for step in turn.steps]
    for part in parts:
        first = int(part.turns[0].steps[0].rationale.split()[0])
        for i, turn in enumerate(part.turns):
            for j, step in enumerate(turn.steps):
                before = Turn(turn.instruction, turn.steps[:j])
                prompt = Trajectory((), (*part.turns[:i], before))
                assert not step.weight or i == 0 or _count(prompt) <= trigger
                assert step.rationale == thread.turns[first + i].steps[j].rationale


def test_a_summary_is_asked_for_as_a_question_of_several_parts() -> None:
    turns = [make_summary_turn("It is 1."), *(Turn(f"{i}?", (Step("", "conclusion", answer=f"{i}!"),)) for i in "ab")]
    turns.append(Turn("c?", (Step("No tool can.", "give up"),)))
    asked = make_summary_request(turns)
    assert asked.instruction == "Summarize what I asked and what came out: What came out so far? a? b? c?"
    observed = [call.observation.text for step in asked.steps for call in step.calls if call.observation]
    assert observed == ["It is 1.", "a: a!", "b: b!", "c: No tool can."]
    assert [said for _, said in list_outcomes(turns, 24)] == ["a!", "b: b!", "c: No tool can."]


def test_values_may_be_copied_from_a_summary() -> None:
    old = Turn("What is 2 + 3?", (Step("", "conclusion", answer="It is five."),))
    thread = Trajectory((), (make_summary_turn("Ann is 41."), old, Turn("Who is it?")))
    assert list_said(render_messages(thread)) == ["What came out so far?", "Ann is 41.", "What is 2 + 3?", "Who is it?"]
