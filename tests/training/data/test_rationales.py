from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from alpha_umi.nodes.format.trajectory import Call, Step
from alpha_umi.training.data.rationales import READY, describe_calls, fill_rationale, shorten_rationale


def test_describe_calls_names_every_tool_and_value() -> None:
    calls = [Call("1", "find", {"city": "Oslo", "days": 2}), Call("2", "list_all", {})]
    assert describe_calls(calls) == 'I call find with city="Oslo", days=2 and list_all.'


def test_describe_calls_does_not_repeat_long_values() -> None:
    text = describe_calls([Call("1", "book", {"token": "x" * 500})])
    assert text == "I call book with token as found above."


def test_fill_rationale_keeps_what_is_there() -> None:
    assert fill_rationale(Step("I think.", "conclusion")).rationale == "I think."
    assert fill_rationale(Step(" ", "conclusion")).rationale == READY
    assert fill_rationale(Step("", "caller", (Call("1", "f", {}),))).rationale == "I call f."


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
