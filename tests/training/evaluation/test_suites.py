from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpha_umi.errors import ConfigError, TrajectoryError
from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn
from alpha_umi.tools.toolbox import Toolbox
from alpha_umi.training.data.sources.builtin import make_tasks
from alpha_umi.training.data.tasks.solve import solve
from alpha_umi.training.evaluation.suites import (
    EvalTask,
    ends_with_number,
    holds,
    list_ran_calls,
    load_gsm8k_suite,
    load_suite,
    make_builtin_suite,
    read_tokens,
)


def test_builtin_tasks_are_answered_by_their_solutions(tmp_path: Path) -> None:
    """The perfect agent's last answer is right, and it gives up where the task says so."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    suite = list(make_builtin_suite(25, tmp_path / "a", seed=3))
    solutions = [solve(task) for task in make_tasks(25, tmp_path / "b", seed=3, held_out=True)]
    for task, solution in zip(suite, solutions, strict=True):
        last = solution.trajectory.turns[-1].steps[-1]
        assert task.is_answered_by(last.answer) is (last.decision == "conclusion")
        assert (task.expected is None) is (last.decision == "give up")
    assert any(task.expected is None for task in suite)
    assert len({task.key for task in suite}) == 25


def test_an_answer_must_hold_everything() -> None:
    task = EvalTask("t", "several", ("?",), tuple, ("5", "Monday"))
    assert task.is_answered_by("5, on Monday")
    assert not task.is_answered_by("5")
    assert not task.is_answered_by(None)


def test_a_greeting_takes_any_answer_but_none() -> None:
    task = EvalTask("t", "chat", ("Hi",), tuple, ())
    assert task.is_answered_by("Hello!")
    assert not task.is_answered_by(" ")
    assert not task.is_answered_by(None)


def test_a_task_without_an_answer_is_never_answered() -> None:
    assert not EvalTask("t", "no tool", ("?",), tuple, None).is_answered_by("5")


def test_gsm8k_problems_expect_their_last_number(tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl"
    path.write_text(json.dumps({"question": "48/2 + 1000?", "answer": "48/2 = <<48/2=24>>24\n#### 1,024"}) + "\n")
    (task,) = load_gsm8k_suite(path)
    assert (task.key, task.instructions, [tool.name for tool in task.make_tools()]) == (
        "gsm8k-0",
        ("48/2 + 1000?",),
        ["calculator"],
    )
    assert task.is_answered_by("24 and then 1024 clips.")
    assert not task.is_answered_by("1024, not 24.")


def test_gsm8k_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        list(load_gsm8k_suite(tmp_path / "none.jsonl"))
    (tmp_path / "bad.jsonl").write_text('{"question": "1+1?", "answer": "2"}\n')
    with pytest.raises(TrajectoryError, match=r"bad\.jsonl:1"):
        list(load_gsm8k_suite(tmp_path / "bad.jsonl"))


def test_world_suite_checks_every_call_and_its_effects(tmp_path: Path) -> None:
    tasks = load_suite("world", n_tasks=40, seed=0, folder=tmp_path)
    assert {task.group for task in tasks} >= {"single", "no tool"}
    for task in tasks:
        tools = {tool.name: tool for tool in task.make_tools()}
        silent = Trajectory((), (Turn("?", (Step("", "give up"),)),))
        assert task.check is not None
        refused = task.check(silent)
        assert refused["wrong_effect"] == 0
        assert (refused["calls_exact"] == 1) == (task.group in ("no tool", "missing"))
        name = next(iter(tools))
        wrong = task.check(Trajectory((), (Turn("?", (Step("", "caller", (Call("1", name, {"no": 1}),)),)),)))
        assert wrong["calls_exact"] == 0
        assert wrong["wrong_effect"] == float((tools[name].metadata or {})["effects"] != "none")


def make_step(toolbox: Toolbox, name: str, arguments: dict[str, Any] | str) -> Step:
    message = toolbox.execute(name, arguments, "c")
    observation = Observation(message.text, message.status == "error")
    return Step("", "caller", (Call("c", name, arguments, observation),))


def test_a_call_that_was_refused_is_neither_exact_nor_an_effect(tmp_path: Path) -> None:
    tasks = load_suite("world", n_tasks=40, seed=0, folder=tmp_path)
    for task in tasks:
        toolbox = Toolbox(list(task.make_tools()))
        wrong: list[tuple[str, dict[str, Any] | str]] = [("no_tool", {}), (toolbox.names[0], "{")]
        wrong += [(name, {"no": float("nan")}) for name in toolbox.names]
        steps = tuple(make_step(toolbox, name, arguments) for name, arguments in wrong)
        assert task.check is not None
        assert task.right is not None
        *before, last = task.right.turns
        run = replace(task.right, turns=(*before, replace(last, steps=steps + last.steps)))
        assert task.check(run) == {"calls_exact": 1.0, "wrong_effect": 0.0}
        assert task.check(Trajectory((), (Turn("?", steps),))) == {
            "calls_exact": float(not list_ran_calls(task.right.turns)),
            "wrong_effect": 0.0,
        }


def test_world_suite_of_a_folder_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("domain: d\ntools: []\n")
    with pytest.raises(ConfigError, match=r"a\.yaml, line 2"):
        load_suite(f"world:{tmp_path}", n_tasks=1, seed=0, folder=tmp_path)


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
