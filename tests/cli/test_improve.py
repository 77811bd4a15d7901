"""`alpha-umi improve` from end to end: a tiny checkpoint is trained on what a scripted model got right."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from alpha_umi.cli import eval_runs
from alpha_umi.graph.config import load_settings
from alpha_umi.nodes.models.engine.scheduler import close_engines
from tests.cli.conftest import Umi
from tests.training import conftest as training

base, make_config, trained, data = training.base, training.make_config, training.trained, training.data

SCRIPT = {
    "planner": ["I add.\nNext: caller.", "Done.\nNext: conclusion."],
    "caller": ['Action: calculator\nAction Input: {"expression": "2 + 3"}'],
    "summarizer": ["5."],
}
QUESTIONS = """
questions:
- {question: "What is 2 + 3?", calls: {calculator: {expression: 2 + 3}}, answer: 5}
- {question: "How much is 2 + 3?", calls: {calculator: {expression: 2 + 3}}, answer: 5}
- {question: "Add 2 and 4.", calls: {calculator: {expression: 2 + 4}}, answer: 6}
"""


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Runs are those of a script, whatever checkpoint they are asked of; what is trained is trained."""
    monkeypatch.chdir(tmp_path)
    Path("questions.yaml").write_text(QUESTIONS)
    Path("script.yaml").write_text(yaml.safe_dump(SCRIPT))
    load = eval_runs.load_agent
    monkeypatch.setattr(eval_runs, "load_agent", lambda model, **options: load("scripted:script.yaml", **options))
    yield
    close_engines()


def make_command(start: Path, *more: str) -> tuple[str, ...]:
    suite = ("--suite", "questions:questions.yaml", "--tools", "builtin:calculator", "--from", str(start))
    return ("improve", *suite, "--out", "out", "--minutes", "0.1", "--samples", "2", "--workers", "1", *more)


def test_rounds_are_sampled_trained_measured_and_resumed(
    umi: Umi, trained: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = make_command(trained()[0])
    done = umi(*command, "--rounds", "1")
    assert done.code == 0, done.err
    assert "Round 1: 2 of 4 runs were right, for 1 of 2 tasks; trained on 1." in done.out
    assert done.out.index("before") < done.out.index("round 1") < done.out.index("All calls exact")
    settings = load_settings(Path("out/agent.yaml"))
    assert (settings.models, settings.tools) == ("hf:out/round-1/checkpoint", ["builtin:calculator"])
    (right,) = Path("out/round-1/right.jsonl").read_text().splitlines()
    assert json.loads(right)["trajectory"]["turns"][0]["instruction"] == "How much is 2 + 3?"
    sources = json.loads(Path("out/round-1/data/report.json").read_text())["settings"]["sources"]
    assert [source.partition(":")[0] for source in sources] == ["own", "world", "builtin"]

    written = Path("out/round-1/checkpoint/umi.json").stat().st_mtime_ns
    again = umi(*command, "--rounds", "2")
    assert again.code == 0, again.err
    assert "Round 2: 2 of 4 runs were right" in again.out
    assert Path("out/round-1/checkpoint/umi.json").stat().st_mtime_ns == written
    cards = [json.loads(Path(f"out/round-{n}/checkpoint/umi.json").read_text()) for n in (1, 2)]
    assert cards[0] != cards[1]
    other = umi(*command[:-2], "--samples", "3")
    assert other.code == 2
    assert "samples was 2, is 3" in other.err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--suite", "gsm"), "Unknown suite 'gsm'"),
        (("--suite", "questions:none.yaml"), "none.yaml"),
        (("--only", "cook"), "'cook' is no role"),
        (("--from", "nothing"), "There is no model 'nothing'"),
    ],
)
def test_what_cannot_be_improved_is_said(
    umi: Umi, trained: Callable[..., Any], more: tuple[str, ...], said: str
) -> None:
    done = umi(*make_command(trained()[0]), *more)
    assert done.code == 2
    assert said in " ".join(done.err.replace("│", " ").split())


def test_nothing_right_is_nothing_to_learn(umi: Umi, trained: Callable[..., Any]) -> None:
    Path("questions.yaml").write_text(QUESTIONS.replace("answer: 5", "answer: 7"))
    done = umi(*make_command(trained()[0]))
    assert done.code == 2
    assert "None of 4 runs was right" in done.err
    assert not Path("out/round-1/checkpoint").exists()
