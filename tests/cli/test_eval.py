"""`alpha-umi eval` from end to end: scripted models, and a tiny checkpoint that is trained here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from alpha_umi.nodes.models.engine.scheduler import close_engines
from alpha_umi.training.config import TrainConfig
from alpha_umi.training.glpft import train
from tests.cli.conftest import Umi
from tests.training import conftest as training

SCRIPT = {
    "planner": ["I add.\nNext: caller.", "That is all.\nNext: conclusion."],
    "caller": ['Action: add\nAction Input: {"a": 0}'],
    "summarizer": ["0 it is."],
}
GIVE_UP = {**SCRIPT, "planner": ["No tool can do this.\nNext: give up."]}

SCRIPTED = ("--model", "scripted:script.yaml", "--out", "out")

base, make_config = training.base, training.make_config


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with scripts and data, as working directory."""
    (tmp_path / "script.yaml").write_text(yaml.safe_dump(SCRIPT))
    (tmp_path / "give_up.yaml").write_text(yaml.safe_dump(GIVE_UP))
    (tmp_path / "data").mkdir()
    training.write_rows(tmp_path / "data", 4)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    close_engines()


@pytest.fixture
def umi(umi: Umi) -> Umi:
    """Run ``alpha-umi eval``."""
    return partial(umi, "eval")


def read(path: Path | str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(path).read_text())
    return content


def test_static_prints_both_definitions_and_leaves_out_training_data(umi: Umi) -> None:
    done = umi("static", "--data", "data", *SCRIPTED)
    assert done.code == 0, done.err
    assert "2 steps of 1 trajectories" in done.out
    assert "paper" in done.out
    assert "strict" in done.out
    metrics = read("out/metrics.json")
    # the script chooses by position in the history, so it gets every step of this trajectory right
    assert (metrics["paper"]["plan_acc"], metrics["paper"]["arg_f1"], metrics["strict"]["step_acc"]["value"]) == (
        1,
        1,
        1,
    )
    assert len(Path("out/predictions.jsonl").read_text().splitlines()) == 2


def test_static_takes_a_share_of_a_split(umi: Umi) -> None:
    done = umi(
        "static", "--data", "data", "--split", "train", "--limit", "2", "-m", "scripted:script.yaml", "--out", "o"
    )
    assert done.code == 0, done.err
    assert read("o/metrics.json")["n_examples"] == 2


def test_static_does_not_go_on_with_another_model(umi: Umi) -> None:
    assert umi("static", "--data", "data", *SCRIPTED).code == 0
    done = umi("static", "--data", "data", "--model", "scripted:give_up.yaml", "--out", "out")
    assert done.code == 2
    assert "other settings" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("static", "--data", "nowhere"), "no such file"),
        (("static", "--data", "data", "--split", "test"), "dev-tools"),
        (("static", "--data", "data", "--source", "toolbench"), "trajectories from own"),
        (("static", "--data", "data", "--model", "nowhere"), "neither a file nor a role spec"),
        (("tasks", "--suite", "gsm9k"), "gsm8k:FILE"),
        (("tasks", "--suite", "gsm8k:nowhere"), "no such file"),
        (("scaling", "--data", "data", "--fractions", "a"), "0.1,0.3,1"),
        (("scaling", "--data", "data", "--fractions", "2"), "at most 1"),
        (("scaling", "--data", "data", "--config", "nowhere"), "smollm2-135m-single"),
        (("report", "nowhere"), "nowhere"),
    ],
)
def test_mistakes_are_explained(umi: Umi, arguments: tuple[str, ...], message: str) -> None:
    model = () if "--model" in arguments or arguments[0] in ("scaling", "report") else ("-m", "scripted:script.yaml")
    done = umi(*arguments, *model, "--out", "out")
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err


def test_tasks_of_the_builtin_suite_are_checked(umi: Umi) -> None:
    done = umi("tasks", "--limit", "12", "--model", "scripted:give_up.yaml", "--out", "out")
    assert done.code == 0, done.err
    assert "12 tasks" in done.out
    rows = [json.loads(line) for line in Path("out/outcomes.jsonl").read_text().splitlines()]
    assert all(row["gave_up"] and row["finish"] == "give up" for row in rows)
    assert all(row["success"] == (row["expected"] is None) for row in rows)
    assert rows[0]["output_tokens"] > 0
    assert all(row["trajectory"]["tools"] for row in rows)
    done = umi("tasks", "--limit", "12", "--model", "scripted:give_up.yaml", "--out", "out", "--seed", "2")
    assert "other settings" in done.err


