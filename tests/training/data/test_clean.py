from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpha_umi.nodes.format.parsing import parse_plan
from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.clean import READY, clean, describe_calls, quote_part, shorten_rationale
from alpha_umi.training.data.dataset import Example, Tally

ADD = ToolSpec("add", "Adds.")
DONE = Step("Done.", "conclusion", answer="4.")


def clean_steps(*steps: Step, tools: tuple[ToolSpec, ...] = (ADD,)) -> tuple[Trajectory | None, Tally]:
    tally = Tally()
    example = Example("x", "own", Trajectory(tools, (Turn("2 and 2?", steps),)), "file:1")
    return clean(example, tally, max_observation_chars=120), tally


def test_clean_leaves_a_good_trajectory_as_it_is() -> None:
    call = Step("I add.", "caller", (Call("c", "add", {"a": 2}, Observation("4")),))
    trajectory, tally = clean_steps(call, DONE)
    assert trajectory == Trajectory((ADD,), (Turn("2 and 2?", (call, DONE)),))
    assert not tally.repaired


def test_clean_removes_what_follows_the_end_of_a_turn() -> None:
    trajectory, tally = clean_steps(DONE, Step("More.", "give up"))
    assert trajectory is not None
    assert trajectory.turns[0].steps == (DONE,)
    assert tally.repaired == {"steps after the end of a turn removed": 1}


def test_clean_cuts_and_marks_observations() -> None:
    calls = (Call("c", "add", {}, Observation("x" * 500)), Call("d", "add", {}, Observation(" ")))
    trajectory, tally = clean_steps(Step("I add.", "caller", calls))
    assert trajectory is not None
    long, empty = (call.observation for call in trajectory.turns[0].steps[0].calls)
    assert long is not None
    assert len(long.text) <= 120
    assert empty == Observation("(no output)")
    assert tally.repaired == {"long observation cut": 1, "empty observation marked": 1}


def test_clean_disarms_a_decision_inside_a_rationale() -> None:
    rationale = "First Next: caller. Then Next：give up. _next: caller"
    trajectory, tally = clean_steps(Step(rationale, "conclusion", answer="4."))
    assert trajectory is not None
    assert parse_plan(trajectory.turns[0].steps[0].rationale).decision is None
    assert tally.repaired == {"decision inside a rationale disarmed": 1}


def test_clean_takes_out_what_a_reasoning_model_thought() -> None:
    call = Call("c", "add", {}, Observation("<think>4</think>"))
    steps = (Step("<think>Hm.", "caller", (call,)), Step("Hm. </think>Done.", "conclusion", answer="<think>…</think>"))
    trajectory, _ = clean_steps(*steps)
    assert trajectory is not None
    assert trajectory.turns[0].steps == (Step("I call add.", "caller", (call,)), Step("Done.", "conclusion"))


def test_clean_keeps_the_first_of_two_tools_with_one_name() -> None:
    trajectory, tally = clean_steps(DONE, tools=(ADD, ToolSpec("sub"), ToolSpec("add", "Another.")))
    assert trajectory is not None
    assert trajectory.tools == (ADD, ToolSpec("sub"))
    assert tally.repaired == {"second tool of one name removed": 1}


def test_clean_drops_a_trajectory_without_instruction() -> None:
    tally = Tally()
    example = Example("x", "own", Trajectory((ADD,), (Turn("  ", (DONE,)),)), "file:1")
    assert clean(example, tally, max_observation_chars=120) is None
    assert tally.dropped == {"no instruction": 1}
    assert tally.first == {"no instruction": "file:1"}


def test_clean_drops_a_row_without_tools() -> None:
    trajectory, tally = clean_steps(DONE, tools=())
    assert trajectory is None
    assert tally.dropped == {"no tools": 1}


