import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import BaseTool

from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn
from alpha_umi.tools.toolbox import Toolbox
from alpha_umi.training.evaluation import EvalOutcome, EvalTask, Usage
from alpha_umi.training.evaluation.questions import check_questions, render_check
from alpha_umi.training.evaluation.questions.score import make_safe_tools
from tests.training.evaluation.questions.conftest import Load

END = Step("", "conclusion", answer="9:30 is free, oil is 60.")
GIVE_UP = Step("No.", "give up")
ASK = Step("", "conclusion", answer="Which day do you want?")


def call(name: str, **arguments: Any) -> tuple[str, dict[str, Any]]:
    return name, arguments


FIND, BOOK = call("find_slot", day="friday"), call("book_slot", day="friday", time="9:30")


def make_outcome(task: EvalTask, calls: list[tuple[str, dict[str, Any]]], end: Step) -> EvalOutcome:
    """Run the calls with the task's tools, one step each."""
    toolbox, steps = Toolbox(list(task.make_tools())), []
    for i, (name, arguments) in enumerate(calls):
        message = toolbox.execute(name, arguments, f"call_{i}")
        observation = Observation(message.text, message.status == "error")
        steps.append(Step("", "caller", (Call(f"call_{i}", name, arguments, observation),)))
    return EvalOutcome(Trajectory((), (Turn(task.instructions[0], (*steps, end)),)), Usage(), "answer")


Check = Callable[..., dict[str, Any]]


@pytest.fixture
def check(load: Load, tools: list[BaseTool], tmp_path: Path) -> Check:
    """Check one question, given as YAML, against what an agent did."""

    def run(text: str, *calls: tuple[str, dict[str, Any]], end: Step = END) -> dict[str, Any]:
        file = load(f"questions:\n- question: Well?\n  {text}")
        return check_questions(
            lambda task: make_outcome(task, list(calls), end), file, tools, tmp_path / "out", identity={}
        )

    return run


@pytest.mark.parametrize(
    ("text", "calls", "end", "is_right", "cause"),
    [
        ("calls: {find_slot: {day: friday}}", [FIND], END, True, None),
        ("calls: {find_slot: {day: friday}}", [call("find_slot", day="friday", minutes=30)], END, True, None),
        ("calls: {find_slot: {day: friday, minutes: 30}}", [FIND], END, True, None),
        (
            "calls: {find_slot: {day: friday}}",
            [call("find_slot", day="friday", minutes=45)],
            END,
            False,
            "argument that nobody asked for",
        ),
        ("calls: {find_slot: {day: friday}}", [FIND, FIND], END, False, "part done twice"),
        ("calls: {find_slot: {day: friday}}", [BOOK], END, False, "wrong tool"),
        ("calls: {find_slot: {day: friday}}", [], GIVE_UP, False, "gave up though it could be done"),
        ("calls: {find_slot: {day: friday}}", [FIND], GIVE_UP, False, "gave up though it could be done"),
        ("calls: [find_slot: {day: friday}, book_slot: {day: friday, time: '9:30'}]", [BOOK, FIND], END, True, None),
        (
            "calls: [find_slot: {day: friday}, book_slot: {day: friday, time: '9:30'}]",
            [FIND],
            END,
            False,
            "part left out",
        ),
        (
            "calls: [find_slot: {day: friday}, book_slot: {day: friday, time: '9:30'}]",
            [FIND, call("book_slot", day="friday", time="9:45")],
            END,
            False,
            "result of an earlier call not passed on",
        ),
        ("calls: {find_slot: {day: friday}, $optional: list_prices}", [FIND], END, True, None),
        ("calls: {find_slot: {day: friday}, $optional: list_prices}", [call("list_prices"), FIND], END, True, None),
        ("calls: {$any: [list_prices, [find_slot: {day: friday}]]}", [FIND], END, True, None),
        ("calls: {$any: [list_prices, []]}", [], END, True, None),
        ("calls: {$any: [list_prices, []]}", [FIND], END, False, "called though no tool was needed"),
        ("calls: {find_slot: {day: {$any: [thursday, friday]}}}", [FIND], END, True, None),
        ("calls: []", [], END, True, None),
        ("calls: []", [FIND], END, False, "called though no tool was needed"),
        ("calls: list_prices\n  answer: 60", [call("list_prices")], END, True, None),
        ("calls: list_prices\n  answer: [60, '9:30']", [call("list_prices")], END, True, None),
        ("calls: list_prices\n  answer: {$any: [61, '9:30']}", [call("list_prices")], END, True, None),
        ("calls: list_prices\n  answer: {$matches: 'is \\d+'}", [call("list_prices")], END, True, None),
        (
            "calls: list_prices\n  answer: [60, 61]",
            [call("list_prices")],
            END,
            False,
            "right calls, but the answer lacks a value",
        ),
        ("refuse: no tool", [], GIVE_UP, True, None),
        ("refuse: no tool", [], END, False, "answered or asked where giving up was right"),
        ("refuse: no tool", [FIND], GIVE_UP, False, "called though nothing fits"),
        ("refuse: no tool", [call("find_slot")], GIVE_UP, True, None),  # the tool did not accept it and did not run
        ("refuse: missing value", [], GIVE_UP, True, None),
        ("refuse: missing value", [], ASK, True, None),
        ("refuse: missing value", [], END, False, "answered or asked where giving up was right"),
        ("refuse: missing value", [BOOK], ASK, False, "called though a required value was not said"),
        ("refuse: missing value\n  calls: [$optional: list_prices]", [call("list_prices")], ASK, True, None),
    ],
)
def test_a_run_is_held_against_its_question(
    check: Check, text: str, calls: list[tuple[str, dict[str, Any]]], end: Step, is_right: bool, cause: str | None
) -> None:
    [told] = check(text, *calls, end=end)["questions"]
    assert (told["right"], told["cause"]) == (is_right, cause)


