from __future__ import annotations

import sys

import pytest
from rouge import Rouge  # type: ignore[import-untyped]

from alpha_umi.errors import ConfigError
from alpha_umi.training.evaluation.examples import StepOutput
from alpha_umi.training.evaluation.metrics.published import (
    Reading,
    load_rouge,
    read_output,
    rouge_l,
    score_arguments,
    score_published,
)
from tests.training.evaluation.conftest import MakePrediction

GIVE_UP = StepOutput("No. Next: give up.")


def call(name: str, arguments: str) -> StepOutput:
    return StepOutput("Do it. Next: caller.", f"Action: {name}\nAction Input: {arguments}")


def answer(text: str) -> StepOutput:
    return StepOutput("Done. Next: conclusion.", None, text)


def reading(name: str | None, arguments: str | None) -> Reading:
    return Reading("call", name, arguments)


def test_published_scores_equal_those_worked_by_hand(make_prediction: MakePrediction) -> None:
    no_decision = StepOutput("Hm.", 'Action: h\nAction Input: {"a": 1}')
    predictions = [
        # full 1, half 1: recall 1.5/2, precision 1.5/3, F1 0.6
        make_prediction("caller", call("f", '{"a": 1, "b": 2}'), call("f", '{"a": 1, "b": 3, "c": 4}')),
        make_prediction("caller", call("f", "{}"), answer("I need no tool.")),
        # two of three words in common: F 2/3
        make_prediction("conclusion", answer("the cat sat"), answer("the cat ran")),
        # read as a call; its tool is not on offer
        make_prediction("give up", GIVE_UP, no_decision),
    ]
    scores = score_published(predictions)
    assert scores == pytest.approx(
        {"plan_acc": 0.5, "act_em": 0.5, "hallu": 0.25, "arg_f1": 0.3, "rouge_l": 2 / 3}, abs=1e-6
    )


def test_published_scores_without_steps_are_none() -> None:
    assert set(score_published([]).values()) == {None}


def test_published_scores_without_calls_or_answers_are_none(make_prediction: MakePrediction) -> None:
    scores = score_published([make_prediction("give up", GIVE_UP, GIVE_UP)])
    assert scores == {"plan_acc": 1.0, "act_em": None, "hallu": 0.0, "arg_f1": None, "rouge_l": None}


def test_a_missing_answer_is_scored_as_the_word_none(make_prediction: MakePrediction) -> None:
    missing = make_prediction("conclusion", answer("none at all"), GIVE_UP)
    empty = make_prediction("conclusion", answer("none at all"), answer(" , "))
    word = make_prediction("conclusion", answer("none at all"), answer("none"))
    scores = [score_published([each])["rouge_l"] for each in (missing, empty, word)]
    assert scores[0] == scores[1] == scores[2] == pytest.approx(0.5, abs=1e-6)


def test_a_reference_without_an_answer_is_not_averaged(make_prediction: MakePrediction) -> None:
    prediction = make_prediction("conclusion", StepOutput("Next: conclusion."), answer("x"))
    assert score_published([prediction])["rouge_l"] is None


def test_a_missing_name_is_no_hallucination(make_prediction: MakePrediction) -> None:
    prediction = make_prediction("caller", call("f", "{}"), StepOutput("Next: caller.", "I would rather not."))
    scores = score_published([prediction])
    assert (scores["hallu"], scores["act_em"], scores["arg_f1"]) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("reference", "predicted", "score"),
    [
        (reading("f", "{}"), reading("f", "{}"), 1.0),
        (reading("f", "{}"), reading("f", '{"a": 1}'), 0.0),
        (reading("f", '{"a": 1}'), reading("f", "{}"), 0.0),
        (reading("f", '{"a": 1}'), reading("g", '{"a": 1}'), 0.0),
        (reading("f", '{"a": 1}'), reading("f", '{"a": 1'), 0.0),
        (reading("f", '{"a": 1}'), reading("f", "[1]"), 0.0),
        (reading("f", '{"a": 1}'), reading("f", '{"b": 1}'), 0.0),
        (reading("f", '{"a": 1}'), reading("f", '{"a": 2}'), 0.5),
        (reading("f", '{"a": 1}'), reading("f", '{"a": true}'), 1.0),  # as Python compares
        (reading("f", '{"a": 1}'), reading("f", '{"a": 1, "b": 2, "c": 3}'), 0.5),
        (reading("f", "not JSON"), reading("f", "not JSON"), None),
        (reading("f", "not JSON"), reading("g", "{}"), 0.0),
        (reading("f", "[1]"), reading("f", "[1]"), 0.0),
        (reading("f", '{"a": 1}'), Reading("finish"), 0.0),
        (reading("none", "{}"), Reading("finish"), 1.0),
    ],
)
def test_arguments_score_as_published(reference: Reading, predicted: Reading, score: float | None) -> None:
    assert score_arguments(reference, predicted) == score


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (call("f", ' {"a": 1} '), Reading("call", "f", '{"a": 1}')),
        (StepOutput("Next: caller.", "Action: f"), Reading("call", "f", "{}")),
        (StepOutput("Next: caller.", ""), Reading("call", "none", "{}")),
        (StepOutput("Next: caller.", None), Reading("call", "none", "{}")),
        # the last of several counts
        (
            StepOutput("Next: caller.", "Action: f\nAction Input: {}\nAction: g\nAction Input: []"),
            Reading("call", "g", "[]"),
        ),
        (StepOutput("Next: caller.", "Action: f\nAction Input: {}</s>Action: g"), Reading("call", "f", "{}")),
        (StepOutput("No decision.", "Action: f"), Reading("call", "f", "{}")),
        (StepOutput("Next: caller. Next: give up.", "Action: f"), Reading("call", "f", "{}")),
        (StepOutput("Next: give up."), Reading("give up")),
        (answer("It is 5."), Reading("finish", answer="It is 5.")),
        (answer("In conclusion: it is 5.</s>"), Reading("finish", answer="it is 5.")),
        (answer("."), Reading("finish", answer="none")),
    ],
)
def test_outputs_are_read_as_published(output: StepOutput, expected: Reading) -> None:
    assert read_output(output) == expected


def test_rouge_l_equals_the_package() -> None:
    prediction, reference = "The cat sat. It was on a mat.", "A cat sat on the mat. It slept."
    expected = Rouge().get_scores([prediction], [reference], avg=True)["rouge-l"]["f"]
    assert rouge_l(prediction, reference) == expected


@pytest.mark.parametrize("empty", ["", ".", "..."])
def test_rouge_l_of_a_text_without_words_is_that_of_the_word_none(empty: str) -> None:
    assert rouge_l(empty, "none") == pytest.approx(1.0)
    assert rouge_l("none", empty) == pytest.approx(1.0)
    assert rouge_l(empty, "a cat") == 0.0


def test_rouge_l_takes_long_sentences() -> None:
    limit = sys.getrecursionlimit()
    text = " ".join(f"w{i}" for i in range(limit))
    assert rouge_l(text, f"{text} end") > 0.99
    assert sys.getrecursionlimit() == limit


def test_rouge_l_without_the_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    load_rouge.cache_clear()
    monkeypatch.setitem(sys.modules, "rouge", None)
    with pytest.raises(ConfigError, match=r"alpha-umi\[eval\]"):
        load_rouge()
