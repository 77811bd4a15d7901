"""What the README and its companions show can be run, and what they name exists."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
import yaml

from alpha_umi.cli import main
from alpha_umi.graph.agent import graph
from alpha_umi.graph.config import load_settings
from alpha_umi.nodes.models.specs import SCHEMES

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")
PATH = re.compile(r"`((?:\w+/)+\w+\.(?:py|yaml|jinja|ipynb))`")
SCRIPT = {
    "planner": ["I look up the bolts.\nNext: caller.", "The bolts are counted.\nNext: conclusion."],
    "caller": ['Action: count_stock\nAction Input: {"item": "bolts"}'],
    "summarizer": ["There are 1200 bolts."],
}

CALCULATION: Any = {
    "planner": ["I calculate 17% of 2340.\nNext: caller.", "It is 397.8.\nNext: conclusion."],
    "caller": ['Action: calculator\nAction Input: {"expression": "17% * 2340"}'],
    "summarizer": ["397.8"],
}


def read_doc(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def list_blocks(language: str, text: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def list_python() -> tuple[str, list[str]]:
    """Return ``my_tools.py`` as the README has it saved, and the blocks that use it, in README and docs/embed.md."""
    my_tools, *blocks = list_blocks("python", README + read_doc("embed.md"))
    return my_tools, blocks


def list_commands() -> list[str]:
    """Every command line of the console blocks of all pages, without its comment."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    lines = [line for block in list_blocks("console", text) for line in block.splitlines() if line.startswith("$ ")]
    return list(dict.fromkeys(re.sub(r"\s+#.*", "", line[2:]) for line in lines))


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the README's tool and a configuration that replays a script, as working directory."""
    (tmp_path / "script.yaml").write_text(yaml.safe_dump(SCRIPT))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"models": f"scripted:{tmp_path / 'script.yaml'}"}))
    (tmp_path / "my_tools.py").write_text(list_python()[0])
    (tmp_path / "questions.yaml").write_text(
        next(block for block in list_blocks("yaml", read_doc("evaluation.md")) if "questions:" in block)
    )
    monkeypatch.setenv("ALPHA_UMI_CONFIG", str(tmp_path / "config.yaml"))
    for name in ("HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    sys.modules.pop("my_tools", None)  # each test has one of its own
    yield tmp_path
    sys.modules.pop("my_tools", None)


def test_python_blocks_run_one_after_the_other(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(workplace)
    namespace: dict[str, Any] = {}
    for block in list_python()[1]:
        code = block.replace("hf:smollm2-135m-umi", f"scripted:{workplace / 'script.yaml'}")
        exec(compile(code, "README.md", "exec", dont_inherit=True), namespace)
    assert namespace["result"]["finish"] == "answer"
    assert namespace["chain"].invoke({"question": "How many bolts?"}) == "There are 1200 bolts."
    assert namespace["ask_stock"].invoke({"query": "How many bolts?"}) == "There are 1200 bolts."
    printed = capsys.readouterr().out
    assert "answer There are 1200 bolts." in printed
    assert "[('count_stock', {'item': 'bolts'})]" in printed


@pytest.mark.slow
def test_python_blocks_pass_strict_type_checks(tmp_path: Path) -> None:
    my_tools, blocks = list_python()
    (tmp_path / "my_tools.py").write_text(my_tools)
    (tmp_path / "readme.py").write_text("\n".join(blocks))
    command = [sys.executable, "-m", "mypy", "--strict", str(tmp_path / "my_tools.py"), str(tmp_path / "readme.py")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("command", [line for line in list_commands() if line.startswith("make ")])
def test_make_targets_exist(command: str) -> None:
    done = subprocess.run([*shlex.split(command), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "command", [line for line in list_commands() if line.startswith("alpha-umi ") and "models pull" not in line]
)
def test_command_lines_run(
    command: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = shlex.split(command)
    others = (
        "ui",
        "data",
        "train",
        "teach",
        "improve",
        "traces",
        "eval",
        "hf:checkpoint",
        "sheets/",
        "my-agent/agent.yaml",
    )
    if any(word in arguments for word in others):
        arguments.append("--help")  # a server, hours, or files of somebody's own; other tests run it with a tiny model
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setattr(sys, "stdin", StringIO())
    with pytest.raises(SystemExit) as leave:
        main()
    assert leave.value.code == 0, capsys.readouterr()


def test_other_commands_are_known() -> None:
    others = [line for line in list_commands() if not line.startswith(("make ", "alpha-umi "))]
    assert {shlex.split(line)[0] for line in others} <= {
        *(".", "python3", "pip", "export"),
        "opentelemetry-instrument",  # of OpenTelemetry, which docs/tracing.md has installed
    }


def test_drawings_are_those_of_the_graph() -> None:
    drawn: dict[str, Any] = {"learn/graph.md": graph, "strategies.md": dict(graph.get_subgraphs())["dfsdt"]}
    for page, each in drawn.items():
        assert list_blocks("mermaid", read_doc(page)) == [each.get_graph().draw_mermaid()]


def test_drawing_of_the_cache_is_what_its_program_draws() -> None:
    assert run_path(str(ROOT / "docs" / "site" / "cache.py"))["draw"]() == read_doc("learn/cache.svg")


def test_yaml_block_shows_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALPHA_UMI_CONFIG", raising=False)
    (block,) = list_blocks("yaml", read_doc("configuration.md"))
    (tmp_path / "config.yaml").write_text(block)
    assert load_settings(tmp_path / "config.yaml") == load_settings()


def test_table_names_every_kind_of_role_spec() -> None:
    assert [scheme for scheme in SCHEMES if f"| `{scheme}:" not in read_doc("configuration.md")] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [page.parent / target for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text)]
    paths = [ROOT / path for path in re.findall(PATH, text)]
    assert [str(path) for path in links + paths if path.stem != "x" and not path.exists()] == []


def test_links_to_other_hosts_have_the_form_of_an_address() -> None:
    links = [link for page in PAGES for link in re.findall(r"\]\((https?:[^)]*)\)", page.read_text(encoding="utf-8"))]
    assert len(links) > 5
    assert [link for link in links if not re.fullmatch(r"https://[\w.-]+\.[a-z]+(/[\w./#%~-]*)?", link)] == []


def test_every_promise_names_a_test_that_exists() -> None:
    tables = (read_doc("reliability.md") + read_doc("approvals.md")).split("\n\n")
    promises = [row for table in tables if "| test | limits |" in table for row in table.splitlines()[2:]]
    assert len(promises) > 40
    for promise in promises:
        named = re.findall(r"`(?:tests/)?([\w/]+\.py)`", promise.split(" | ")[1])
        assert [len([*ROOT.glob(f"tests/**/{name}")]) for name in named] == [1] * max(len(named), 1), promise


ONE_QUESTION = f"""
import sys, threading

from alpha_umi import create_umi_agent
from alpha_umi.nodes.models.scripted import ScriptedChatModel, replay

agent = create_umi_agent(ScriptedChatModel(script=replay({CALCULATION!r})), ["builtin:calculator"])
called = set()

def note(frame, event, _):
    if event == "call":
        called.add(frame.f_code.co_filename)

threading.setprofile(note)
sys.setprofile(note)
answer = agent.invoke({{"messages": "What is 17% of 2340?"}})["answer"]
sys.setprofile(None)
print(answer, *called, sep="\\n")
"""


def test_contributing_names_every_file_on_the_way_of_a_question() -> None:
    done = subprocess.run([sys.executable, "-c", ONE_QUESTION], check=True, capture_output=True, text=True)
    answer, *called = done.stdout.splitlines()
    assert answer == "397.8"
    files = [path.resolve() for path in map(Path, called)]
    inside = [path.relative_to(ROOT) for path in files if path.is_relative_to(ROOT / "nodes")]
    named = re.findall(PATH, (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert len(inside) > 10
    assert {str(path) for path in inside} <= set(named)
