from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from alpha_umi.errors import TrajectoryError
from alpha_umi.nodes.format.trajectory import Step, Turn
from alpha_umi.training.data.dataset import Tally
from tests.training.data.conftest import Read, WriteLines

TOOLS = [{"Name": "find_town", "function": "Finds.", "input": {"name": "string, its name", "n": "integer", "x": "?, "}}]
CALL = 'Action: find_town\nAction Input: {"name": "Graz"}'


def said(*messages: tuple[str, str]) -> dict[str, Any]:
    turns = [{"from": speaker, "value": value} for speaker, value in (("user", "Where is Graz?"), *messages)]
    return {"tools": TOOLS, "instruction": "Where is Graz?", "conversations": turns}


def read_one(read: Read, write_lines: WriteLines, *messages: tuple[str, str]) -> tuple[tuple[Turn, ...], Tally]:
    examples, tally = read("alpha_umi", write_lines([said(*messages)]))
    return examples[0].trajectory.turns if examples else (), tally


def test_alpha_umi_reads_all_speakers(read: Read, tmp_path: Path) -> None:
    record = said(
        ("assistant", "I look.\n Next: caller."),
        ("caller", CALL),
        ("observation", "South."),
        ("assistant", "Found.\n Next: conclusion."),
        ("conclusion", "In the south."),
    )
    path = tmp_path / "raw_data_stage_2.json"
    path.write_text(json.dumps([record], indent=2))
    (example,), tally = read("alpha_umi", str(path))
    call, answer = example.trajectory.turns[0].steps
    assert (call.rationale, call.calls[0].arguments) == ("I look.", {"name": "Graz"})
    assert call.calls[0].observation is not None
    assert call.calls[0].observation.text == "South."
    assert answer == Step("Found.", "conclusion", answer="In the south.")
    assert example.trajectory.tools[0].parameters["properties"] == {
        "name": {"type": "string", "description": "its name"},
        "n": {"type": "integer"},
        "x": {},
    }
    assert not tally.repaired


def test_alpha_umi_gives_up(read: Read, write_lines: WriteLines) -> None:
    (turn,), _ = read_one(read, write_lines, ("assistant", "No tool. Next: give up."))
    assert turn.steps == (Step("No tool.", "give up"),)


def test_alpha_umi_removes_diversity_prompts_and_keeps_other_user_turns(read: Read, write_lines: WriteLines) -> None:
    prompt = "This is not the first time you try this task, all previous trails failed."
    done = (("assistant", "Known. Next: conclusion."), ("conclusion", "South."))
    turns, tally = read_one(read, write_lines, ("user", prompt), *done, ("user", "And Linz?"), *done)
    assert [turn.instruction for turn in turns] == ["Where is Graz?", "And Linz?"]
    assert tally.repaired == {"prompt for a different action removed": 1}


def test_alpha_umi_removes_steps_with_wrong_calls(read: Read, write_lines: WriteLines) -> None:
    plan = ("assistant", "I look. Next: caller.")
    (turn,), tally = read_one(
        read,
        write_lines,
        plan,
        ("caller", "Action: find_town\nAction Input: {"),
        ("observation", '{"error": "broken"}'),
        plan,
        ("caller", "Action: fly\nAction Input: {}"),
        ("observation", '{"error": "unknown"}'),
        plan,
        ("caller", CALL),
        ("observation", "South."),
    )
    assert len(turn.steps) == 1
    assert turn.steps[0].calls[0].observation is not None
    assert turn.steps[0].calls[0].observation.text == "South."
    assert tally.repaired["call with malformed arguments removed"] == 1
    assert tally.repaired["call of a tool that does not exist removed"] == 1


def test_alpha_umi_counts_plans_without_a_decision_and_answers_without_a_plan(
    read: Read, write_lines: WriteLines
) -> None:
    turns, tally = read_one(read, write_lines, ("assistant", "Hm."), ("assistant", "Hm."), ("conclusion", "South."))
    assert turns == (Turn("Where is Graz?", (Step("Hm.", "conclusion", answer="South."),)),)
    assert tally.repaired["plan without a decision removed"] == 1
    assert tally.repaired["plan without a decision given the one that was followed"] == 1
    turns, tally = read_one(read, write_lines, ("conclusion", "South."))
    assert tally.repaired["conclusion without an answer or a plan removed"] == 1
    assert tally.dropped == {"no usable step": 1}


def test_alpha_umi_keeps_every_call_that_an_answer_rests_on(read: Read, write_lines: WriteLines) -> None:
    plans = (("assistant", "I look. Next: caller."), ("assistant", "Hm."))
    called = (("caller", CALL), ("observation", "South."))
    done = (("assistant", "Known. Next: conclusion."), ("conclusion", "South."))
    (turn,), tally = read_one(read, write_lines, plans[0], *called, plans[1], *called, *called, *done)
    assert [(step.rationale, len(step.calls)) for step in turn.steps] == [
        ("I look.", 1),
        ("Hm.", 1),
        ("I call find_town.", 1),
        ("Known.", 0),
    ]
    assert tally.repaired["call without a plan given one"] == 1


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"messages": []}, "no 'conversations' list"),
        (said(("narrator", "…")), "unknown speaker 'narrator'"),
        ({**said(), "conversations": [{"from": "assistant", "value": "Next: caller."}]}, "must start with the user"),
    ],
)
def test_alpha_umi_row_of_another_kind_is_named(
    read: Read, write_lines: WriteLines, record: dict[str, Any], message: str
) -> None:
    with pytest.raises(TrajectoryError, match=f"records\\.jsonl:1: .*{message}"):
        read("alpha_umi", write_lines([record]))
