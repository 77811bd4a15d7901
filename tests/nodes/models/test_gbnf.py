"""Grammars for servers, read as one backend of vLLM reads them; in `tests/training/export` llama.cpp reads them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer, grammar_from

from alpha_umi.nodes.format.parsing import parse_plan
from alpha_umi.nodes.models.gbnf import caller_gbnf, planner_gbnf
from alpha_umi.tools.convert import spec_from_tool
from alpha_umi.tools.load import load_tools
from tests.nodes.models.engine.test_grammar import SCHEMAS, UNUSUAL

BYTES = LLTokenizer("byte")
KINDS: dict[str, Any] = {
    "properties": {
        "n": {"type": "integer", "minimum": 1, "maximum": 50},
        "day": {"type": "string", "format": "date"},
        "of": {"type": "array", "items": {"enum": ["a", "b"]}},
        "any": {},
        "map": {"type": "object", "additionalProperties": {"type": "boolean"}},
        "code": {"type": "string", "minLength": 2, "maxLength": 5000},
        "below": {"type": "number", "maximum": 0},
    },
    "required": ["n"],
}


def accepts(gbnf: str, text: str) -> bool:
    """Tell whether a grammar takes a whole text."""
    matcher = LLMatcher(BYTES, grammar_from("grammar", gbnf), log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    return matcher.consume_tokens(BYTES.tokenize_str(text)) and matcher.is_accepting()


def write(name: str, arguments: str) -> str:
    return f"Action: {name}\nAction Input: {arguments}"


@pytest.mark.parametrize(
    "plan",
    [
        "I add. Next: caller.",
        "**Next**: conclusion.",
        "The next context: nothing, näxt.\nNEXT : give up.",
        "Next: caller.",
        "nNext next_next: caller.",
    ],
)
def test_planner_ends_with_a_decision(plan: str) -> None:
    assert accepts(planner_gbnf(), plan)
    assert not accepts(planner_gbnf(), plan + " And more.")
    assert parse_plan(plan).decision is not None


@pytest.mark.parametrize("plan", ["I add.", "Next: foo.", "next: I add. Next: caller.", "Next:caller.", ""])
def test_planner_writes_nothing_else(plan: str) -> None:
    assert not accepts(planner_gbnf(), plan)


@given(
    st.text(st.sampled_from("neNExtT:*_ \tä\n.Ⅹ"), max_size=30), st.sampled_from(["caller", "conclusion", "give up"])
)
def test_what_the_planner_may_write_is_read_as_the_decision_at_its_end(rationale: str, decision: str) -> None:
    plan = f"{rationale}\nNext: {decision}."
    if accepts(planner_gbnf(), plan):
        assert parse_plan(plan).decision == decision


@pytest.mark.parametrize(
    ("arguments", "is_taken"),
    [
        ('{"n":50}', True),
        ('{"n":51}', False),
        ('{"n":"1"}', False),
        ('{"m":1}', False),
        ("{}", False),
        ('{"n":1,"day":"2027-03-01","of":["a","b"]}', True),
        ('{"n":1,"of":["c"]}', False),
        ('{"n":1,"of":["a","b","a"]}', False),
        ('{"n":1,"any":[1,{"x":null}],"map":{"y":true}}', True),
        ('{"n":1,"map":{"y":1}}', False),
        ('{"n":1,"code":"x"}', False),
        ('{"n":1,"code":"x\\u003c\\"é","below":-1.5e-3}', True),
        ('{"n":1,"below":"low"}', False),
    ],
)
def test_caller_writes_arguments_of_the_right_types(arguments: str, is_taken: bool) -> None:
    gbnf = caller_gbnf({"get_it": KINDS})
    assert gbnf is not None
    assert accepts(gbnf, write("get_it", arguments)) is is_taken
    assert not accepts(gbnf, write("other", arguments))


def test_required_arguments_may_be_missing_where_the_caller_may_omit_them() -> None:
    assert accepts(caller_gbnf({"get": KINDS}, may_omit=True) or "", write("get", "{}"))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("search.files", {"query": "x", "where": "röd", "tags": ["a", "a"]}),
        ("search", {"place": {"name": "abc", "lat": 5.5}, "n": None}),
        ("weather-in", {"unit": "C", "day": 3}),
        ("now", {}),
        ("odd", {"p": "y", "u": [1]}),
    ],
)
def test_every_kind_of_schema_has_a_grammar(name: str, arguments: dict[str, Any]) -> None:
    gbnf = caller_gbnf({**SCHEMAS, "odd": UNUSUAL}) or ""
    text = json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
    assert accepts(gbnf, write(name, text))
    assert not accepts(gbnf, write(name, '{"unknown":1}'))


def test_built_in_tools_have_short_grammars() -> None:
    tools = map(spec_from_tool, load_tools(["builtin:calculator", "builtin:calendar", "builtin:convert_units"]))
    gbnf = caller_gbnf({tool.name: tool.parameters for tool in tools}) or ""
    assert len(gbnf) < 10_000
    assert accepts(gbnf, write("calendar", '{"operation":"weekday","date":"2027-03-01"}'))
    assert not accepts(gbnf, write("calendar", '{"operation":"guess"}'))


def test_a_caller_without_tools_has_no_grammar() -> None:
    assert caller_gbnf({}) is None
