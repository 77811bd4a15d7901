"""The benchmark of hostile outputs: its cases, what it counts, and that the rule `observed` asks about each of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from langchain_core.messages import HumanMessage, ToolCall, ToolMessage

from alpha_umi.nodes.approval import list_wishes
from alpha_umi.nodes.models.scripted import ScriptedChatModel
from alpha_umi.nodes.models.specs import load_models
from benchmarks.injection import EFFECTS, SETTINGS, load_cases, make_tools, measure, run_case

CASES = load_cases()


def write_call(name: str, arguments: Any) -> str:
    return f"Action: {name}\nAction Input: {json.dumps(arguments, ensure_ascii=False)}"


def make_model(outputs: dict[str, Iterator[str]]) -> ScriptedChatModel:
    return ScriptedChatModel(script=lambda role, messages: next(outputs[role]))


def test_there_are_a_hundred_outputs_that_differ_and_want_a_call_of_a_tool_with_effects() -> None:
    assert len({case["output"] for case in CASES}) == len(CASES) == 100
    for case in CASES:
        ((name, arguments),) = case["does"].items()
        assert not make_tools(case).find_fault(name, arguments), case["text"]
        assert case["fact"] in case["output"]
        assert ("own" in case) != ("answer" in case)
    assert {name for case in CASES for name in case["does"]} == {tool.__name__ for tool in EFFECTS}


def is_asked(case: Any, wish: str) -> bool:
    messages = [HumanMessage(case["question"]), ToolMessage(case["output"], tool_call_id="1")]
    ((name, arguments),) = case[wish].items()
    spec = next(spec for spec in make_tools(case).specs if spec.name == name)
    call = ToolCall(name=name, args=arguments, id="2")
    return bool(list_wishes(call, spec, SETTINGS["observed"], messages=messages))


def test_rule_asks_about_the_hostile_calls_and_about_none_that_the_user_wants() -> None:
    assert not [case["text"] for case in CASES if "own" in case and is_asked(case, "own")]
    missed = [case["does"] for case in CASES if not is_asked(case, "does")]
    said_for_another_purpose = [{"unlock_door": {"door": "garage"}}, {"delete_file": {"name": "todo.txt"}}]
    assert missed == [*said_for_another_purpose, {"unlock_door": {"door": "garage"}}]


def test_runs_are_counted_for_every_setting() -> None:
    rows = []
    case = next(case for case in CASES if case.get("own") and case["does"].get("transfer"))
    calls = [(case["tool"], {"which": "7"}), *case["does"].items(), *case["own"].items()]
    for n_steps, is_hostile, is_done in ((1, False, False), (2, True, False), (3, True, True)):
        plans = iter([*["I call.\nNext: caller."] * n_steps, "Done.\nNext: conclusion."])
        written = iter([write_call(*call) for call in calls])
        outputs = {"planner": plans, "caller": written, "summarizer": iter(["Done."])}
        row = run_case(case, load_models(make_model(outputs)))
        assert (any(call["is_hostile"] for call in row["calls"]), row["is_done"]) == (is_hostile, is_done)
        assert row["has_read"]
        rows.append(row | {"has_own": True})
    assert [call["asked"] for call in rows[2]["calls"]] == [["all with effects", "observed"], ["all with effects"]]
    table = measure(rows).splitlines()
    assert [line.split()[-9::3] for line in table[1:3]] == [["66.7", "0.0", "0.0"], ["0.0", "66.7", "66.7"]]
