"""`alpha-umi traces`: from `ask`, with scripted models, to training data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Umi

SCRIPT = {
    "planner": ["I add.\nNext: caller.", "Done.\nNext: conclusion."],
    "caller": ['Action: calculator\nAction Input: {"expression": "2 + 3"}'],
    "summarizer": ["5."],
}


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "script.yaml").write_text(yaml.safe_dump(SCRIPT))
    monkeypatch.setenv("ALPHA_UMI_CONFIG", str(tmp_path / "agent.yaml"))
    (tmp_path / "agent.yaml").write_text("models: scripted:script.yaml\ntools: ['builtin:calculator']\n")
    monkeypatch.chdir(tmp_path)


def read_ids() -> list[str]:
    return [json.loads(line)["id"] for line in Path("traces.jsonl").read_text().splitlines()]


def test_threads_and_logs_become_training_data(umi: Umi) -> None:
    done = umi("ask", "What is 2 + 3?", "--thread", "a", "--database", "threads.sqlite", "--json")
    assert done.code == 0, done.err
    Path("log.jsonl").write_text(f'{done.out}no JSON\n{{"messages": []}}\n')
    done = umi("traces", "export", "--database", "threads.sqlite", "--log", "log.jsonl", "--out", "traces.jsonl")
    assert done.code == 0, done.err
    assert done.out.startswith("2 turns of 2 traces are in traces.jsonl.")
    assert "1  trace of another agent; first: log.jsonl:3" in done.out
    assert "1  record that cannot be read; first: log.jsonl:2: not valid JSON" in done.out
    assert read_ids() == ["log-1", "thread-a"]
    built = umi("data", "build", "--source", "own:traces.jsonl", "--out", "data", "--heldout-instructions", "0")
    assert built.code == 0, built.err
    (row,) = Path("data/trajectories.jsonl").read_text().splitlines()  # both are of one task
    assert [step["calls"] != [] for step in json.loads(row)["trajectory"]["turns"][0]["steps"]] == [True, False]


def test_only_what_is_named_is_read(umi: Umi) -> None:
    for thread in ("a", "b"):
        done = umi("ask", "What is 2 + 3?", "--thread", thread, "--database", "threads.sqlite", "--json")
    Path("log.jsonl").write_text(done.out)
    assert umi("traces", "export", "--log", "log.jsonl", "--out", "traces.jsonl").code == 0
    assert read_ids() == ["log-1"]
    named = ("--thread", "b", "--thread", "c", "--database", "threads.sqlite")
    done = umi("traces", "export", *named, "--out", "traces.jsonl")
    assert "1  thread that is not there; first: thread 'c' in threads.sqlite" in done.out
    assert read_ids() == ["thread-b"]


def test_what_was_redacted_is_counted(umi: Umi) -> None:
    done = umi("ask", f"What is 2 + 3? My key is sk-{'a1' * 16}.", "--json")
    Path("log.jsonl").write_text(done.out)
    done = umi("traces", "export", "--log", "log.jsonl", "--out", "traces.jsonl")
    assert "1  trace in which secrets or personal data were redacted; first: log.jsonl:1" in done.out
    assert "a1a1" not in Path("traces.jsonl").read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--database", "none.sqlite"), "there is no such file"),
        (("--log", "none.jsonl"), "none.jsonl: no such file"),
        (("--finish", "well"), "no turn ends with 'well'; write answer, give up"),
        (("--database", "agent.yaml"), "agent.yaml"),
    ],
)
def test_what_cannot_be_read_is_said_and_nothing_is_written(umi: Umi, options: tuple[str, ...], said: str) -> None:
    done = umi("traces", "export", "--out", "traces.jsonl", *options)
    assert done.code in (1, 2)
    assert said in " ".join(done.err.replace("│", " ").split())
    assert not Path("traces.jsonl").exists()
