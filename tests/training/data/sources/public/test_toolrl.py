from __future__ import annotations

import pytest

from alpha_umi.errors import TrajectoryError
from alpha_umi.nodes.format.trajectory import Turn
from alpha_umi.training.data.dataset import Tally
from tests.training.data.conftest import Read, WriteLines

INSTRUCTION = """You are helpful.

**Available Tools**
In your response, you can use the following tools:
1. Name: Find Town
Description: Finds a town.
Parameters: {"name": {"description": "Its name", "type": "string", "default": ""}, \
"limit": {"description": "At most", "type": "int, optional", "default": "5"}}
2. Name: broken
Description: Its parameters do not parse.
Parameters: {"name":

**Steps for Each Turn**
1. **Think:** …"""
ASK = "**Dialogue Records History**\n<user> Where is Graz? </user>\n"
CALL = '<tool_call>\n{"name": "Find Town", "parameters": {"name": "Graz", "limit": "2"}}\n</tool_call>'


def read_one(read: Read, write_lines: WriteLines, history: str, output: str) -> tuple[tuple[Turn, ...], Tally]:
    record = {"instruction": INSTRUCTION, "input": history, "output": output}
    examples, tally = read("toolrl", write_lines([record]))
    return examples[0].trajectory.turns if examples else (), tally


def test_toolrl_reads_tools_and_call(read: Read, write_lines: WriteLines) -> None:
    record = {"instruction": INSTRUCTION, "input": ASK, "output": f"<think> I look it up. </think>\n{CALL}"}
    (example,), tally = read("toolrl", write_lines([record]))
    (spec,) = example.trajectory.tools
    assert spec.name == "Find_Town"
    assert spec.parameters["required"] == ["name"]
    assert spec.parameters["properties"]["limit"] == {"type": "integer", "description": "At most (default: 5)"}
    (step,) = example.trajectory.turns[0].steps
    assert step.rationale == "I look it up. I call Find_Town."
    assert step.calls[0].arguments == {"name": "Graz", "limit": 2}
    assert tally.repaired == {"tool whose parameters do not parse removed": 1}


def test_toolrl_reads_the_history_as_turns_and_replaces_stock_thoughts(read: Read, write_lines: WriteLines) -> None:
    stock = "<think> I should use the appropriate tool with proper parameters to respond to the user's need. </think>\n"
    obs = '\n<obs> [{"name": "Find Town", "results": {"lat": 47}}] </obs>\n'
    history = f"{ASK}{stock}{CALL}{obs}<think> I should directly respond. </think><response> South. </response>\n"
    turns, tally = read_one(
        read, write_lines, f"{history}<user> Thanks! </user>", "<think>Polite.</think><response>Bye.</response>"
    )
    assert [turn.instruction for turn in turns] == ["Where is Graz?", "Thanks!"]
    call, answer = turns[0].steps
    assert call.rationale == "I call Find_Town."
    assert call.calls[0].arguments == {"name": "Graz", "limit": 2}
    assert call.calls[0].observation is not None
    assert call.calls[0].observation.text == '{"lat": 47}'
    assert answer.answer == "South."
    assert (turns[1].steps[0].rationale, turns[1].steps[0].answer) == ("Polite.", "Bye.")
    assert tally.repaired["stock thought replaced"] == 2


def test_toolrl_is_not_misled_by_tags_inside_the_thought(read: Read, write_lines: WriteLines) -> None:
    thought = "<think> I write a <tool_call> block. Not a <response> yet. </think>\n"
    turns, _ = read_one(read, write_lines, ASK, thought + CALL)
    assert [len(step.calls) for step in turns[0].steps] == [1]


def test_toolrl_several_calls_are_one_step(read: Read, write_lines: WriteLines) -> None:
    line = '{"name": "Find Town", "parameters": {"name": "Linz"}}'
    turns, _ = read_one(
        read, write_lines, ASK, f"<think>Both.</think>{CALL.replace('</tool', line + chr(10) + '</tool')}"
    )
    assert [call.arguments for call in turns[0].steps[0].calls] == [{"name": "Graz", "limit": 2}, {"name": "Linz"}]


@pytest.mark.parametrize("line", ['{"name": "Find Town"', '{"name": "Fly", "parameters": {}}', "tags."])
def test_toolrl_drops_a_record_whose_only_call_is_wrong(read: Read, write_lines: WriteLines, line: str) -> None:
    turns, tally = read_one(read, write_lines, ASK, f"<think>Hm.</think><tool_call>\n{line}\n</tool_call>")
    assert turns == ()
    assert tally.dropped == {"no usable step": 1}


def test_toolrl_row_of_another_kind_is_named(read: Read, write_lines: WriteLines) -> None:
    with pytest.raises(TrajectoryError, match=r":1: 'instruction', 'input' and 'output' must be text"):
        read("toolrl", write_lines([{"instruction": INSTRUCTION}]))
