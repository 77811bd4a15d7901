from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    messages_from_dict,
    messages_to_dict,
)

from alpha_umi.errors import TrajectoryError
from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn, make_message
from alpha_umi.tools.spec import ToolSpec

Trajectories = st.SearchStrategy[Trajectory]


def _dump(messages: list[AnyMessage]) -> list[dict[str, Any]]:
    return messages_to_dict(messages)


@given(data=st.data())
def test_trajectory_survives_messages(trajectories: Trajectories, data: st.DataObject) -> None:
    trajectory = data.draw(trajectories)
    assert Trajectory.from_messages(trajectory.to_messages(), trajectory.tools) == trajectory


@given(data=st.data())
def test_trajectory_survives_messages_stored_as_json(trajectories: Trajectories, data: st.DataObject) -> None:
    trajectory = data.draw(trajectories)
    stored = json.loads(json.dumps(_dump(trajectory.to_messages()), allow_nan=False))
    assert Trajectory.from_messages(messages_from_dict(stored), trajectory.tools) == trajectory


@given(data=st.data())
def test_messages_survive_trajectory(trajectories: Trajectories, data: st.DataObject) -> None:
    messages = data.draw(trajectories).to_messages()
    assert _dump(Trajectory.from_messages(messages).to_messages()) == _dump(messages)


@given(data=st.data())
def test_trajectory_survives_row(trajectories: Trajectories, data: st.DataObject) -> None:
    trajectory = data.draw(trajectories)
    row = json.loads(json.dumps(trajectory.to_row(), allow_nan=False))
    assert Trajectory.from_row(row) == trajectory


def test_make_message_shows_answer_alone_as_text() -> None:
    message = make_message(Step("I know it.", "conclusion", answer="42"))
    assert message.text == "42"
    assert message.content_blocks[0] == {"type": "reasoning", "reasoning": "I know it."}


def test_make_message_keeps_unparsable_call_as_written() -> None:
    message = make_message(Step("", "caller", (Call("1", "add", "{oops"),)))
    assert message.tool_calls == []
    assert message.invalid_tool_calls[0]["args"] == "{oops"


def test_from_messages_reads_foreign_tool_call() -> None:
    messages: list[BaseMessage] = [
        SystemMessage("Be brief."),
        SystemMessage("Be kind."),
        HumanMessage([{"type": "text", "text": "Weather in Paris?"}]),
        AIMessage("Let me look.", tool_calls=[{"name": "weather", "args": {"city": "Paris"}, "id": "a"}]),
        ToolMessage("Rain", tool_call_id="a"),
        AIMessage("It rains."),
    ]
    call = Call("a", "weather", {"city": "Paris"}, Observation("Rain"))
    steps = (Step("Let me look.", "caller", (call,)), Step("", "conclusion", answer="It rains."))
    assert Trajectory.from_messages(messages) == Trajectory(
        (), (Turn("Weather in Paris?", steps),), "Be brief.\n\nBe kind."
    )


@pytest.mark.parametrize(
    "message",
    [
        AIMessage([{"type": "reasoning", "reasoning": "Next: give up."}, {"type": "text", "text": "42"}]),
        AIMessage("42", additional_kwargs={"reasoning_content": "Next: give up."}),
        AIMessage("<think>\nNext: give up.\n</think>\n\n42"),
    ],
)
def test_from_messages_leaves_out_what_a_foreign_model_thought(message: AIMessage) -> None:
    (turn,) = Trajectory.from_messages([HumanMessage("?"), message]).turns
    assert turn.steps == (Step("", "conclusion", answer="42"),)


def test_from_messages_matches_parallel_calls_answered_in_any_order() -> None:
    calls = [{"name": "add", "args": {"a": i}, "id": str(i)} for i in range(3)]
    answers = [ToolMessage(f"result {i}", tool_call_id=str(i), status="error") for i in (2, 0)]
    trajectory = Trajectory.from_messages([HumanMessage("?"), AIMessage("", tool_calls=calls), *answers])
    assert [call.observation for call in trajectory.turns[0].steps[0].calls] == [
        Observation("result 0", is_error=True),
        None,
        Observation("result 2", is_error=True),
    ]


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        ([AIMessage("Hi")], "start with one"),
        ([ToolMessage("5", tool_call_id="a")], "start with one"),
        ([HumanMessage("?"), ToolMessage("5", tool_call_id="a")], "'a' answers no call"),
        ([HumanMessage("?"), ChatMessage(role="critic", content="No.")], "use system, human, ai and tool"),
    ],
)
def test_from_messages_refuses_what_is_no_trajectory(messages: list[BaseMessage], complaint: str) -> None:
    with pytest.raises(TrajectoryError, match=complaint):
        Trajectory.from_messages(messages)


def make_call(arguments: dict[str, Any], id_: str | None = None, name: str = "w") -> dict[str, Any]:
    return {"name": name, "args": arguments, "id": id_}


