"""A rule about a tool's name is a rule about that tool, whatever others call theirs."""

from __future__ import annotations

import logging
import string
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import ToolCall
from langchain_core.tools import BaseTool

from alpha_umi import create_umi_agent
from alpha_umi.errors import ConfigError
from alpha_umi.nodes.approval import ApprovalRule, find_idle, list_wishes
from alpha_umi.nodes.models.scripted import ScriptedChatModel
from alpha_umi.tools import Toolbox, load_tools
from alpha_umi.tools.convert import make_tool, tell_apart
from alpha_umi.tools.spec import ToolSpec

FREE = ApprovalRule(ask="never")
NAMES = ("transfer", "bank_transfer", "shop_transfer", "bank_bank_transfer", "look")


def offer(server: str, name: str) -> BaseTool:
    return make_tool(ToolSpec(name, source=f"mcp:{server}", own_name=name), lambda: server)


def is_asked(spec: ToolSpec, *rules: ApprovalRule) -> bool:
    return bool(list_wishes(ToolCall(name=spec.name, args={}, id="1"), spec, rules))


offers = st.dictionaries(
    st.sampled_from(["bank", "shop", "x"]), st.lists(st.sampled_from(NAMES), max_size=4, unique=True), min_size=1
)


@given(offers, st.sampled_from(NAMES), st.randoms())
def test_rule_about_a_name_holds_for_every_tool_that_is_called_so(
    offered: dict[str, list[str]], name: str, random: Any
) -> None:
    tools = [offer(server, each) for server, names in offered.items() for each in names]
    random.shuffle(tools)
    rules = [ApprovalRule(tool=name), FREE, ApprovalRule(tool="look", ask="never")]
    random.shuffle(rules)
    specs = Toolbox(tell_apart(tools)).specs
    assert len({spec.name for spec in specs}) == len(tools)
    for spec in specs:
        assert spec.own_name == name or spec.name == name or not is_asked(spec, *rules)
        assert is_asked(spec, *rules) or name not in (spec.own_name, spec.name)


@given(offers)
def test_exception_for_one_server_is_none_for_another(offered: dict[str, list[str]]) -> None:
    tools = [offer(server, each) for server, names in offered.items() for each in names]
    for spec in Toolbox(tell_apart(tools)).specs:
        free = not is_asked(spec, ApprovalRule(tool="transfer", source="mcp:bank", ask="never"))
        assert free == ((spec.source, spec.own_name) == ("mcp:bank", "transfer"))


def test_exception_by_name_alone_ends_when_a_second_tool_takes_the_name() -> None:
    rule = ApprovalRule(tool="transfer", ask="never")
    (one,) = Toolbox([offer("bank", "transfer")]).specs
    assert not is_asked(one, rule)
    both = Toolbox(load_tools([offer("bank", "transfer"), offer("shop", "transfer")])).specs
    assert [spec.name for spec in both] == ["bank_transfer", "shop_transfer"]
    assert all(is_asked(spec, rule) for spec in both)


def test_name_that_looks_like_another_is_held_by_the_rule_that_asks() -> None:
    (spec,) = Toolbox([offer("x", "dеlete_all")]).specs
    assert is_asked(spec, ApprovalRule(tool="delete_*"), FREE)
    assert is_asked(spec, ApprovalRule(tool="delete_*", ask="never"))


def test_user_s_own_function_keeps_its_name() -> None:
    def transfer() -> str:
        """Move money."""
        return "moved"

    assert [tool.name for tool in load_tools([offer("shop", "transfer"), transfer])] == ["shop_transfer", "transfer"]


def test_changed_names_and_rules_without_a_tool_are_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    rules = [ApprovalRule(tool=["transfer", "refund"]), ApprovalRule(source="mcp:banc"), FREE]
    tools = [offer("bank", "transfer"), offer("shop", "transfer")]
    create_umi_agent(ScriptedChatModel(script=lambda role, messages: ""), tools, approvals=rules)
    assert "'transfer' of mcp:bank is offered as 'bank_transfer'" in caplog.text
    assert 'a rule of approval holds for no tool: {"tool":"refund"}' in caplog.text
    assert 'a rule of approval holds for no tool: {"tool":"*","source":"mcp:banc"}' in caplog.text or (
        'a rule of approval holds for no tool: {"source":"mcp:banc"}' in caplog.text
    )
    assert len(find_idle(rules, Toolbox(tell_apart(tools)).specs)) == 2


WORDS = st.from_regex(r"[a-z]{3,12}", fullmatch=True)
LETTERS = [chr(code) for code in range(0x80, 0x1F000) if unicodedata.category(chr(code)) in ("Ll", "Lu", "Lm", "Lo")]
ALIKE: dict[str, list[str]] = {}
for each in LETTERS:  # what compatibility says, and not the product's own data
    plain = [part for part in unicodedata.normalize("NFKD", each) if unicodedata.category(part) != "Mn"]
    if len(plain) == 1 and plain[0] in string.ascii_lowercase and each.isalnum():
        ALIKE.setdefault(plain[0], []).append(each)
for latin, other in zip("aceijopsxydhqwvubkmt", "асеіјорѕхуԁһԛԝνυЬкмт", strict=True):
    ALIKE[latin].append(other)


@given(WORDS, st.data())
def test_name_that_looks_like_another_is_under_its_rule_and_stands_not_beside_it(word: str, data: Any) -> None:
    looks = "".join(data.draw(st.sampled_from([letter, *ALIKE[letter]])) for letter in word)
    mine, theirs = make_tool(ToolSpec(word), lambda: ""), make_tool(ToolSpec(f"{looks}_all"), lambda: "")
    spec = Toolbox([mine, theirs]).specs[1]
    for pattern in (f"{word}_*", f"{word[:2]}*", f"?{word[1:]}_all"):
        assert is_asked(spec, ApprovalRule(tool=pattern), FREE), (pattern, spec.name)
    if looks != word:
        with pytest.raises(ConfigError, match="look the same"):
            Toolbox([mine, make_tool(ToolSpec(looks), lambda: "")])
        assert is_asked(spec, ApprovalRule(tool=f"{word}_*", ask="never"))
