from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.trajectory import ROLES, Step, Trajectory, Turn
from alpha_umi.training.data.dataset import Example
from alpha_umi.training.evaluation.evaluator import evaluate_tasks, make_answer_scorer
from alpha_umi.training.evaluation.examples import Usage
from alpha_umi.training.evaluation.metrics.published import load_table_1
from alpha_umi.training.evaluation.report import write_report
from alpha_umi.training.evaluation.scaling import evaluate_scaling
from alpha_umi.training.evaluation.static import evaluate_static
from alpha_umi.training.evaluation.suites import EvalOutcome, EvalTask
from tests.training.evaluation.conftest import MakeOracle, MakeRun

EVIL = "<script>alert(1)</script>"


def make_tasks_run(out: Path) -> Path:
    turn = Turn("Add.", (Step("Done.", "conclusion", answer=f"It is {EVIL}."),))
    outcome = EvalOutcome(Trajectory((), (turn,)), Usage(1, 1, 1), "answer")
    task = EvalTask("t", "single", ("Add.",), tuple, ("5",))
    evaluate_tasks(lambda _: outcome, [task], out, identity={}, scorer=make_answer_scorer())
    return out


def test_our_table_stands_beside_that_of_the_paper(make_run: MakeRun, tmp_path: Path) -> None:
    page = write_report([make_run("ours")], tmp_path / "report").read_text()
    assert "<td class=label>ours</td><td>100.00</td><td>100.00</td><td>0.00</td>" in page
    assert page.count("<td class=label>7B α-UMi w/ reuse</td>") == 2
    assert "<td>88.92</td><td>58.94</td><td>0.57</td><td>52.24</td><td>43.17</td>" in page
    assert all(column in page for column in load_table_1().columns.values())
    assert "arXiv 2401.07324, Table 1" in page


def test_the_table_of_the_paper_has_a_score_per_column(make_run: MakeRun, tmp_path: Path) -> None:
    table = load_table_1()
    assert all(len(row.in_domain) == len(row.out_of_domain) == len(table.columns) for row in table.rows)
    page = write_report([make_run("ours")], tmp_path / "report").read_text()
    for row in table.rows:
        for scores in (row.in_domain, row.out_of_domain):
            cells = "".join(f"<td>{score:.2f}</td>" for score in scores)
            assert f"<td class=label>{row.model}</td>{cells}</tr>" in page


def test_each_table_names_the_command_that_printed_it(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("ours")
    (run / "command.txt").write_text("alpha-umi eval static --data 'a <b>'\n")
    page = write_report([run, make_tasks_run(tmp_path / "live")], tmp_path / "report").read_text()
    assert page.count("<pre>") == 1, "of the other run no command is known"
    assert "<pre><b>ours</b> $ alpha-umi eval static --data &#39;a &lt;b&gt;&#39;</pre>" in page
    assert "```console\n$ alpha-umi eval static --data 'a <b>'\n```" in (tmp_path / "report" / "report.md").read_text()


def test_tasks_stand_beside_a_peer_where_kinds_correspond(tmp_path: Path) -> None:
    page = write_report([make_tasks_run(tmp_path / "live")], tmp_path / "report").read_text()
    assert "Next to a peer" not in page
    metrics = json.loads((tmp_path / "live" / "metrics.json").read_text())
    metrics["strict"]["nothing_fits_refused"] = {"value": 0.25, "low": None, "high": None, "n": 1}
    (tmp_path / "live" / "metrics.json").write_text(json.dumps(metrics))
    page = write_report([tmp_path / "live"], tmp_path / "report").read_text()
    assert "<td class=label>live</td><td>–</td><td>–</td><td>25.0</td></tr>" in page
    assert "<td class=label>FunctionGemma-270M, BFCL</td><td>63.5</td><td>29.5</td><td>73.7</td></tr>" in page
    assert (tmp_path / "report" / "figures" / "shares.svg").exists()


def test_a_report_of_everything_is_written_in_both_forms(
    make_run: MakeRun, make_oracle: MakeOracle, examples: list[Example], tmp_path: Path
) -> None:
    models = dict.fromkeys(ROLES, make_oracle())
    evaluate_scaling(
        ["umi"],
        [0.5, 1.0],
        lambda method, fraction: tmp_path / f"{method}{fraction}",
        lambda path: evaluate_static(models, examples, path),
        tmp_path / "scaling",
        identity={"data": "x"},
    )
    runs = [make_run("good"), make_run("bad", lambda role, text: f"{text} {EVIL}"), tmp_path / "scaling"]
    page = write_report([*runs, make_tasks_run(tmp_path / "live")], tmp_path / "report").read_text()
    markdown = (tmp_path / "report" / "report.md").read_text()
    for title in (
        "Next to the paper",
        "Decisions",
        "Who lost the step",
        "Live tasks",
        "Data scaling: scaling",
        "The runs",
    ):
        assert f"<h2>{title}</h2>" in page
        assert f"## {title}" in markdown
    assert EVIL not in page
    for figure in re.findall(r"\]\((figures/[^)]+)\)", markdown):
        assert (tmp_path / "report" / figure).read_text().startswith("<svg")


def test_worst_cases_are_of_different_faults_and_trajectories(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(
        "bad", lambda role, text: text.replace("add\n", "sub\n") if role == "caller" else text.replace("8.", EVIL)
    )
    page = write_report([run], tmp_path / "report").read_text()
    *titles, last = re.findall(r"<summary>(.*?)</summary>", page)
    assert last == "bad"  # what the run depends on
    assert [title.partition(": ")[2].partition(": ")[0] for title in titles] == ["name", "answer", "name"]
    assert "&lt;script&gt;" in page


def test_a_run_without_faults_says_so(make_run: MakeRun, tmp_path: Path) -> None:
    assert "No step was lost." in write_report([make_run("good")], tmp_path / "report").read_text()


def test_equal_folder_names_are_told_apart(make_run: MakeRun, tmp_path: Path) -> None:
    page = write_report([make_run("a/run"), make_run("b/run")], tmp_path / "report").read_text()
    assert "<td class=label>a/run</td>" in page
    assert "<td class=label>b/run</td>" in page


def test_unusable_folders_are_refused(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("a")
    with pytest.raises(ConfigError, match="at least one"):
        write_report([], tmp_path / "report")
    with pytest.raises(ConfigError, match="each one once"):
        write_report([run, run], tmp_path / "report")
    with pytest.raises(ConfigError, match=r"metrics\.json"):
        write_report([tmp_path / "none"], tmp_path / "report")
    (run / "metrics.json").write_text(json.dumps({"kind": "else"}))
    with pytest.raises(ConfigError, match="no result"):
        write_report([run], tmp_path / "report")