@pytest.mark.parametrize(
    ("calls", "results", "expected"),
    [
        ([("w", None), ("w", None)], [("", None, "one"), ("", None, "two")], ["one", "two"]),
        ([("w", "x"), ("w", "x")], [("x", None, "one"), ("x", None, "two")], ["one", "two"]),
        ([("w", "x"), ("v", "x")], [("x", "v", "two"), ("x", "w", "one")], ["one", "two"]),
        ([("w", None), ("v", None)], [("", "v", "two"), ("", "w", "one")], ["one", "two"]),
        ([("w", "a"), ("w", "b")], [("", None, "one"), ("b", None, "two")], ["one", "two"]),
        ([("w", None), ("w", None)], [("9", "w", "one")], ["one", None]),
    ],
)
def test_from_messages_gives_results_to_calls_by_id_then_name_then_order(
    calls: list[tuple[str, str | None]], results: list[tuple[str, str | None, str]], expected: list[str | None]
) -> None:
    made = [make_call({"n": i}, id_, name) for i, (name, id_) in enumerate(calls)]
    answers = [ToolMessage(text, tool_call_id=id_, name=name) for id_, name, text in results]
    messages = [HumanMessage("?"), AIMessage("", tool_calls=made), *answers]
    trajectory = Trajectory.from_messages(messages)
    found = trajectory.turns[0].steps[0].calls
    assert [call.observation and call.observation.text for call in found] == expected
    assert len({call.id for call in found}) == len(found)
    assert Trajectory.from_messages(trajectory.to_messages()) == trajectory
    assert Trajectory.from_history(messages).turns == trajectory.turns


def test_from_messages_gives_a_result_to_the_newest_open_call_of_its_id() -> None:
    step = AIMessage("", tool_calls=[make_call({}, "call_0")])
    messages = [HumanMessage("?"), step, ToolMessage("a", tool_call_id="call_0"), step]
    trajectory = Trajectory.from_messages([*messages, ToolMessage("b", tool_call_id="call_0")])
    assert [step.calls[0].observation for step in trajectory.turns[0].steps] == [Observation("a"), Observation("b")]


def test_an_answered_call_takes_no_second_answer() -> None:
    answers = [ToolMessage(text, tool_call_id="x", name="w") for text in ("one", "two")]
    messages = [HumanMessage("?"), AIMessage("", tool_calls=[make_call({}, "x")]), *answers]
    with pytest.raises(TrajectoryError, match=r"'x' answers no call .* open"):
        Trajectory.from_messages(messages)
    (turn,) = Trajectory.from_history(messages).turns
    assert turn.steps[0].calls[0].observation == Observation("one")
    assert turn.instruction == "?\n\n[w returned: two]"


def test_from_messages_tells_what_came_before_the_first_human_message() -> None:
    messages = [AIMessage("Hello!"), AIMessage("", tool_calls=[make_call({"n": 1}, "x")]), HumanMessage("Go.")]
    (turn,) = Trajectory.from_messages(messages).turns
    assert turn.instruction == '[The assistant said: Hello!]\n\n[The assistant called w with {"n": 1}]\n\nGo.'


def test_step_refuses_unparsable_call_before_parsed_one() -> None:
    with pytest.raises(TrajectoryError, match="must come after"):
        Step("", "caller", (Call("1", "a", "{"), Call("2", "b", {})))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"turns": None}, "^turns: "),
        (
            {"turns": [{"instruction": "?", "steps": [{"rationale": "", "decision": "stop"}]}]},
            "turns.0.steps.0.decision",
        ),
        ({"tools": [{"name": "a b"}]}, "tools.0: .*'a b' cannot be used"),
    ],
)
def test_from_row_names_the_wrong_field(change: dict[str, Any], complaint: str) -> None:
    row = Trajectory((ToolSpec("add"),), (Turn("?"),)).to_row()
    with pytest.raises(TrajectoryError, match=complaint):
        Trajectory.from_row(row | change)


@pytest.mark.parametrize("kind", ["image", "image_url", "audio", "file", "server_tool_call", "web_search_tool_result"])
def test_from_messages_names_blocks_that_are_no_text(kind: str) -> None:
    content: list[str | dict[str, Any]] = [
        {"type": kind, "id": "1", "url": "https://a/b"},
        {"type": "text", "text": "See."},
    ]
    messages = [HumanMessage(content), AIMessage(content)]
    (turn,) = Trajectory.from_messages(messages).turns
    assert turn.instruction == turn.steps[0].answer == f"({kind}, not shown)\nSee."


def test_from_messages_names_no_block_of_a_call_that_the_message_holds_anyway() -> None:
    blocks: list[str | dict[str, Any]] = [{"type": "tool_use", "id": "1", "name": "f", "input": {}}, "I look."]
    message = AIMessage(blocks, tool_calls=[{"id": "1", "name": "f", "args": {}}])
    (turn,) = Trajectory.from_messages([HumanMessage("Look."), message]).turns
    assert turn.steps[0].rationale == "I look."
