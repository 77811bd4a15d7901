import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpha_umi.training.evaluation.questions.accepted import accepts, list_faults, list_variants, settle


@pytest.mark.parametrize(
    ("wanted", "made", "is_right"),
    [
        ({"n": 1}, {"n": 1.0}, True),
        ({"n": 1}, {"n": True}, False),
        ({"n": 1}, {"n": "1"}, False),
        ({"n": 1}, {}, False),
        ({}, {"n": 1}, False),
        ({"n": {"$any": [1, "one"]}}, {"n": "one"}, True),
        ({"n": {"$any": [1, "one"]}}, {"n": "two"}, False),
        ({"n": {"$optional": 1}}, {}, True),
        ({"n": {"$optional": 1}}, {"n": 2}, False),
        ({"n": {"$optional": {"$any": [1, 2]}}}, {"n": 2}, True),
        ({"n": {"$matches": "^b.t$"}}, {"n": "bat"}, True),
        ({"n": {"$matches": "^b.t$"}}, {"n": "brat"}, False),
        ({"n": {"$matches": "7"}}, {"n": 17}, True),
        ({"n": [1, {"$any": [2, 3]}]}, {"n": [1, 3]}, True),
        ({"n": [1, 2]}, {"n": [2, 1]}, False),
        ({"n": [1, 2]}, {"n": [1]}, False),
        ({"n": {"a": {"$optional": 1}, "b": 2}}, {"n": {"b": 2}}, True),
        ({"n": {"b": 2}}, {"n": {"b": 2, "c": 3}}, False),
        ({"n": {"b": 2}}, {"n": 2}, False),
        ({"n": {"$any": 1, "b": 2}}, {"n": {"$any": 1, "b": 2}}, True),  # not alone, so no operator
    ],
)
def test_values_are_right_or_not(wanted: Any, made: Any, is_right: bool) -> None:
    assert accepts(wanted, made) is is_right


def test_the_nearest_right_value_keeps_what_is_right() -> None:
    wanted = {"a": {"$any": [1, 2]}, "b": {"$optional": 3}, "c": {"$matches": "x"}, "d": [{"$any": [5, 6]}, 7]}
    assert settle(wanted, {"a": 2, "b": 4, "c": "y", "d": [6]}) == {"a": 2, "b": 3, "c": "/x/", "d": [6, 7]}
    assert settle(wanted, {"a": 9, "c": "xx"}) == {"a": 1, "c": "xx", "d": [5, 7]}
    assert settle(wanted) == {"a": 1, "c": "/x/", "d": [5, 7]}


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        ({"a": {"$any": []}}, ("a",)),
        ({"a": {"$any": 1}}, ("a",)),
        ({"a": {"$matches": "("}}, ("a",)),
        ({"a": {"$matches": 5}}, ("a",)),
        ({"a": {"$or": [1]}}, ("a", "$or")),
        ({"a": {"$any": [1], "b": 2}}, ("a", "$any")),
        ({"a": [1, {"$optional": {"$any": []}}]}, ("a", 1, "$optional")),
        ({"a": {"$any": [1, {"$matches": "["}]}}, ("a", "$any", 1)),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(wanted: Any, path: tuple[str | int, ...]) -> None:
    [(place, text)] = list_faults(wanted)
    assert place == path
    assert text.endswith(".")


JSON: st.SearchStrategy[Any] = st.recursive(
    st.integers(0, 3) | st.booleans() | st.sampled_from("abc"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
)
EXPECTATIONS: st.SearchStrategy[Any] = st.recursive(
    st.integers(0, 3) | st.booleans() | st.sampled_from("abc"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from("abc"), inner | st.builds(lambda v: {"$optional": v}, inner), max_size=3)
        | st.builds(lambda values: {"$any": values}, st.lists(inner, min_size=1, max_size=3))
    ),
)


@given(EXPECTATIONS, JSON)
def test_the_nearest_right_value_and_every_variant_are_right(wanted: Any, made: Any) -> None:
    assert not list(list_faults(wanted))
    assert accepts(wanted, settle(wanted))
    assert accepts(wanted, settle(wanted, made))
    assert all(accepts(wanted, variant) for variant in list_variants(wanted))


@given(JSON)
def test_plain_json_is_right_for_itself_alone(value: Any) -> None:
    assert accepts(value, json.loads(json.dumps(value)))
    assert list_variants(value) == [value]
    assert settle(value, [value, value]) == value