def test_shares_tell_tools_arguments_refusals_and_effects_apart(check: Check) -> None:
    other_time = call("book_slot", day="friday", time="9:45")
    metrics = check("calls: [book_slot: {day: friday, time: '9:30'}]", other_time)
    shares = {name: metrics["strict"][name]["value"] for name in ("tools_exact", "calls_exact", "wrong_effect")}
    assert shares == {"tools_exact": 1.0, "calls_exact": 0.0, "wrong_effect": 1.0}
    assert metrics["strict"]["solved"]["value"] == 0.0


def test_a_right_call_twice_is_a_wrong_effect(check: Check) -> None:
    metrics = check("calls: [book_slot: {day: friday, time: '9:30'}]", BOOK, BOOK)
    assert metrics["strict"]["wrong_effect"]["value"] == 1.0


def test_calls_and_alternatives_are_paired_so_that_most_fit(check: Check) -> None:
    text = "calls: [find_slot: {day: {$any: [friday, monday]}}, find_slot: {day: friday}]"
    assert check(text, FIND, call("find_slot", day="monday"))["questions"][0]["right"]


def test_tools_with_effects_or_with_a_reply_are_not_run(tools: list[BaseTool]) -> None:
    replies = {"list_prices": {"oil": 1}, "find_slot": "{day}: full"}
    box = Toolbox(make_safe_tools(tools, replies))
    said = [box.execute(*each, "c").text for each in (FIND, call("list_prices"), BOOK)]
    assert said == ["friday: full", '{"oil": 1}', '{"status": "done", "day": "friday", "time": "9:30"}']
    assert [spec.to_openai() for spec in box.specs] == [spec.to_openai() for spec in Toolbox(tools).specs]
    assert Toolbox(make_safe_tools(tools, {})).execute(*FIND, "c").text == "9:30 is free on friday for 30 minutes."


def test_results_are_kept_and_held_against_a_changed_file(load: Load, tools: list[BaseTool], tmp_path: Path) -> None:
    n_runs = 0

    def run(task: EvalTask) -> EvalOutcome:
        nonlocal n_runs
        n_runs += 1
        return make_outcome(task, [FIND], END)

    def check(text: str) -> list[bool]:
        metrics = check_questions(run, load(text), tools, tmp_path / "out", identity={})
        return [each["right"] for each in metrics["questions"]]

    first = "questions:\n- question: Friday?\n  calls: {find_slot: {day: saturday}}\n"
    assert check(first) == [False]
    assert check(first.replace("saturday", "friday")) == [True]
    assert n_runs == 1
    assert check(f"{first}- question: More?\n  calls: {{find_slot: {{day: friday}}}}\n") == [False, True]
    assert n_runs == 2
    assert check(f"{first}replies: {{find_slot: full}}\n") == [False]
    assert n_runs == 3
    rows = [json.loads(line) for line in (tmp_path / "out" / "outcomes.jsonl").read_text().splitlines()]
    assert sorted(row["key"] for row in rows) == ["Friday?", "More?"]


def test_the_table_tells_every_question_that_went_wrong_with_its_line(check: Check) -> None:
    metrics = check("calls: [find_slot: {day: friday}]", call("find_slot", day="sunday"))
    text = render_check(metrics, Path("my.yaml"))
    assert "my.yaml, line 2: wrong value: form (date, number, case, choice)" in text
    assert 'expected  find_slot {"day": "friday"}' in text
    assert 'came      find_slot {"day": "sunday"}; answer: 9:30 is free, oil is 60.' in text
