from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn
from alpha_umi.training.evaluation.evaluator import evaluate_tasks, make_answer_scorer, render_tasks
from alpha_umi.training.evaluation.examples import Usage
from alpha_umi.training.evaluation.metrics.causes import (
    CAUSES,
    Cause,
    explain_value,
    find_cause,
    rank_causes,
    refuses_wrongly,
    score_parts,
)
from alpha_umi.training.evaluation.suites import EvalOutcome, EvalTask, load_suite

REQUEST = "Book a table for 4 at Luigi on 1 May 2027 under the name Ann Lee, and tell me what parking there costs."
BOOK = {"guests": 4, "name": "Ann Lee", "day": "2027-05-01"}
FAILED = Observation("park failed: the lot is closed", True)
GIVE_UP = Step("Part 1 (What parking costs, it does not say): no tool can do it.", "give up")
NOT_SAID = Step("The request does not say the name.", "give up")
QUOTING = Step("Part 1 (Book a table): the request does not say the name.", "give up")
ASK = Step("The request does not say the name.", "conclusion", answer="Please tell me the name.")
DONE = Step("All parts are done.", "conclusion", answer="Table T7; parking is 12 euros.")
BAD = Step("All parts are done.", "conclusion", answer="It is booked.")


def call(name: str, arguments: dict[str, Any] | str, seen: str | Observation = "ok") -> Step:
    observation = Observation(seen) if isinstance(seen, str) else seen
    return Step("I call.", "caller", (Call("c", name, arguments, observation),))


def refused(name: str, arguments: dict[str, Any] | str) -> Step:
    return call(name, arguments, Observation(f"The arguments of {name} are wrong:\n- name: missing", True))


def book(seen: str = "T7", **changed: Any) -> Step:
    arguments = {name: value for name, value in (BOOK | changed).items() if value is not None}
    return call("book", arguments, seen)


PARK = call("park", {"table": "T7"}, "12")
UNKNOWN = call("fly", {}, Observation("There is no tool named 'fly'. Use one of these names exactly: book.", True))


def make_task(
    *steps: Step, expected: tuple[str, ...] | None = ("T7", "12"), request: str = REQUEST, exact: bool = True
) -> EvalTask:
    right = Trajectory((), (Turn(request, steps),))
    check = (lambda trajectory: {"calls_exact": 0.0}) if exact else None
    return EvalTask("t", "several", (request,), tuple, expected, check=check, right=right)


def make_outcome(*steps: Step, finish: str = "answer") -> EvalOutcome:
    return EvalOutcome(Trajectory((), (Turn(REQUEST, steps),)), Usage(), finish)


TASK = make_task(book(), PARK, DONE)
NOTHING_FITS = make_task(GIVE_UP, expected=None)
MISSING = make_task(Step("No tool can tell what is missing.", "give up"), expected=None)
NOT_SAID_TASK = make_task(refused("book", {}), NOT_SAID, expected=None)
ASKING_TASK = make_task(refused("book", {}), ASK, expected=())
CHAT = make_task(Step("No tool is needed.", "conclusion", answer="Hello."), expected=())
TOOL_FAILS = make_task(call("park", {"table": "T7"}, FAILED), GIVE_UP, expected=None)


