"""Which calls the rules ask about."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import ToolCall
from pydantic import ValidationError

from alpha_umi import ApprovalRule, ask_when
from alpha_umi.errors import ConfigError
from alpha_umi.nodes.approval.questions import APPROVAL_DECISIONS
from alpha_umi.nodes.approval.rules import list_decisions, list_wishes
from alpha_umi.nodes.approval_gate import ApprovalGate
from alpha_umi.tools import Toolbox, ToolSpec, load_tools, make_tool, spec_from_tool
from alpha_umi.tools.openapi import load_openapi

PAY = ToolSpec("pay", effects="once", source="mcp")
CALL = ToolCall(name="pay", args={"sum": 50, "to": ["Ann"]}, id="1")
SMALL = {"properties": {"sum": {"maximum": 100}}, "required": ["sum"]}


def asks(*rules: Any, call: ToolCall = CALL, spec: ToolSpec | None = PAY) -> bool:
    return bool(list_wishes(call, spec, list(rules)))


@pytest.mark.parametrize(("policy", "is_asked"), [(True, True), (False, False), ([], True)])
def test_policy_asks_about_all_or_none_and_an_empty_list_about_all(policy: Any, is_asked: bool) -> None:
    assert bool(list_wishes(CALL, PAY, policy)) == is_asked


@pytest.mark.parametrize(
    ("match", "holds"),
    [
        ({"tool": "pay"}, True),
        ({"tool": "p?y"}, True),
        ({"tool": ["get_*", "pa*"]}, True),
        ({"tool": "PAY"}, False),
        ({"tool": "ay"}, False),
        ({"source": "mcp"}, True),
        ({"source": ["builtin", "mcp"]}, True),
        ({"source": "openapi"}, False),
        ({"effects": "once"}, True),
        ({"effects": ["none", "idempotent"]}, False),
        ({"tool": "pay", "source": "mcp", "effects": ["once", "none"]}, True),
        ({"tool": "pay", "source": "mcp", "effects": "none"}, False),
    ],
)
def test_rule_holds_by_name_source_and_effects(match: dict[str, Any], holds: bool) -> None:
    assert asks(ApprovalRule(**match, ask="never")) != holds
    assert asks(ask_when(lambda call: False, **match)) != holds


def test_rule_that_asks_wins_in_any_order_and_without_one_a_person_is_asked() -> None:
    never, always = ApprovalRule(tool="pay", ask="never"), ApprovalRule(tool="p*")
    assert not asks(never)
    assert asks(never, always)
    assert asks(always, never)
    narrow = [ApprovalRule(tool="p*", allow=["reject", "edit"]), never, ApprovalRule(allow=["approve", "reject"])]
    assert list_decisions(list_wishes(CALL, PAY, narrow)) == ["reject"]
    assert asks(ApprovalRule(tool="other", ask="never"))


@pytest.mark.parametrize(("ask", "sum", "is_asked"), [("when", 50, True), ("when", 500, False)])
def test_rule_asks_when_arguments_match(ask: Any, sum: int, is_asked: bool) -> None:
    call = ToolCall(name="pay", args={"sum": sum}, id="1")
    assert asks(ApprovalRule(ask=ask, arguments=SMALL), call=call) == is_asked
    assert asks(ApprovalRule(ask="unless", arguments=SMALL), call=call) != is_asked


@pytest.mark.parametrize("approvals", [[{"tool": "pay"}], "pay", 1, ApprovalRule(tool="pay")])
def test_what_are_no_rules_is_refused_when_the_agent_is_made(approvals: Any) -> None:
    with pytest.raises(ConfigError, match="list of ApprovalRule"):
        ApprovalGate(Toolbox([]), approvals)


def test_rule_unless_asks_about_arguments_that_it_does_not_know() -> None:
    assert asks(ApprovalRule(ask="unless", arguments=SMALL), call=ToolCall(name="pay", args={"amount": 1}, id="1"))


@pytest.mark.parametrize(
    ("to", "value"),
    [
        ({"pattern": "^Ann$"}, "Bob" * 400),  # longer than patterns are matched on
        ({"pattern": "^(?!Bob)"}, "Bob"),  # not for the linear engine
        ({"not": {"not": {"pattern": "^(?!Bob)"}}}, "Bob"),
        ({"patternProperties": {"^(?!a)": False}}, {"b": 1}),
        ({"patternProperties": {"^(?!a)": {}}, "additionalProperties": False}, {"b": 1}),
        ({"properties": {"a": {}}, "unevaluatedProperties": False}, {"b": 1}),
        ({"$schema": "https://json-schema.org/draft/2020-12/schema", "pattern": "^(?!Bob)"}, "Bob"),
    ],
)
@pytest.mark.parametrize("ask", ["when", "unless"])
def test_rule_asks_where_its_schema_is_not_checked_in_full(ask: Any, to: dict[str, Any], value: Any) -> None:
    call = ToolCall(name="pay", args={"to": value}, id="1")
    schema = {"properties": {"to": to}} if ask == "unless" else {"not": {"properties": {"to": to}}}
    assert asks(ApprovalRule(ask=ask, arguments=schema), ApprovalRule(ask="never"), call=call)


@pytest.mark.parametrize(
    "rule",
    [
        {"ask": "when"},
        {"ask": "always", "arguments": SMALL},
        {"ask": "when", "arguments": {"properties": {"sum": {"maximum": "many"}}}},
        {"ask": "when", "arguments": {"$ref": "#/$defs/missing"}},
        {"ask": "sometimes"},
        {"allow": []},
        {"allow": ["ignore"]},
        {"effects": "few"},
        {"tools": "pay"},
    ],
)
def test_rule_that_cannot_be_meant_is_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ApprovalRule(**rule)


def test_predicate_that_is_a_coroutine_function_is_refused() -> None:
    async def is_large(call: ToolCall) -> bool:
        return True

    with pytest.raises(ConfigError, match="coroutine"):
        ask_when(is_large)  # type: ignore[arg-type]


@pytest.mark.parametrize(("result", "is_asked"), [(True, True), (False, False), (None, True), (0, True), ("", True)])
def test_predicate_asks_unless_it_returns_false(result: Any, is_asked: bool) -> None:
    assert asks(ask_when(lambda call: result)) == is_asked


def test_predicate_that_raises_asks(caplog: pytest.LogCaptureFixture) -> None:
    assert asks(ask_when(lambda call: call["args"]["amount"] > 100), ApprovalRule(ask="never"))
    assert "so a person is asked" in caplog.text


def test_predicate_cannot_change_the_call() -> None:
    def tamper(call: ToolCall) -> bool:
        call["args"]["to"].append("Eve")
        return False

    call = ToolCall(name="pay", args={"to": ["Ann"]}, id="1")
    assert not asks(ask_when(tamper), call=call)
    assert call["args"] == {"to": ["Ann"]}


def test_strictest_of_several_policies_counts() -> None:
    first, second = ApprovalRule(allow=["approve", "reject"]), ApprovalRule(allow=["edit", "reject", "respond"])
    assert list_decisions(list_wishes(CALL, PAY, False, True)) == list(APPROVAL_DECISIONS)
    assert list_decisions(list_wishes(CALL, PAY, [first], False)) == ["approve", "reject"]
    assert list_decisions(list_wishes(CALL, PAY, [first], [second])) == ["reject"]
    assert list_decisions(list_wishes(CALL, PAY, [first], [ApprovalRule(allow=["edit"])])) == ["reject"]


def test_unknown_tool_has_neither_source_nor_effects() -> None:
    rules = [ApprovalRule(source="?*", ask="never"), ApprovalRule(effects=["none", "idempotent", "once"], ask="never")]
    assert asks(*rules, spec=None)


def test_tools_know_their_source() -> None:
    def pay(sum: int) -> str:
        """Pay."""
        return ""

    document = {
        "openapi": "3.0.0",
        "info": {"title": "Lamps", "version": "1"},
        "servers": [{"url": "https://lamps.example"}],
        "paths": {"/lamps": {"get": {"operationId": "list_lamps", "responses": {}}}},
    }
    (operation,) = load_openapi(document)
    assert spec_from_tool(operation).source == "openapi"
    assert {spec_from_tool(tool).source for tool in load_tools(["builtin:calculator", "builtin:search_files"])} == {
        "builtin"
    }
    assert spec_from_tool(load_tools([pay])[0]).source == "langchain"
    assert spec_from_tool(make_tool(ToolSpec("far", source="mcp"), lambda: "")).source == "mcp"


def test_source_cannot_be_claimed_by_metadata() -> None:
    def pay(sum: int) -> str:
        """Pay."""
        return ""

    tool = load_tools([pay])[0].model_copy(update={"metadata": {"source": "builtin", "effects": "none"}})
    assert spec_from_tool(tool).source == "langchain"


@pytest.mark.parametrize(("effects", "is_asked"), [("none", False), ("idempotent", False), ("once", True)])
def test_without_a_policy_calls_that_may_change_something_are_asked_about(effects: Any, is_asked: bool) -> None:
    wishes = list_wishes(CALL, ToolSpec("pay", effects=effects), None)
    assert bool(wishes) == is_asked
    assert all("effects" in wish.reason for wish in wishes)
    assert list_wishes(CALL, None, None)


def test_every_wish_says_why() -> None:
    failing = ask_when(is_large, tool="pay")
    reasons = [
        wish.reason
        for policy in (True, [ApprovalRule(tool="pay")], [ApprovalRule(tool="other")], [failing])
        for wish in list_wishes(CALL, PAY, policy)
    ]
    assert [next(word for word in ("all", '"tool":"pay"', "no rule", "is_large") if word in each) for each in reasons]
    assert len(reasons) == 4


def is_large(call: ToolCall) -> bool:
    return bool(call["args"]["sum"])
