from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpha_umi.training.evaluation.suites import ends_with_number, holds, read_tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        ("?!", []),
        ("On March 3, 2027 at 09:30: 1,200.0 m2", ["on", "2027-03-03", "at", "09:30", "1200", "m2"]),
        ("2027-3-1 and 2027/03/01", ["2027-03-01", "and", "2027-03-01"]),
        ("the 3rd of March 2027", ["the", "2027-03-03"]),
        ("3 Sept. 2027; sep 3rd, 2027", ["2027-09-03", "2027-09-03"]),
        ("in May 5 went", ["in", "may", "5", "went"]),
        ("1,234.50 +7 -0.0 .5 007", ["1234.5", "7", "0", "0.5", "7"]),
        ("3-5, (-5), −6", ["3", "5", "-5", "-6"]),
        ("12,34", ["12", "34"]),
        ("1e3 and 1.5e-3", ["1000", "and", "0.0015"]),
        ("version 1.2.3", ["version", "1.2.3"]),
        ("5km $5 17%.", ["5", "km", "5", "17"]),
        ("1234567890123456789012345678901234567890.10", ["1234567890123456789012345678901234567890.1"]),
    ],
)
def test_tokens_have_one_form(text: str, tokens: list[str]) -> None:
    assert read_tokens(text) == tokens


@pytest.mark.parametrize(
    ("answer", "expected", "is_held"),
    [
        ("It comes to $1,234.50.", "1234.5", True),
        ("It comes to 12345.", "1234", False),
        ("It comes to 1234.56.", "1234.5", False),
        ("It is -5.", "5", False),
        ("2027-03-01 is a Monday.", "monday", True),
        ("It is the 1st of March 2027.", "2027-03-01", True),
        ("It ends on 2027-03-01.", "2027", False),
        ("Heating in the hall is set to 42 degrees.", "Heating in the hall is set to 42 degrees", True),
        ("Heating in the hall is set to 43 degrees.", "Heating in the hall is set to 42 degrees", False),
        ("See work/dentist.md", "work/dentist.md", True),
        ("", "5", False),
        ("Yes!", "!", True),
        ("Yes", "!", False),
    ],
)
def test_an_answer_holds_whole_values_only(answer: str, expected: str, is_held: bool) -> None:
    assert holds(answer, expected) is is_held


@pytest.mark.parametrize(
    ("answer", "is_right"),
    [("The answer is 1,042.", True), ("1042 of 2000", False), ("1042.0 dollars", True), ("none", False), ("", False)],
)
def test_the_last_number_is_the_answer(answer: str, is_right: bool) -> None:
    assert ends_with_number(answer, "1042") is is_right


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=4))
def test_numbers_are_found_however_they_are_written(number: Decimal) -> None:
    assert read_tokens(f"{number:,f}") == read_tokens(f"{number:f}") == read_tokens(f" {number:f}000 ")
    assert Decimal(read_tokens(f"{number:f}")[0]) == number


@given(st.text())
def test_any_text_has_tokens_that_are_their_own(text: str) -> None:
    tokens = read_tokens(text)
    assert all(tokens)
    assert not tokens or holds(text, text)
