from __future__ import annotations

import pytest

from alpha_umi.errors import TrajectoryError
from alpha_umi.nodes.format.trajectory import Step
from tests.training.data.conftest import Read, WriteLines

PEARS = {
    "question": "Ida has 12 pears and eats half. Each is 1.5 euros. What are the rest worth?",
    "answer": "Let us see.\nIda keeps 12/2 = <<12/2=6>>6 pears.\n"
    "They are worth 6 x 1.5 = $<<6*1.5=9>>9 and no more\nSo that is it.\n#### 9",
}


def steps_of(read: Read, write_lines: WriteLines, answer: str) -> tuple[Step, ...]:
    (example,), _ = read("gsm8k", write_lines([{**PEARS, "answer": answer}]))
    return example.trajectory.turns[0].steps


def test_gsm8k_calls_the_calculator_with_peoples_words_as_rationale(read: Read, write_lines: WriteLines) -> None:
    (example,), tally = read("gsm8k", write_lines([PEARS]))
    first, second, last = example.trajectory.turns[0].steps
    assert first.rationale == "Let us see. Ida keeps 12/2 pears. I call calculator."
    assert first.calls[0].arguments == {"expression": "12/2"}
    assert first.calls[0].observation is not None
    assert first.calls[0].observation.text == "6"
    assert second.rationale == "They are worth 6 x 1.5 and no more. I work out 6*1.5. I call calculator."
    assert last == Step("So that is it. The answer is 9.", "conclusion", answer="The answer is 9.")
    assert tally.repaired["line without a calculation merged into the next"] == 2
    assert "calculator" in {tool.name for tool in example.trajectory.tools}


def test_gsm8k_never_tells_the_result_before_the_call(read: Read, write_lines: WriteLines) -> None:
    steps = steps_of(read, write_lines, "She pays 7*31 = $<<7*31=217>>217.00 today.\n#### 217")
    assert "217" not in steps[0].rationale


def test_gsm8k_reads_two_calculations_in_a_line(read: Read, write_lines: WriteLines) -> None:
    steps = steps_of(read, write_lines, "It is <<3+4=7>>7 and then <<7*2=14>>14.\n#### 14")
    assert [step.calls[0].arguments for step in steps[:2]] == [{"expression": "3+4"}, {"expression": "7*2"}]
    assert steps[1].rationale == "I work out 7*2. I call calculator."


@pytest.mark.parametrize(
    ("line", "thought"),
    [
        ("So 12 / 2 = <<12/2=6>>6 stay.", "So 12 / 2 stay."),
        ("So 12/2*3 = <<12/2=6>>6 stay.", "So 12/2*3 stay. I work out 12/2."),
        ("So 112/2 = <<12/2=6>>6 stay.", "So 112/2 stay. I work out 12/2."),
        ("So 12/2.5 = <<12/2=6>>6 stay.", "So 12/2.5 stay. I work out 12/2."),
        ("So it is 12/2.\nThat is <<12/2=6>>6.", "So it is 12/2. That is."),
        ("<<12/2=6>>6", "I work out 12/2."),
    ],
)
def test_gsm8k_always_says_the_expression_that_the_caller_writes(
    read: Read, write_lines: WriteLines, line: str, thought: str
) -> None:
    step, _ = steps_of(read, write_lines, f"{line}\n#### 6")
    assert step.rationale == f"{thought} I call calculator."


def test_gsm8k_compares_fractions_and_thousands_with_the_stated_value(read: Read, write_lines: WriteLines) -> None:
    assert len(steps_of(read, write_lines, "So <<3/4=3/4>>3/4 and <<500*4=2,000>>2,000.\n#### 3/4")) == 3


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("x = 5 by thinking.\n#### 5", "no calculation"),
        ("It is <<2+2=5>>5.\n#### 5", "calculator disagrees with the stated value"),
        ("It is <<2+2=4>>4.", "no final answer"),
        ("It is <<2+two=4>>4.\n#### 4", "calculator disagrees with the stated value"),
    ],
)
def test_gsm8k_drops_and_counts_what_cannot_be_calculated(
    read: Read, write_lines: WriteLines, answer: str, reason: str
) -> None:
    examples, tally = read("gsm8k", write_lines([{**PEARS, "answer": answer}]))
    assert examples == []
    assert tally.dropped == {reason: 1}


def test_gsm8k_offers_the_same_tools_for_the_same_seed(read: Read, write_lines: WriteLines) -> None:
    path = write_lines([PEARS, {**PEARS, "question": "Another one?"}])
    first, again, other = (read("gsm8k", path, seed=seed)[0] for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_gsm8k_row_of_another_kind_is_named(read: Read, write_lines: WriteLines) -> None:
    with pytest.raises(TrajectoryError, match=r"records\.jsonl:2: 'question' and 'answer' must be text"):
        read("gsm8k", write_lines([PEARS, {"question": "?"}]))