@pytest.mark.parametrize(
    ("task", "steps", "cause"),
    [
        (TASK, (book(), PARK, DONE), None),
        (TASK, (PARK, refused("book", {}), book(), DONE), None),
        (TASK, (GIVE_UP,), "gave up though it could be done"),
        (TASK, (book(), GIVE_UP), "gave up though it could be done"),
        (TASK, (book(), PARK, GIVE_UP), "gave up though it could be done"),
        (TASK, (NOT_SAID,), "asked or gave up for a value that was said"),
        (TASK, (ASK,), "asked or gave up for a value that was said"),
        (TASK, (refused("book", {"guests": 4}), GIVE_UP), "asked or gave up for a value that was said"),
        (TASK, (refused("book", {**BOOK, "day": "May"}), GIVE_UP), "call not accepted by the tool and never repaired"),
        (TASK, (refused("book", "{"), DONE), "call not accepted by the tool and never repaired"),
        (
            TASK,
            (book(), call("park", {"table": "T7"}, FAILED), DONE),
            "call not accepted by the tool and never repaired",
        ),
        (TASK, (book(), refused("book", {}), BAD), "part left out"),
        (TASK, (book(), BAD), "part left out"),
        (TASK, (BAD,), "answered without a call"),
        (TASK, (UNKNOWN, GIVE_UP), "wrong tool"),
        (TASK, (call("fly", {}), PARK, DONE), "wrong tool"),
        (TASK, (book(), PARK, call("fly", {}), DONE), "call that nobody asked for"),
        (TASK, (book(), PARK, call("park", {"table": "T8"}), DONE), "call that nobody asked for"),
        (TASK, (call("fly", {}), book(), PARK, DONE), "call that nobody asked for"),
        (TASK, (book(name="Bob"), book(), PARK, DONE), "call that nobody asked for"),
        (TASK, (book(), book(), PARK, DONE), "part done twice"),
        (TASK, (book(), PARK, PARK, DONE), "part done twice"),
        (TASK, (book(day=None, name="Bob"), PARK, DONE), "argument left out"),
        (TASK, (book(smoking=False, name="Bob"), PARK, DONE), "argument that nobody asked for"),
        (TASK, (book(name="Bob"), PARK, DONE), "wrong value: invented, not in the request"),
        (TASK, (book(name="Luigi"), PARK, DONE), "wrong value: other words of the request"),
        (TASK, (book(name="ann lee"), PARK, DONE), "wrong value: form (date, number, case, choice)"),
        (TASK, (book(), call("park", {"table": "T8"}), DONE), "result of an earlier call not passed on"),
        (TASK, (book(), call("park", {"table": "Luigi"}), DONE), "result of an earlier call not passed on"),
        (TASK, (book(), PARK, BAD), "right calls, but the answer lacks a value"),
        (TASK, (), "step limit, or no progress"),
        (TASK, (book(),), "step limit, or no progress"),
        (NOTHING_FITS, (GIVE_UP,), None),
        (NOTHING_FITS, (UNKNOWN, GIVE_UP), None),
        (NOTHING_FITS, (book(), GIVE_UP), "called though nothing fits"),
        (NOTHING_FITS, (BAD,), "answered or asked where giving up was right"),
        (NOTHING_FITS, (ASK,), "answered or asked where giving up was right"),
        (NOT_SAID_TASK, (NOT_SAID,), None),
        (NOT_SAID_TASK, (refused("book", {}), NOT_SAID), None),
        (NOT_SAID_TASK, (book(), NOT_SAID), "called though a required value was not said"),
        (make_task(NOT_SAID, expected=None), (book(), NOT_SAID), "called though a required value was not said"),
        (make_task(QUOTING, expected=None), (book(), NOT_SAID), "called though a required value was not said"),
        (ASKING_TASK, (ASK,), None),
        (ASKING_TASK, (book(), DONE), "called though a required value was not said"),
        (ASKING_TASK, (NOT_SAID,), "gave up where an answer or a question was right"),
        (CHAT, (BAD,), None),
        (CHAT, (book(), BAD), "called though no tool was needed"),
        (CHAT, (GIVE_UP,), "gave up where an answer or a question was right"),
        (TOOL_FAILS, (call("park", {"table": "T7"}, FAILED), GIVE_UP), None),
        (TOOL_FAILS, (call("park", {"table": "T7"}, FAILED), BAD), "answered or asked where giving up was right"),
        (TOOL_FAILS, (GIVE_UP,), "gave up though it could be done"),
    ],
)
def test_the_first_thing_that_went_wrong_is_the_cause(
    task: EvalTask, steps: tuple[Step, ...], cause: Cause | None
) -> None:
    assert find_cause(task, make_outcome(*steps)) == cause


def test_a_run_that_was_stopped_left_nothing_out_of_itself() -> None:
    assert find_cause(TASK, make_outcome(book(), BAD, finish="step limit")) == "step limit, or no progress"
    wrong = make_outcome(book(name="Bob"), BAD, finish="no progress")
    assert find_cause(TASK, wrong) == "wrong value: invented, not in the request"


def test_the_first_of_two_requests_is_looked_at_first() -> None:
    task = replace(TASK, right=Trajectory((), (Turn("Book.", (book(), DONE)), Turn("Park.", (PARK, DONE)))))

    def find(first: tuple[Step, ...], second: tuple[Step, ...]) -> Cause | None:
        turns = (Turn("Book.", first), Turn("Park.", second))
        return find_cause(task, EvalOutcome(Trajectory((), turns), Usage()))

    assert find((book(), BAD), (PARK, DONE)) is None
    assert find((BAD,), (GIVE_UP,)) == "answered without a call"
    assert find((book(), DONE), (GIVE_UP,)) == "gave up though it could be done"
    assert find((book(), DONE), (call("park", {"table": "T8"}), DONE)) == "result of an earlier call not passed on"


def test_calls_are_as_good_as_their_results_where_only_the_answer_is_checked() -> None:
    task = make_task(call("add", {"sum": "2 + 3"}, "5"), DONE, exact=False)
    other = call("add", {"sum": "3 + 2"}, "5")
    assert find_cause(task, make_outcome(other, BAD)) == "right calls, but the answer lacks a value"
    wrong = make_outcome(call("add", {"sum": "3 + 2"}, "6"), BAD)
    assert find_cause(task, wrong) == "wrong value: form (date, number, case, choice)"
    exact = make_task(call("add", {"sum": "2 + 3"}, "5"), DONE)
    assert find_cause(exact, make_outcome(other, BAD)) == "wrong value: form (date, number, case, choice)"


