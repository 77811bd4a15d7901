from __future__ import annotations

import pytest

from alpha_umi.errors import TrajectoryError
from alpha_umi.nodes.format.trajectory import Step
from alpha_umi.training.data.dataset import Tally
from tests.training.data.conftest import Read, WriteLines

GOOD = (
    "Thought: I look for the bridge.\nAction: search[old bridge Graz]\nObservation: It was built\nin 1900.\n"
    "Thought: That is it.\nAction: finish[1900]\nObservation: Episode finished, reward = True\n"
)


def read_output(read: Read, write_lines: WriteLines, output: str) -> tuple[list[Step], str, Tally]:
    examples, tally = read("fireact", write_lines([{"instruction": "When was it built?", "output": output}]))
    turns = [turn for example in examples for turn in example.trajectory.turns]
    return [step for turn in turns for step in turn.steps], "".join(turn.instruction for turn in turns), tally


def test_fireact_reads_search_and_answer(read: Read, write_lines: WriteLines) -> None:
    (search, answer), instruction, tally = read_output(read, write_lines, GOOD)
    assert instruction == "When was it built?"
    assert search.rationale == "I look for the bridge. I call search."
    assert search.calls[0].arguments == {"query": "old bridge Graz"}
    assert search.calls[0].observation is not None
    assert search.calls[0].observation.text == "It was built\nin 1900."
    assert answer == Step("That is it.", "conclusion", answer="1900")
    assert not tally.repaired


def test_fireact_puts_answer_options_into_the_instruction(read: Read, write_lines: WriteLines) -> None:
    _, instruction, tally = read_output(read, write_lines, "A. 1900\nB. 1910\n" + GOOD)
    assert instruction == "When was it built?\nA. 1900\nB. 1910"
    assert tally.repaired == {"answer options moved into the instruction": 1}


def test_fireact_survives_thoughts_without_and_actions_in_free_text(read: Read, write_lines: WriteLines) -> None:
    output = "Thought: Hm.\nObservation: nothing\nThought: So.\nAction: look around\nObservation: no\n" + GOOD
    steps, _, tally = read_output(read, write_lines, output)
    assert [step.decision for step in steps] == ["caller", "conclusion"]
    assert steps[0].rationale.startswith("Hm. So. I look for the bridge.")
    assert tally.repaired["action that is no call removed"] == 1
    assert tally.repaired["thought without an action merged into the next"] == 2


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (GOOD.replace("True", "False"), "wrong answer"),
        (GOOD.split("Thought: That")[0], "no answer"),
        ("", "no answer"),
    ],
)
def test_fireact_drops_and_counts_runs_without_a_right_answer(
    read: Read, write_lines: WriteLines, output: str, reason: str
) -> None:
    steps, _, tally = read_output(read, write_lines, output)
    assert steps == []
    assert tally.dropped == {reason: 1}


def test_fireact_row_of_another_kind_is_named(read: Read, write_lines: WriteLines) -> None:
    with pytest.raises(TrajectoryError, match=r":1: 'instruction' and 'output' must be text"):
        read("fireact", write_lines([{"instruction": 3, "output": ""}]))
