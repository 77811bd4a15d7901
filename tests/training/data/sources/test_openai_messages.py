from __future__ import annotations

from typing import Any

import pytest

from alpha_umi.errors import TrajectoryError
from alpha_umi.nodes.format.trajectory import Step
from tests.training.data.conftest import Read, WriteLines

FUNCTION = {"name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {"a": {}}}}
TOOLS = [{"type": "function", "function": FUNCTION}]
USER = {"role": "user", "content": [{"type": "text", "text": "2 and 2?"}]}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}


def dialogue(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"messages": [USER, *messages], "tools": TOOLS, **fields}


def test_openai_dialogue_becomes_steps(read: Read, write_lines: WriteLines) -> None:
    record = dialogue(
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "4"},
        {"role": "assistant", "content": "It is 4.", "reasoning_content": "Added."},
        id="x",
    )
    (example,), tally = read("openai_messages", write_lines([record]))
    call, answer = example.trajectory.turns[0].steps
    assert example.id == "openai_messages-x"
    assert example.trajectory.turns[0].instruction == "2 and 2?"
    assert (call.rationale, call.calls[0].arguments) == ("I call add.", {"a": 2})
    assert call.calls[0].observation is not None
    assert call.calls[0].observation.text == "4"
    assert answer == Step("Added.", "conclusion", answer="It is 4.")
    assert tally.repaired == {"missing rationale written from the calls": 1}


def test_openai_older_function_calls_are_linked(read: Read, write_lines: WriteLines) -> None:
    record = dialogue(
        {"role": "assistant", "content": "I add.", "function_call": {"name": "add", "arguments": "{}"}},
        {"role": "function", "name": "add", "content": "0"},
        tools=None,
        functions=[FUNCTION],
    )
    (example,), _ = read("openai_messages", write_lines([record]))
    (step,) = example.trajectory.turns[0].steps
    assert step.rationale == "I add."
    assert step.calls[0].observation is not None
    assert step.calls[0].observation.text == "0"


def test_openai_call_with_malformed_arguments_is_removed(read: Read, write_lines: WriteLines) -> None:
    broken = {"id": "c0", "function": {"name": "add", "arguments": '{"a": '}}
    record = dialogue(
        {"role": "assistant", "content": "I add.", "tool_calls": [broken, CALL]},
        {"role": "tool", "tool_call_id": "c0", "content": "bad"},
        {"role": "tool", "tool_call_id": "c1", "content": "4"},
    )
    (example,), tally = read("openai_messages", write_lines([record]))
    assert [call.id for call in example.trajectory.turns[0].steps[0].calls] == ["c1"]
    assert tally.repaired == {"call with malformed arguments removed": 1}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"tools": TOOLS}, "no 'messages' list"),
        (dialogue({"role": "narrator", "content": "…"}), "unknown role 'narrator'"),
        (dialogue({"role": "tool", "tool_call_id": "c9", "content": "4"}), "answers no call"),
        (dialogue({"role": "assistant", "content": "4."}, tools=[]), "the row has no tools"),
        (dialogue(tools=[{"description": "?"}]), "Not a tool"),
    ],
)
def test_openai_wrong_row_is_named(read: Read, write_lines: WriteLines, record: dict[str, Any], message: str) -> None:
    good = dialogue({"role": "assistant", "content": "4."})
    with pytest.raises(TrajectoryError, match=f"records\\.jsonl:2: .*{message}"):
        read("openai_messages", write_lines([good, record]))
