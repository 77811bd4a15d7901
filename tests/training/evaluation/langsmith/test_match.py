"""Our trajectory match against that of openevals."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openevals.trajectory.match import create_trajectory_match_evaluator

from alpha_umi.errors import ConfigError, TrajectoryError
from alpha_umi.nodes.format.openai_messages import to_openai
from alpha_umi.nodes.format.trajectory import Call, Step, Trajectory, Turn
from alpha_umi.training.evaluation.langsmith import make_trajectory_match
from alpha_umi.training.evaluation.langsmith.match import ArgumentsMode, MatchMode

MODES = [(mode, arguments) for mode in get_args(MatchMode) for arguments in get_args(ArgumentsMode)]
ARGUMENTS: list[dict[str, Any]] = [{}, {"x": 1}, {"x": 2}, {"x": 1, "y": ["z"]}]


def make_call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"id": "1", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}


def make_assistant(calls: list[dict[str, Any]]) -> dict[str, Any]:
    return {"role": "assistant", "content": "", **({"tool_calls": calls} if calls else {})}


CALLS = st.builds(make_call, st.sampled_from("ab"), st.sampled_from(ARGUMENTS))
MESSAGES = st.lists(
    st.builds(make_assistant, st.lists(CALLS, max_size=2))
    | st.sampled_from([{"role": "user", "content": "?"}, {"role": "tool", "tool_call_id": "1", "content": "!"}]),
    max_size=3,
)


@pytest.mark.parametrize(("mode", "arguments"), MODES)
def test_match_decides_as_openevals_does(mode: MatchMode, arguments: ArgumentsMode) -> None:
    theirs = create_trajectory_match_evaluator(trajectory_match_mode=mode, tool_args_match_mode=arguments)
    ours = make_trajectory_match(mode, arguments)

    @given(MESSAGES, MESSAGES | st.none())
    def check(made: list[dict[str, Any]], wanted: list[dict[str, Any]] | None) -> None:
        outputs, reference = {"messages": made}, {"messages": made if wanted is None else wanted}
        expected: Any = theirs(outputs=outputs, reference_outputs=reference)
        assert ours(outputs, reference) == {"key": expected["key"], "score": expected["score"]}

    check()


@pytest.mark.parametrize("mode", get_args(MatchMode))
def test_a_call_whose_arguments_do_not_parse_is_not_the_right_one(mode: MatchMode) -> None:
    def make(arguments: dict[str, Any] | str) -> dict[str, Any]:
        steps = (Step("I add.", "caller", (Call("1", "add", arguments),)), Step("", "conclusion", answer="5"))
        return {"messages": to_openai(Trajectory((), (Turn("2 + 3?", steps),)))}

    theirs: Any = create_trajectory_match_evaluator(trajectory_match_mode=mode)
    for made, score in ((make({"a": 2}), True), (make("{a"), False)):
        assert make_trajectory_match(mode)(made, make({"a": 2}))["score"] is score
        assert theirs(outputs=made, reference_outputs=make({"a": 2}))["score"] is score


def test_a_run_that_failed_does_not_match() -> None:
    feedback = make_trajectory_match("subset")({}, {"messages": []})
    assert feedback == {"key": "trajectory_subset_match", "score": False, "comment": "The run has no messages."}


def test_a_reference_without_messages_is_told() -> None:
    with pytest.raises(TrajectoryError, match="no 'messages'"):
        make_trajectory_match()({"messages": []}, {"expected": ["5"]})


def test_unknown_modes_are_refused() -> None:
    with pytest.raises(ConfigError, match="strict, unordered, subset, superset"):
        make_trajectory_match("loose")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="exact, ignore, subset, superset"):
        make_trajectory_match("strict", "loose")  # type: ignore[arg-type]