def test_a_tool_that_failed_may_be_left_out_if_another_one_did_it() -> None:
    task = make_task(call("park", {"table": "T7"}, FAILED), call("lot", {"table": "T7"}, "12"), DONE)
    assert find_cause(task, make_outcome(call("lot", {"table": "T7"}, "12"), DONE)) is None


@pytest.mark.parametrize(
    ("made", "wanted", "cause"),
    [
        ("Ann Lee,", "Ann Lee", "wrong value: other words of the request"),
        ("the name Ann Lee", "Ann Lee", "wrong value: other words of the request"),
        ("Ann", "Ann Lee", "wrong value: other words of the request"),
        ("nn Lee", "Ann Lee", "wrong value: other words of the request"),
        ("Anna Lee", "Ann Lee", "wrong value: invented, not in the request"),
        ("ann lee", "Ann Lee", "wrong value: form (date, number, case, choice)"),
        ("1 May 2027", "2027-05-01", "wrong value: form (date, number, case, choice)"),
        ("2027-05-02", "2027-05-01", "wrong value: invented, not in the request"),
        ("4", 4, "wrong value: form (date, number, case, choice)"),
        (5, 4, "wrong value: invented, not in the request"),
        ("dinner", "evening_meal", "wrong value: form (date, number, case, choice)"),
        (False, True, "wrong value: form (date, number, case, choice)"),
        ("Luigi", "P-55", "result of an earlier call not passed on"),
        ("P-55", "Luigi", "wrong value: invented, not in the request"),
    ],
)
def test_a_wrong_value_is_told_by_where_it_could_come_from(made: Any, wanted: Any, cause: Cause) -> None:
    assert explain_value(made, wanted, REQUEST, ["lot P-55, Luigi"]) == cause


def test_nested_values_are_compared_one_by_one() -> None:
    task = make_task(call("f", {"who": {"name": "Ann Lee"}, "of": ["Luigi"]}), DONE, expected=())

    def find(arguments: dict[str, Any]) -> Cause | None:
        return find_cause(task, make_outcome(call("f", arguments), DONE))

    assert find({"who": {"name": "Bob"}, "of": ["Luigi"]}) == "wrong value: invented, not in the request"
    assert find({"who": {"name": "Ann Lee"}, "of": []}) == "argument left out"
    assert find({"who": {"name": "Ann Lee"}, "of": ["Luigi", "Ann"]}) == "argument that nobody asked for"


def test_the_nearest_call_of_the_same_tool_is_the_one_that_was_meant() -> None:
    task = make_task(call("f", {"a": "Luigi", "b": 4}), call("f", {"a": "Ann Lee", "b": "parking"}), DONE, expected=())
    run = make_outcome(call("f", {"a": "Ann Lee", "b": "Bob"}), DONE)
    assert find_cause(task, run) == "wrong value: invented, not in the request"


@pytest.mark.parametrize(
    ("expected", "steps", "finish", "cause"),
    [
        (("12",), (DONE,), "answer", None),
        (("12",), (GIVE_UP,), "give up", "gave up though it could be done"),
        (("12",), (refused("book", {}), BAD), "answer", "call not accepted by the tool and never repaired"),
        (("12",), (refused("book", {}), book(), BAD), "answer", "wrong answer; the right calls are not known"),
        (("12",), (BAD,), "step limit", "step limit, or no progress"),
        (None, (BAD,), "answer", "answered or asked where giving up was right"),
    ],
)
def test_without_the_right_way_the_cause_is_what_can_be_seen(
    expected: tuple[str, ...] | None, steps: tuple[Step, ...], finish: str, cause: Cause | None
) -> None:
    task = EvalTask("t", "gsm8k", (REQUEST,), tuple, expected)
    assert find_cause(task, make_outcome(*steps, finish=finish)) == cause


def test_false_refusals_are_of_requests_that_could_be_done() -> None:
    refusals = [(GIVE_UP,), (book(), GIVE_UP), (ASK,), (book(), ASK)]
    assert [refuses_wrongly(TASK, make_outcome(*steps)) for steps in refusals] == [True] * 4
    asks_more = Step("", "conclusion", answer="T7, 12 euros. Anything else?")
    others = [(book(), PARK, asks_more), (book(), BAD), ()]
    assert [refuses_wrongly(TASK, make_outcome(*steps)) for steps in others] == [False] * 3
    for task in (NOTHING_FITS, NOT_SAID_TASK, ASKING_TASK, CHAT, TOOL_FAILS):
        assert refuses_wrongly(task, make_outcome(GIVE_UP)) is None