def test_tasks_run_tools_and_keep_all_turns_in_one_thread(umi: Umi, tmp_path: Path) -> None:
    problem = {"question": "What is 2 + 3?", "answer": "2 + 3 = <<2+3=5>>5\n#### 5"}
    (tmp_path / "gsm8k.jsonl").write_text(json.dumps(problem) + "\n")
    script = {
        **SCRIPT,
        "caller": ['Action: calculator\nAction Input: {"expression": "2+3"}'],
        "summarizer": ["It is 5."],
    }
    (tmp_path / "sums.yaml").write_text(yaml.safe_dump(script))
    done = umi(
        "tasks", "--suite", "gsm8k:gsm8k.jsonl", "--model", "scripted:sums.yaml", "--workers", "2", "--out", "out"
    )
    assert done.code == 0, done.err
    row = json.loads(Path("out/outcomes.jsonl").read_text())
    assert (row["success"], row["calls"], row["answer"]) == (True, 1, "It is 5.")
    assert row["trajectory"]["turns"][0]["steps"][0]["calls"][0]["observation"]["text"] == "5"


def test_two_runs_are_compared(umi: Umi) -> None:
    for name in ("script", "give_up"):
        umi("static", "--data", "data", "--split", "train", "--model", f"scripted:{name}.yaml", "--out", name)
    done = umi("compare", "give_up", "script")
    assert done.code == 0, done.err
    plan = next(line for line in done.out.splitlines() if line.startswith("plan_acc"))
    assert "+" in plan


def test_a_tiny_checkpoint_is_measured_and_reported(
    umi: Umi, make_config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    train(make_config("umi", max_steps=2), tmp_path / "data", tmp_path / "ckpt")
    config = {"models": f"hf:{tmp_path / 'ckpt'}", "generation": {"max_tokens": 32, "max_rationale_tokens": 8}}
    config |= {"limits": {"max_steps": 1}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    static = umi("static", "--data", "data", "--model", "tiny.yaml", "--out", "static")
    assert static.code == 0, static.err
    assert read("static/metrics.json")["strict"]["hallu"]["value"] == 0  # the grammar names offered tools only
    card = read("static/settings.json")["models"]["planner"]["card_sha256"]
    tasks = umi("tasks", "--limit", "2", "--model", "tiny.yaml", "--out", "tasks")
    assert tasks.code == 0, tasks.err
    assert read("tasks/settings.json")["models"]["caller"]["card_sha256"] == card != ""
    report = umi("report", "static", "tasks", "--out", "report")
    assert report.code == 0, report.err
    page = Path("report/report.html").read_text()
    assert "7B α-UMi w/ reuse" in page
    assert "Failed tasks of tasks" in page


def test_a_checkpoint_folder_is_a_model(umi: Umi, make_config: Callable[..., TrainConfig], tmp_path: Path) -> None:
    train(make_config("single-multitask", max_steps=1), tmp_path / "data", tmp_path / "ckpt")
    assert umi("static", "--data", "data", "--model", "ckpt", "--free", "--out", "out").code == 0
    model = read("out/settings.json")["models"]["planner"]
    assert (model["model"], model["constrained"]) == ("ckpt", False)


def test_scaling_trains_and_goes_on(umi: Umi, make_config: Callable[..., TrainConfig], tmp_path: Path) -> None:
    config = make_config("single-multitask", max_steps=1).model_dump(mode="json")
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    command = (
        "scaling",
        "--data",
        "data",
        "--config",
        "tiny.yaml",
        "--fractions",
        "0.5,1",
        "--limit",
        "1",
        "--out",
        "o",
    )
    done = umi(*command)
    assert done.code == 0, done.err
    assert "2 of 2: tiny on 100.0% of the data" in done.err
    assert [len(Path(f"o/data/{share}/trajectories.jsonl").read_text().splitlines()) for share in ("0.5", "1")] == [
        2,
        4,
    ]
    written = Path("o/points.jsonl").stat().st_mtime_ns
    assert umi(*command).out == done.out
    assert Path("o/points.jsonl").stat().st_mtime_ns == written
    assert umi("report", "o", "o/static/tiny@1", "--out", "report").code == 0
    assert "Data scaling: o" in Path("report/report.html").read_text()


def test_what_was_typed_is_kept_for_the_report(umi: Umi) -> None:
    done = umi("static", "--data", "data", *SCRIPTED)
    assert done.code == 0, done.err
    typed = "alpha-umi eval static --data data --model scripted:script.yaml --out out"
    assert Path("out/command.txt").read_text() == f"{typed}\n"
    assert umi("report", "out", "--out", "report").code == 0
    assert f"$ {typed}" in Path("report/report.md").read_text()
