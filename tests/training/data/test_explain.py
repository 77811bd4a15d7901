from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from alpha_umi.nodes.format.trajectory import Call
from alpha_umi.training.data.clean import describe_calls
from alpha_umi.training.data.explain import explain_calls, quote_request


def test_the_sentence_that_is_meant_is_quoted() -> None:
    call = Call("1", "bookTable", {"guests": 4, "place": {"name": "Old Inn"}})
    request = "Good morning. A table for 4 at Old Inn, please! I am hungry."
    said = f"Part 2 (A table for 4 at Old Inn, please): {describe_calls([call])}"
    assert explain_calls([call], request, number=2) == said


def test_a_value_from_a_result_is_named_unless_the_user_said_it() -> None:
    call = Call("1", "pay", {"order": "A-17"})
    assert explain_calls([call], "Pay it.", ["Made A-17."]) == f"Part 1 (Pay it) with A-17: {describe_calls([call])}"
    assert explain_calls([call], "Pay A-17.", ["Made A-17."]).startswith("Part 1 (Pay A-17): ")
    assert explain_calls([Call("1", "pay", {"n": 1})], "Pay it.", ["Made A-17."]).startswith("Part 1 (Pay it): ")


def test_a_long_sentence_is_cut_between_words() -> None:
    quote = quote_request("word " * 100, [])
    assert quote == " ".join(["word"] * 24)


@given(st.text(), st.lists(st.text()))
def test_a_quote_is_part_of_the_request(request: str, hints: list[str]) -> None:
    assert quote_request(request, hints) in request