def test_shares_are_of_the_requests_that_they_are_about() -> None:
    gave_up, exact = make_outcome(GIVE_UP), {"calls_exact": 1.0}
    single = make_task(book(), DONE)
    assert score_parts(single, make_outcome(book(), BAD), exact) == {"false_refusal": 0.0, "single_exact": 1.0}
    assert score_parts(TASK, make_outcome(book(), PARK, DONE), exact) == {"false_refusal": 0.0, "parts_right": 1.0}
    assert score_parts(TASK, make_outcome(book(), PARK, BAD), exact)["parts_right"] == 0.0
    assert score_parts(TASK, make_outcome(DONE), {"calls_exact": 0.0})["parts_right"] == 0.0
    assert score_parts(NOTHING_FITS, gave_up, exact) == {"nothing_fits_refused": 1.0}
    assert score_parts(MISSING, gave_up, exact) == {"nothing_fits_refused": 1.0}
    assert score_parts(NOTHING_FITS, make_outcome(BAD), exact) == {"nothing_fits_refused": 0.0}
    assert [score_parts(task, gave_up, exact) for task in (NOT_SAID_TASK, TOOL_FAILS, ASKING_TASK)] == [{}, {}, {}]
    four = make_task(book(), PARK, PARK, PARK, DONE)
    assert score_parts(four, gave_up, exact) == {"false_refusal": 1.0}


def test_causes_are_counted_and_the_commonest_comes_first() -> None:
    rows: list[dict[str, Any]] = [
        {"key": f"t{number}", "error": None, "cause": cause}
        for number, cause in enumerate(["wrong tool", None, CAUSES[1], "part left out", "wrong tool", "wrong tool"])
    ]
    rows.append({"key": "long", "error": "too long", "cause": "step limit, or no progress"})
    assert rank_causes(rows) == [
        {"cause": "wrong tool", "n": 3, "keys": ["t0", "t4"]},
        {"cause": "prompt too long", "n": 1, "keys": ["long"]},
        {"cause": CAUSES[1], "n": 1, "keys": ["t2"]},
        {"cause": "part left out", "n": 1, "keys": ["t3"]},
    ]


def test_causes_are_in_the_metrics_and_printed(tmp_path: Path) -> None:
    tasks = [TASK, replace(TASK, key="wrong calls"), replace(NOTHING_FITS, key="fine", check=None)]
    outcomes = {"t": make_outcome(GIVE_UP), "wrong calls": make_outcome(book(name="Bob"), PARK, DONE)}
    metrics = evaluate_tasks(
        lambda task: outcomes.get(task.key, make_outcome(GIVE_UP)),
        tasks,
        tmp_path,
        identity={},
        scorer=make_answer_scorer(),
    )
    assert {each["cause"]: each["keys"] for each in json.loads((tmp_path / "metrics.json").read_text())["causes"]} == {
        "gave up though it could be done": ["t"],
        "wrong value: invented, not in the request": ["wrong calls"],
    }
    text = render_tasks(metrics)
    assert "2 tasks failed, by answer or by calls; the commonest causes:" in text
    assert "    1  gave up though it could be done (t)" in text
    assert "False refusals" in text
    assert (metrics["strict"]["false_refusal"]["value"], metrics["strict"]["nothing_fits_refused"]["value"]) == (0.5, 1)


@pytest.mark.parametrize("suite", ["world", "builtin"])
def test_nothing_is_wrong_with_the_right_way(suite: str, tmp_path: Path) -> None:
    for task in load_suite(suite, n_tasks=80, seed=5, folder=tmp_path):
        assert task.right is not None
        outcome = EvalOutcome(task.right, Usage())
        assert find_cause(task, outcome) is None, task.key
        checks = dict(task.check(task.right)) if task.check else {}
        scores = score_parts(task, outcome, checks)
        assert ("nothing_fits_refused" in scores) == (task.group == "no tool"), task.key
        assert ("single_exact" in scores) == (task.group == "single" and suite == "world"), task.key
        assert scores.pop("false_refusal", 0.0) == 0.0
        assert set(scores.values()) <= {1.0}
        assert make_answer_scorer().score(task, outcome)["cause"] is None, task.key


def test_right_ways_cut_short_have_causes(tmp_path: Path) -> None:
    seen = set()
    for task in load_suite("world", n_tasks=60, seed=6, folder=tmp_path):
        assert task.right is not None
        *before, last = task.right.turns
        gave_up = EvalOutcome(replace(task.right, turns=(*before, replace(last, steps=(GIVE_UP,)))), Usage())
        answered = EvalOutcome(replace(task.right, turns=(*before, replace(last, steps=(BAD,)))), Usage())
        seen |= {find_cause(task, gave_up), find_cause(task, answered)}
    assert seen >= {
        None,
        "gave up though it could be done",
        "answered without a call",
        "answered or asked where giving up was right",
    }
