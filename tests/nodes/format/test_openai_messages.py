from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import convert_to_messages

from alpha_umi.errors import TrajectoryError
from alpha_umi.nodes.format.openai_messages import from_openai, to_openai
from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn

RUN = Trajectory(
    (),
    (
        Turn(
            "Book it.",
            (
                Step(
                    "I book.",
                    "caller",
                    (Call("1", "book", {"n": 2}, Observation("n: too many", is_error=True)), Call("2", "book", "{n")),
                ),
                Step("It cannot be booked.", "give up"),
            ),
        ),
    ),
    "Be kind.",
)


def test_messages_are_those_of_chat_completions() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "book", "arguments": '{"n": 2}'}}
    broken = {"name": "book", "arguments": '{"(no JSON object)": "{n"}'}
    assert to_openai(RUN) == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Book it."},
        {
            "role": "assistant",
            "content": "I book.",
            "tool_calls": [call, {"id": "2", "type": "function", "function": broken}],
        },
        {"role": "tool", "tool_call_id": "1", "name": "book", "content": "n: too many", "status": "error"},
        {"role": "assistant", "content": "It cannot be booked."},
    ]
    assert from_openai(to_openai(RUN), gave_up=True) == RUN
    assert from_openai(to_openai(RUN)).answer == "It cannot be booked."


def test_any_trajectory_keeps_requests_calls_and_observations(
    trajectories: st.SearchStrategy[Trajectory],
) -> None:
    @given(trajectories)
    def check(trajectory: Trajectory) -> None:
        messages = json.loads(json.dumps(to_openai(trajectory)))
        read = from_openai(messages, trajectory.tools, gave_up=trajectory.gave_up)
        assert (read.tools, read.system, read.gave_up) == (trajectory.tools, trajectory.system, trajectory.gave_up)
        assert [turn.instruction for turn in read.turns] == [turn.instruction for turn in trajectory.turns]
        assert list_calls(read) == list_calls(trajectory)
        assert len(convert_to_messages(messages)) == len(messages)

    check()


def list_calls(trajectory: Trajectory) -> list[list[tuple[Call, ...]]]:
    return [[step.calls for step in turn.steps] for turn in trajectory.turns]


def test_foreign_agents_are_read() -> None:
    run = from_openai([{"role": "user", "content": "Hi!"}, {"role": "assistant", "content": "Hello."}])
    assert run.turns == (Turn("Hi!", (Step("", "conclusion", answer="Hello."),)),)


@pytest.mark.parametrize("messages", [[{"content": "Hi!"}], [{"role": "assistant", "content": "Hi!"}], [7]])
def test_what_is_no_dialogue_is_refused(messages: list[dict[str, str]]) -> None:
    with pytest.raises(TrajectoryError):
        from_openai(messages)