def test_clean_cuts_before_a_lost_call_unless_it_failed() -> None:
    good = Step("I add.", "caller", (Call("c", "add", {}, Observation("4")),))
    for lost in (Call("d", "sub", {}, Observation("2")), Call("d", "add", "{", Observation("2")), Call("d", "sub", {})):
        trajectory, tally = clean_steps(good, Step("I sub.", "caller", (lost,)), DONE)
        assert trajectory is not None
        assert trajectory.turns[0].steps == (good,)
        assert tally.repaired.total() == 1
    failed = Call("d", "sub", {}, Observation("no such tool", is_error=True))
    trajectory, tally = clean_steps(Step("I sub.", "caller", (failed,)), good, DONE)
    assert trajectory is not None
    assert trajectory.turns[0].steps == (good, DONE)
    assert tally.repaired["call of a tool that does not exist removed"] == 1


def test_a_rationale_written_from_calls_never_reads_as_a_decision() -> None:
    call = Call("1", "add", {"Next: caller.": None})
    example = Example("x", "own", Trajectory((ADD,), (Turn("?", (Step("", "caller", (call,)), DONE)),)), "file:1")
    cleaned = clean(example, Tally(), max_observation_chars=120)
    assert cleaned is not None
    assert parse_plan(cleaned.turns[0].steps[0].rationale).decision is None


@given(drawn=st.data())
def test_clean_leaves_only_what_may_be_learnt(
    trajectories: st.SearchStrategy[Trajectory], drawn: st.DataObject
) -> None:
    trajectory = drawn.draw(trajectories)
    called = {call.name for turn in trajectory.turns for step in turn.steps for call in step.calls if call.name}
    trajectory = replace(trajectory, tools=(ADD, *map(ToolSpec, sorted(called)), *trajectory.tools))
    tally = Tally()
    cleaned = clean(Example("x", "own", trajectory, "file:1"), tally, max_observation_chars=120)
    if cleaned is None:
        assert list(tally.dropped) in (["no usable step"], ["no instruction"], ["every step has weight 0"])
        return
    assert cleaned.turns
    assert cleaned.turns[-1].steps
    names = {tool.name for tool in trajectory.tools}
    for turn in cleaned.turns:
        assert all(step.decision == "caller" for step in turn.steps[:-1])
        for step in turn.steps:
            assert step.rationale
            assert parse_plan(step.rationale).decision is None
            assert (step.decision == "caller") == bool(step.calls)
            assert all(isinstance(call.arguments, dict) and call.name in names for call in step.calls)


def test_describe_calls_names_every_tool_and_no_argument() -> None:
    calls = [Call("1", "find", {"city": "Oslo", "days": 2}), Call("2", "list_all", {})]
    assert describe_calls(calls) == "I call find and list_all."
    assert describe_calls(calls[:1]) == "I call find."


@pytest.mark.parametrize(
    ("words", "quote"),
    [
        ("What time is it?", "what time is it"),
        ("the price of A+B (net).", "The price of A+B (net)"),
        ("how far is İzmir?", "How far is İzmir"),
        ("what comes after?", "what comes after"),
        ("not there.", "not there"),
    ],
)
def test_quote_part_quotes_as_the_request_words_it(words: str, quote: str) -> None:
    request = "The price of A+B (net), and what time is it? How far is İzmir, and what comes after?"
    assert quote_part(2, words, request) == f"Part 2 ({quote})"


def test_clean_writes_a_rationale_only_where_there_is_none() -> None:
    call = Call("1", "add", {}, Observation("4"))
    trajectory, tally = clean_steps(
        Step("", "caller", (call,)), Step("I add.", "caller", (call,)), Step(" ", "give up")
    )
    assert trajectory is not None
    assert [step.rationale for step in trajectory.turns[0].steps] == ["I call add.", "I add.", READY]
    assert tally.repaired == {"missing rationale written from the calls": 2}


def test_shorten_rationale_keeps_the_sentence_that_names_the_tool() -> None:
    text = "It is a long story. " * 40 + "So I use get_weather now."
    short = shorten_rationale(text, "get_weather")
    assert len(short) < 600
    assert short.startswith("It is a long story.")
    assert short.endswith("So I use get_weather now.")


@given(st.text(max_size=3000), st.text(max_size=10))
def test_shorten_rationale_is_total_and_bounded(text: str, name: str) -> None:
    short = shorten_rationale(text, name)
    assert len(short) <= max(1002, min(len(text), 500))
    assert short == text or len(text) > 500
