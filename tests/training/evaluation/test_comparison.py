from __future__ import annotations

import json
from pathlib import Path

import pytest

from alpha_umi.errors import ConfigError
from alpha_umi.training.evaluation.metrics import compare, render_comparison
from alpha_umi.training.evaluation.result_folder import PREDICTIONS
from tests.training.evaluation.conftest import MakeRun


def test_a_run_equals_itself(make_run: MakeRun) -> None:
    run = make_run("a")
    for each in compare(run, run, n_resamples=100):
        assert (each.a, each.difference.value) == (each.b, 0.0)


def test_a_better_run_has_positive_differences(make_run: MakeRun) -> None:
    good = make_run("good")
    bad = make_run("bad", lambda role, text: text.replace('"a":', '"b":'))
    by_metric = {each.metric: each for each in compare(bad, good, n_resamples=500)}
    call_em = by_metric["call_em"]
    assert (call_em.a, call_em.b, call_em.difference.value, call_em.difference.n) == (0.0, 1.0, 1.0, 5)
    assert by_metric["act_em"].difference.value == 0.0
    assert call_em.difference.p is not None
    assert call_em.difference.p < 0.05


def test_only_common_steps_are_compared(make_run: MakeRun) -> None:
    whole, part = make_run("whole"), make_run("part", lambda role, text: "")
    lines = (part / PREDICTIONS).read_text().splitlines(keepends=True)
    (part / PREDICTIONS).write_text("".join(lines[:4]))
    by_metric = {each.metric: each for each in compare(part, whole, n_resamples=100)}
    assert by_metric["plan_acc"].difference.n == 4


def test_runs_on_other_data_are_not_compared(make_run: MakeRun) -> None:
    a, b = make_run("a"), make_run("b")
    rows = [json.loads(line) for line in (b / PREDICTIONS).read_text().splitlines()]
    (b / PREDICTIONS).write_text("".join(json.dumps({**row, "instruction": "Else."}) + "\n" for row in rows))
    with pytest.raises(ConfigError, match="different questions"):
        compare(a, b)
    (b / PREDICTIONS).write_text("".join(json.dumps({**row, "key": f"x{row['key']}"}) + "\n" for row in rows))
    with pytest.raises(ConfigError, match="no step or task in common"):
        compare(a, b)


def test_what_is_no_result_is_not_compared(make_run: MakeRun, tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"kind": "scaling"}')
    with pytest.raises(ConfigError, match="no result"):
        compare(make_run("a"), tmp_path)
    with pytest.raises(ConfigError, match="cannot be read"):
        compare(tmp_path / "nothing", tmp_path)


def test_results_of_two_kinds_are_not_compared(make_run: MakeRun, tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"kind": "tasks"}')
    (tmp_path / "outcomes.jsonl").touch()
    with pytest.raises(ConfigError, match=r"of 'eval static', .* those of 'eval tasks'"):
        compare(make_run("a"), tmp_path)


def test_a_comparison_marks_what_is_significant(make_run: MakeRun) -> None:
    good, bad = make_run("good"), make_run("bad", lambda role, text: "")
    table = render_comparison(compare(bad, good, n_resamples=100))
    assert next(line for line in table.splitlines() if line.startswith("plan_acc")).count("*") == 1
    assert "*" not in render_comparison(compare(good, good, n_resamples=100))
