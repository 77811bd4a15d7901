"""What stands for a value, and that it stands for no other."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from pydantic import SecretStr, ValidationError

from alpha_umi.errors import ConfigError
from alpha_umi.tools.pii import BlockedError, Mask, Redaction, RedactionRule, RedactionRules, hide, map_texts, reveal

CARD, OTHER_CARD = "4111 1111 1111 1111", "5555 5555 5555 1111"  # the last one fails Luhn's test
SAME_END = "4002 2222 2222 1111"


def make_mask(rules: RedactionRules, **fields: Any) -> Mask:
    return Mask(Redaction(rules), **{"known": {}, **fields})


@pytest.mark.parametrize(
    ("rule", "value", "shown"),
    [
        ("email", "ann@shop.example", "[REDACTED_EMAIL_1]"),
        ("api_key", "sk-proj-abcdefghijklmnop1234567", "[REDACTED_API_KEY_1]"),
        ("api_key", "ghp_" + "a1B2" * 9, "[REDACTED_API_KEY_1]"),
        ("api_key", "AKIAIOSFODNN7EXAMPLE", "[REDACTED_API_KEY_1]"),
        (RedactionRule(pii_type="credit_card", strategy="mask"), CARD, "**** **** **** 1111"),
        (RedactionRule(pii_type="ip", strategy="mask"), "10.0.0.7", "*.*.*.7#1"),  # too little to be told apart
        (RedactionRule(pii_type="email", strategy="hash"), "ann@shop.example", "<email_hash:32acbadb>"),
        (RedactionRule(pii_type="staff", detector=r"E-\d{4}"), "E-1234", "[REDACTED_STAFF_1]"),
        (RedactionRule(pii_type="email", restore=False), "ann@shop.example", "[REDACTED_EMAIL]"),
    ],
)
def test_rule_conceals_a_value_and_reveals_it(rule: str | RedactionRule, value: str, shown: str) -> None:
    mask = make_mask([rule])
    concealed = mask.conceal(f"It is {value}, see?")
    assert re.sub(r"hash:\w+", "hash:32acbadb", concealed) == f"It is {shown}, see?"
    kept = isinstance(rule, str) or rule.restore
    assert mask.reveal(concealed) == (f"It is {value}, see?" if kept else concealed)
    assert (str(SecretStr(value)) in str(mask.new)) == kept
    assert value not in repr(mask.new)


def test_one_value_has_one_text_and_another_value_another() -> None:
    mask = make_mask(["email"])
    assert mask.conceal("a@x.org, b@x.org, a@x.org") == "[REDACTED_EMAIL_1], [REDACTED_EMAIL_2], [REDACTED_EMAIL_1]"
    later = make_mask(["email"], known=mask.new)
    assert later.conceal("b@x.org c@x.org") == "[REDACTED_EMAIL_2] [REDACTED_EMAIL_3]"


def test_masks_of_values_that_look_the_same_are_told_apart() -> None:
    mask = make_mask([RedactionRule(pii_type="credit_card", strategy="mask")])
    text = f"{CARD} and {SAME_END}"
    assert mask.conceal(text) == "**** **** **** 1111 and **** **** **** 1111#1"
    assert mask.reveal(mask.conceal(text)) == text


@pytest.mark.parametrize("strategy", ["redact", "mask", "hash"])
def test_masks_that_work_at_the_same_time_make_no_text_twice(strategy: Any) -> None:
    rules = [RedactionRule(pii_type="credit_card", strategy=strategy)]
    masks = [make_mask(rules, first=i + 1, step=3) for i in range(3)]
    for mask, value in zip(masks, (CARD, SAME_END, "4010 2222 2222 1111"), strict=True):
        mask.conceal(value)
    names = [name for mask in masks for name in mask.new]
    assert len(set(names)) == 3


def test_what_overlaps_is_one_value() -> None:
    mask = make_mask(["email", "url"])
    text = "See https://x.org/?to=ann@shop.example&b=1 now."
    assert mask.conceal(text) == "See [REDACTED_URL_1] now."
    assert mask.reveal("[REDACTED_URL_1]") == "https://x.org/?to=ann@shop.example&b=1"


def test_texts_that_stand_for_values_are_not_concealed_again() -> None:
    mask = make_mask([RedactionRule(pii_type="word", detector=r"[A-Z_]{6,}", strategy="redact")])
    once = mask.conceal("call ABCDEFG")
    assert mask.conceal(once) == once == "call [REDACTED_WORD_1]"


@pytest.mark.parametrize("written", ["[REDACTED_EMAIL_1", "REDACTED_EMAIL_1", "REDACTED_EMAIL_1]"])
def test_a_text_without_its_brackets_is_revealed(written: str) -> None:
    originals = {"[REDACTED_EMAIL_1]": SecretStr("a@x.org"), "[REDACTED_EMAIL_12]": SecretStr("b@x.org")}
    assert reveal({"to": written}, originals) == {"to": "a@x.org"}
    assert reveal("REDACTED_EMAIL_12 REDACTED_EMAIL_123", originals) == "b@x.org REDACTED_EMAIL_123"


def test_block_raises_without_the_value() -> None:
    with pytest.raises(BlockedError, match=r"credit_card") as raised:
        make_mask([RedactionRule(pii_type="credit_card", strategy="block")]).conceal({"a": [CARD]})
    assert "4111" not in str(raised.value)
    make_mask([RedactionRule(pii_type="credit_card", strategy="block")]).conceal(OTHER_CARD)


def test_everything_of_a_message_is_concealed_but_its_ids() -> None:
    address = "ann@shop.example"
    ai = AIMessage(
        [{"type": "text", "text": address, "id": address}, {"type": "reasoning", "reasoning": address}],
        tool_calls=[{"name": "f", "args": {"id": address, "list": [{address: 1}]}, "id": "1", "type": "tool_call"}],
        additional_kwargs={"thoughts": address},
        id="m1",
    )
    tool = ToolMessage(address, tool_call_id="1", artifact={"to": (address, 1)})
    shown_ai, shown_tool = make_mask(["email"]).conceal([ai, tool])
    assert shown_ai.content[0]["id"] == address
    assert shown_ai.id == "m1"
    assert str([shown_ai.content, shown_ai.tool_calls, shown_ai.additional_kwargs, shown_tool]).count(address) == 1
    assert shown_tool.artifact == {"to": ("[REDACTED_EMAIL_1]", 1)}
    assert ai.tool_calls[0]["args"]["id"] == address  # the given one is as it was


def test_a_function_rewrites_and_nothing_is_kept() -> None:
    mask = make_mask(lambda text: text.replace("Ann", "Someone"))
    assert mask.conceal(HumanMessage("Ann called")).content == "Someone called"
    assert mask.new == {}


def test_faults_hide_values_that_are_known() -> None:
    originals = {"[REDACTED_IP_1]": SecretStr("1.2.3.4")}
    assert hide("'1.2.3.4' is wrong, 11.2.3.4 not", originals) == "'[REDACTED_IP_1]' is wrong, 11.2.3.4 not"


@pytest.mark.parametrize("rules", ["email", ["phone"], [RedactionRule(pii_type="x", detector="(")]])
def test_rules_that_cannot_be_used_are_errors(rules: Any) -> None:
    with pytest.raises(ConfigError, match=r"redaction"):
        Redaction(rules)


def test_rule_names_a_field_that_is_wrong() -> None:
    with pytest.raises(ValidationError, match=r"strategy"):
        RedactionRule(pii_type="email", strategy="hide")  # type: ignore[arg-type]


@given(st.lists(st.sampled_from(["a@x.org", "bob@y.example", CARD, SAME_END, "10.0.0.7", " and ", "text [", "]#1"])))
def test_what_is_concealed_is_revealed(parts: list[str]) -> None:
    rules = [RedactionRule(pii_type=each, strategy="mask") for each in ("email", "credit_card", "ip")]
    text = " ".join(parts)
    mask = make_mask(rules)
    concealed = mask.conceal(text)
    assert mask.reveal(concealed) == text
    assert not any(each in concealed for each in ("a@x.org", "4111 1111", "10.0.0.7"))
    assert map_texts(text, str) == text
