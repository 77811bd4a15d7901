"""The project that `alpha-umi new` writes works as it stands, but for the weights, which a script replaces here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from langgraph_sdk import get_client

from benchmarks.load import run_server
from tests.cli.conftest import Umi

SCRIPT = {
    "planner": ["I count.\nNext: caller.", "Done.\nNext: conclusion."],
    "caller": ['Action: count_stock\nAction Input: {"item": "nuts"}'],
    "summarizer": ["There are 310 nuts."],
}


@pytest.fixture
def project(umi: Umi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new project, as working directory, whose agent replays a script."""
    done = umi("new", str(tmp_path / "my-agent"))
    assert done.code == 0, done.err
    monkeypatch.chdir(tmp_path / "my-agent")
    monkeypatch.delitem(sys.modules, "my_tools", raising=False)
    Path("script.yaml").write_text(yaml.safe_dump(SCRIPT))
    settings = yaml.safe_load(Path("agent.yaml").read_text()) | {"models": "scripted:script.yaml"}
    Path("agent.yaml").write_text(yaml.safe_dump(settings))
    return Path.cwd()


def test_every_file_is_told_and_names_the_project(umi: Umi, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "shop-agent"
    done = umi("new", str(folder))
    assert done.code == 0, done.err
    written = {str(path) for path in folder.rglob("*") if path.is_file()}
    assert written == set(done.out.splitlines()[:-1])
    assert {Path(path).name for path in written} >= {"my_tools.py", "agent.yaml", "langgraph.json", ".gitignore"}
    texts = [Path(path).read_text() for path in written]
    assert sum("shop-agent" in text for text in texts) >= 4
    assert not any("{{" in text for text in texts)


@pytest.mark.parametrize("name", ["my agent:2", "1st", "-x-", "a\nb"])
def test_a_name_that_no_file_could_hold_is_refused(umi: Umi, tmp_path: Path, name: str) -> None:
    done = umi("new", str(tmp_path / name))
    assert done.code == 2
    assert "cannot name a project" in done.err
    assert not [*tmp_path.iterdir()]


def test_nothing_is_overwritten(umi: Umi, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert umi("new", str(tmp_path / "mine")).code == 0  # an empty folder is as good as none
    (tmp_path / "mine" / "agent.yaml").write_text("models: openai:x\n")
    (tmp_path / "file").touch()
    for name in ("mine", "file"):
        done = umi("new", str(tmp_path / name))
        assert done.code == 2
        assert "nothing is overwritten" in done.err
    assert (tmp_path / "mine" / "agent.yaml").read_text() == "models: openai:x\n"


def test_its_test_passes(project: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_it_answers_and_its_questions_and_sheets_can_be_used(umi: Umi, project: Path) -> None:
    asked = umi("ask", "--model", "agent.yaml", "Do we have nuts?", "--json")
    assert json.loads(asked.out)["answer"] == "There are 310 nuts."
    checked = umi("check", "--model", "agent.yaml", "--questions", "questions.yaml", "--json")
    assert checked.code == 0, checked.err
    told = json.loads(checked.out)["questions"]
    assert [each["right"] for each in told] == [True, False, False, False, False, False]
    sheets = umi("sheet", "check", "sheets")
    assert sheets.code == 0, sheets.err
    assert "3 tools can be used. Faults: 0, warnings: 0." in sheets.out


@pytest.mark.slow
async def test_it_is_served(project: Path) -> None:
    question: Any = {"messages": [{"role": "user", "content": "Do we have nuts?"}]}
    with run_server(project, environment={}) as server:
        async with get_client(url=server.url) as client:
            thread = await client.threads.create()
            result: Any = await client.runs.wait(thread["thread_id"], "agent", input=question)
    assert result["answer"] == "There are 310 nuts."
