"""`alpha-umi check` with a scripted model, whose every question gets the same calls and answer."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Umi

SCRIPT = {
    "planner": ["I look.\nNext: caller.", "I order.\nNext: caller.", "Done.\nNext: conclusion."],
    "caller": [
        'Action: count_stock\nAction Input: {"item": "bolts"}',
        'Action: order\nAction Input: {"item": "nuts", "n": 5}',
    ],
    "summarizer": ["There are 1,200 bolts; 5 nuts are ordered."],
}
TOOLS = '''
from pathlib import Path

from alpha_umi import declare_effects


@declare_effects("none")
def count_stock(item: str) -> str:
    """Count an item.

    Args:
        item: The item.
    """
    print("counting")
    return f"1200 {item}"


def order(item: str, n: int) -> str:
    """Order an item.

    Args:
        item: The item.
        n: How many.
    """
    Path("ordered").touch()
    return "ordered"


TOOLS = [count_stock, order]
'''
QUESTIONS = """
questions:
- question: How many bolts are there? And order 5 nuts.
  calls: {count_stock: {item: bolts}, order: {item: nuts, n: 5}}
  answer: 1200
- question: Order 6 nuts.
  calls: {order: {item: nuts, n: 6}}
- question: Sing!
  refuse: no tool
"""


@pytest.fixture
def check(umi: Umi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Umi:
    """Run ``alpha-umi check`` in a folder with tools, a script and questions."""
    (tmp_path / "counted_tools.py").write_text(TOOLS)
    (tmp_path / "script.yaml").write_text(yaml.safe_dump(SCRIPT))
    (tmp_path / "questions.yaml").write_text(QUESTIONS)
    monkeypatch.chdir(tmp_path)
    arguments = ("--model", "scripted:script.yaml", "--tools", "counted_tools:TOOLS", "--questions", "questions.yaml")
    return partial(umi, "check", *arguments)


def test_questions_are_asked_and_tools_with_effects_are_not_run(check: Umi) -> None:
    done = check()
    assert done.code == 0, done.err
    lines = [line.split() for line in done.out.splitlines()]
    shares = {" ".join(line[:-4]): line[-4] for line in lines if len(line) > 4 and line[-1] in "123"}
    assert shares["right, of all"] == "33.3"
    assert shares["All tools right"] == "33.3"
    assert shares["Wrong effect"] == "66.7"
    assert "questions.yaml, line 6: " in done.out
    assert "questions.yaml, line 8: called though nothing fits" in done.out
    assert not Path("ordered").exists()


def test_json_is_all_that_is_printed(check: Umi) -> None:
    done = check("--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert [(each["line"], each["right"]) for each in told["questions"]] == [(3, True), (6, False), (8, False)]
    assert told["questions"][0]["calls"] == [
        {"name": "count_stock", "arguments": {"item": "bolts"}},
        {"name": "order", "arguments": {"item": "nuts", "n": 5}},
    ]
    assert told["strict"]["success"]["n"] == 3
    assert "counting" in done.err


@pytest.mark.parametrize(("minimum", "code"), [("0.3", 0), ("0.34", 1)])
def test_fewer_right_ones_than_the_minimum_are_a_failure(check: Umi, minimum: str, code: int) -> None:
    done = check("--min", minimum)
    assert done.code == code
    assert ("33.3% are right, fewer than the 34.0%" in done.err) == bool(code)


def test_results_are_kept_and_reported(check: Umi, umi: Umi) -> None:
    assert check("--out", "out").code == 0
    written = Path("out/outcomes.jsonl").read_bytes()
    assert "Written to out" in check("--out", "out").out
    assert Path("out/outcomes.jsonl").read_bytes() == written
    report = umi("eval", "report", "out", "--out", "report")
    assert report.code == 0, report.err
    assert "All tools right" in Path("report/report.md").read_text()
    assert umi("eval", "compare", "out", "out").code == 0
    done = check("--out", "out", "--max-steps", "1")
    assert done.code == 2
    assert "other settings" in done.err


def test_tools_are_picked_as_the_configuration_says(umi: Umi, check: Umi) -> None:
    settings = "models: scripted:script.yaml\ntools: ['counted_tools:TOOLS']\n"
    Path("agent.yaml").write_text(f"{settings}retrieval: {{top_k: 1, embeddings: null}}\n")
    done = umi("check", "--model", "agent.yaml", "--questions", "questions.yaml", "--json")
    assert done.code == 0, done.err
    calls = [[call["name"] for call in each["calls"]] for each in json.loads(done.out)["questions"]]
    assert calls[1] == ["order"]  # the other one was not on offer


def test_sheets_say_what_tools_reply_that_are_not_run(check: Umi) -> None:
    sheet = """
domain: shop
tools:
- tool: counted_tools:TOOLS#order
  parameters: {item: {from: [bolts, nuts]}, n: {from: int 1..9}}
  ask: ["Order {n} {item}."]
  cannot: order
  returns: {number: id O-###}
  reply: "{item} {number}"
"""
    Path("sheets.yaml").write_text(sheet)
    assert check("--sheets", "sheets.yaml", "--out", "out").code == 0
    rows = [json.loads(line) for line in Path("out/outcomes.jsonl").read_text().splitlines()]
    said = rows[0]["trajectory"]["turns"][0]["steps"][1]["calls"][0]["observation"]["text"]
    assert re.fullmatch(r"nuts O-\d{3}", said)
    assert "other settings: sheets" in check("--out", "out").err


def test_faults_of_the_file_are_told_before_a_model_is_called(check: Umi) -> None:
    Path("questions.yaml").write_text("questions:\n- question: a\n  calls: {count: {}}\n")
    done = check()
    assert done.code == 2
    assert "questions.yaml, line 3: there is no tool 'count'; it could be count_stock" in done.err


def test_the_tools_are_those_of_the_configuration_if_none_are_named(umi: Umi, check: Umi) -> None:
    Path("agent.yaml").write_text("models: scripted:script.yaml\ntools: ['builtin:calculator']\n")
    Path("sums.yaml").write_text("questions:\n- question: a\n  calls: {calculator: {expression: 1 + 1}}\n")
    done = umi("check", "--model", "agent.yaml", "--questions", "sums.yaml", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["questions"][0]["calls"] == []
