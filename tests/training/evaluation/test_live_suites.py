from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.trajectory import Call, Step, Trajectory, Turn
from alpha_umi.tools.replay.complexfuncbench import load_complexfuncbench
from alpha_umi.training.evaluation.suites import EvalTask, load_live_suite

URL = "http://127.0.0.1:9/virtual"
SHARED = Path(__file__).parents[3].parent / "shared/data/complexfuncbench_train.jsonl.gz"
API = {
    "category_name": "Weather",
    "tool_name": "Sky View",
    "api_name": "Daily",
    "api_description": "Tells the weather.",
    "required_parameters": [{"name": "city", "type": "STRING", "description": "", "default": "Rome"}],
    "optional_parameters": [],
    "method": "GET",
}


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def make_row(query_id: Any, **more: Any) -> dict[str, Any]:
    return {"query": "Weather in Rome?", "query_id": query_id, "api_list": [API], "relevant APIs": [], **more}


def test_queries_become_tasks_of_their_file(tmp_path: Path) -> None:
    write(tmp_path / "G1_tool.json", [make_row(1), make_row("2")])
    write(tmp_path / "G2_tool.json", [make_row(1)])
    tasks = load_live_suite(f"toolbench:{tmp_path}#{URL}")
    assert [task.key for task in tasks] == ["G1_tool/1", "G1_tool/2", "G2_tool/1"]
    assert [tool.name for tool in tasks[0].make_tools()] == ["daily_for_sky_view"]
    assert [task.key for task in load_live_suite(f"toolbench:{tmp_path}#{URL}", limit=1)] == ["G1_tool/1", "G2_tool/1"]
    assert len(load_live_suite(f"toolbench:{tmp_path / 'G1_tool.json'}#{URL}")) == 2


def test_broken_queries_are_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [
        make_row(1),
        "no object",
        {"query": "?"},
        make_row(3, query="  "),
        make_row(4, api_list={"a": 1}),
        make_row(5, api_list=["x"]),
        make_row(1),
        make_row(6, api_list=[{"nothing": 1}]),
    ]
    write(tmp_path / "G1_tool.json", rows)
    write(tmp_path / "G2_tool.json", "[{")
    with caplog.at_level(logging.WARNING):
        tasks = load_live_suite(f"toolbench:{tmp_path}#{URL}")
    assert [task.key for task in tasks] == ["G1_tool/1", "G1_tool/6"]
    assert list(tasks[1].make_tools()) == []
    assert all(f"query {number}" in caplog.text for number in (2, 3, 4, 5, 6, 7))
    assert "G2_tool.json cannot be read" in caplog.text


def test_a_suite_that_cannot_be_used_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOOLBENCH_URL", raising=False)
    monkeypatch.delenv("COMPLEXFUNCBENCH", raising=False)
    monkeypatch.chdir(tmp_path)
    queries = write(tmp_path / "G1_tool.json", [make_row(1)])
    for name, message in {
        f"toolbench:{queries}": "TOOLBENCH_URL",
        f"toolbench:{queries}#ftp://x": "no address",
        f"toolbench:{tmp_path / 'none.json'}#{URL}": "no ToolBench query",
        "toolbench:": "no live suite",
        "gsm8k:x": "no live suite",
        "complexfuncbench-replay": "set COMPLEXFUNCBENCH",
        f"complexfuncbench-replay:{tmp_path / 'none'}": "none",
    }.items():
        with pytest.raises(ConfigError, match=message):
            load_live_suite(name)
    monkeypatch.setenv("COMPLEXFUNCBENCH", str(tmp_path / "gone.jsonl"))
    with pytest.raises(ConfigError, match=r"at .*gone\.jsonl"):
        load_live_suite("complexfuncbench-replay")


@pytest.fixture
def recorded(tmp_path: Path) -> EvalTask:
    """Find a city twice over, then the weather of the first one, whose id is in the first response."""
    specs = [
        {"name": "Find", "description": "", "parameters": {"city": {"type": "string", "required": True}}},
        {"name": "Weather", "description": "", "parameters": {"id": {"type": "string", "required": True}}},
    ]
    calls = [
        {
            "name": "Find",
            "arguments": {"city": "Rome"},
            "label": "var1",
            "response": {"data": [{"id": "r1"}, {"id": "r2"}]},
        },
        {"name": "Find", "arguments": {"city": "Oslo"}, "label": "var2", "response": {"data": []}},
        {"name": "Weather", "arguments": {"id": "$var1.id$"}, "label": "var3", "response": {"text": "sunny"}},
    ]
    task = {"id": 7, "input": "Rome's weather, and is there an Oslo?", "tools": ["Find", "Weather"], "calls": calls}
    path = tmp_path / "tasks.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.write("\n".join(map(json.dumps, [{"specs": specs}, task])))
    (loaded,) = load_live_suite(f"complexfuncbench-replay:{path}")
    return loaded


