"""What counts as an answer, without a graph."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpha_umi.nodes.approval.questions import APPROVAL_DECISIONS, AskedCall, make_id, read_answer

PAY = AskedCall(make_id("pay", {"sum": 1}, "a"), "a", "pay", {"sum": 1}, APPROVAL_DECISIONS, "Run it?", "it pays")
LOOK = AskedCall(make_id("look", {}, "b"), "b", "look", {}, ("approve", "reject"), "Run it?", "it pays")


def read(*decisions: Any, must_name: bool = False) -> Any:
    return read_answer({"decisions": list(decisions)}, [PAY, LOOK], must_name=must_name)


def test_answer_without_ids_is_read_in_order() -> None:
    answer = read({"type": "reject"}, {"type": "approve"})
    assert {key: value["type"] for key, value in answer.decisions.items()} == {PAY.id: "reject", LOOK.id: "approve"}


def test_answer_with_ids_may_be_a_part() -> None:
    answer = read({"id": LOOK.id, "type": "approve"}, must_name=True)
    assert (list(answer.decisions), answer.fault) == ([LOOK.id], None)


@pytest.mark.parametrize(
    ("decisions", "fault"),
    [
        ([], "Expected 2"),
        ([{"type": "approve"}], "Expected 2"),
        ([{"type": "approve"}] * 3, "Expected 2"),
        (["approve", "approve"], "no list of decisions"),
        ([{"type": "approve"}, {"id": LOOK.id, "type": "approve"}], "is of no call"),
        ([{"id": "0" * 32, "type": "approve"}], "is of no call"),
        ([{"id": PAY.call_id, "type": "approve"}], "is of no call"),
        ([{"id": [PAY.id], "type": "approve"}], "is of no call"),
        ([{"id": PAY.id, "type": "approve"}] * 2, "same call"),
        ([{"id": PAY.id}], "None is not one of"),
        ([{"id": PAY.id, "type": ["approve"]}], "is not one of"),
        ([{"id": PAY.id, "type": "APPROVE"}], "is not one of"),
        ([{"id": LOOK.id, "type": "edit", "edited_action": {"args": {}}}], "not one of approve, reject"),
        ([{"id": PAY.id, "type": "edit"}], "edited_action"),
        ([{"id": PAY.id, "type": "edit", "edited_action": {"args": []}}], "edited_action"),
        ([{"id": PAY.id, "type": "edit", "edited_action": {"name": 1, "args": {}}}], "name"),
        ([{"id": PAY.id, "type": "respond"}], "needs a 'message'"),
        ([{"id": PAY.id, "type": "respond", "message": " "}], "needs a 'message'"),
        ([{"id": PAY.id, "type": "reject", "message": 5}], "is a text"),
        ([{"id": PAY.id, "type": "approve"}, {"id": LOOK.id, "type": "respond", "message": "x"}], "not one of"),
    ],
)
def test_answer_with_a_fault_decides_nothing(decisions: list[Any], fault: str) -> None:
    answer = read(*decisions)
    assert fault in answer.fault
    assert "Resume with" in answer.fault
    assert not answer.decisions


def test_answer_without_ids_does_not_count_where_it_could_be_an_old_one() -> None:
    answer = read({"type": "approve"}, {"type": "approve"}, must_name=True)
    assert not answer.decisions
    assert "may be an old one" in answer.fault


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from([PAY.id, *APPROVAL_DECISIONS]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["decisions", "id", "type", "message", "edited_action", "args"]), inner)
    ),
)


@given(JSON)
def test_answer_of_any_shape_is_read_without_an_error(answer: Any) -> None:
    read = read_answer(answer, [PAY, LOOK], must_name=False)
    assert bool(read.fault) != bool(read.decisions)
    assert all(decision["type"] in APPROVAL_DECISIONS for decision in read.decisions.values())


def test_id_tells_calls_names_and_arguments_apart() -> None:
    ids = [make_id(*call) for call in (("pay", {"a": 1, "b": 2}, "1"), ("pay", {"a": 1}, "1"), ("say", {"a": 1}, "1"))]
    assert len({*ids, make_id("pay", {"a": 1, "b": 2}, "2"), make_id("pay", {"a": 1, "b": 2})}) == 5
    assert make_id("pay", {"b": 2, "a": 1}, "1") == ids[0]