ROME, OSLO, WEATHER = (
    Call("1", "Find", {"city": "Rome"}),
    Call("2", "Find", {"city": "Oslo"}),
    Call("3", "Weather", {"id": "r1"}),
)
END = Step("Done.", "conclusion", answer="Sunny.")


def check(task: EvalTask, *steps: tuple[Call, ...], end: Step = END) -> dict[str, float]:
    made = [Step("", "caller", calls) for calls in steps]
    assert task.check is not None
    return dict(task.check(Trajectory((), (Turn(task.instructions[0], (*made, end)),))))


@pytest.mark.parametrize(
    "steps",
    [
        ((ROME,), (OSLO,), (WEATHER,)),
        ((OSLO,), (ROME,), (WEATHER,)),
        ((ROME, OSLO), (WEATHER,)),
        ((ROME,), (WEATHER,), (OSLO,)),
        ((ROME,), (Call("3", "Weather", {"id": "r2"}),), (OSLO,)),
        ((WEATHER,), (ROME, OSLO), (WEATHER,)),
    ],
)
def test_independent_calls_may_come_in_any_order(recorded: EvalTask, steps: tuple[tuple[Call, ...], ...]) -> None:
    assert check(recorded, *steps) == {"solved": 1.0, "completeness": 1.0, "call_accuracy": 1.0}


@pytest.mark.parametrize("steps", [((WEATHER,), (ROME, OSLO)), ((ROME, OSLO, WEATHER),)])
def test_a_call_before_what_it_needs_was_guessed(recorded: EvalTask, steps: tuple[tuple[Call, ...], ...]) -> None:
    assert check(recorded, *steps) == {"solved": 0.0, "completeness": pytest.approx(2 / 3), "call_accuracy": 1.0}


def test_an_unknown_call_spoils_a_complete_run(recorded: EvalTask) -> None:
    wrong = (Call("4", "Find", {"city": "Bonn"}), Call("5", "Find", "{broken"))
    scores = check(recorded, (ROME, OSLO), (WEATHER,), wrong)
    assert scores == {"solved": 0.0, "completeness": 1.0, "call_accuracy": pytest.approx(3 / 5)}


def test_a_run_without_calls_or_without_an_answer_solves_nothing(recorded: EvalTask) -> None:
    assert check(recorded) == {"solved": 0.0, "completeness": 0.0}
    assert recorded.check is not None
    assert recorded.check(Trajectory((), (Turn("?"),))) == {"solved": 0.0, "completeness": 0.0}
    for end in (Step("No.", "give up"), Step("", "conclusion", answer=" ")):
        assert check(recorded, (ROME, OSLO), (WEATHER,), end=end)["solved"] == 0.0


def test_tools_of_a_task_are_new_for_each_run(recorded: EvalTask) -> None:
    first, second = recorded.make_tools(), recorded.make_tools()
    assert first[0] is not second[0]
    assert "r1" in first[0].invoke({"city": "Rome"})


@pytest.mark.skipif(not SHARED.is_file(), reason="needs ComplexFuncBench, of which users bring their own copy")
def test_the_recorded_calls_of_every_real_task_solve_it() -> None:
    tasks = {task.key.partition("/")[2]: task for task in load_live_suite(f"complexfuncbench-replay:{SHARED}")}
    dependent = 0
    for recorded in load_complexfuncbench(SHARED):
        calls = {each.step: Call(str(each.step), each.tool, dict(each.arguments)) for each in recorded.recordings}
        in_order = [(calls[step],) for step in sorted(calls)]
        assert check(tasks[recorded.id], *in_order)["solved"] == 1.0, recorded.id
        dependent += check(tasks[recorded.id], *reversed(in_order))["solved"] < 1.0
    assert len(tasks) > 600
    assert dependent > len(tasks) / 2
