"""`alpha-umi teach` from end to end, with a tiny checkpoint of random weights and tools that exist."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from alpha_umi.graph.config import load_settings
from alpha_umi.nodes.models.engine.scheduler import close_engines
from tests.cli.conftest import Umi
from tests.training import conftest as training

base, make_config, trained, data = training.base, training.make_config, training.trained, training.data

TOOLS = '''
from alpha_umi import declare_effects

@declare_effects("none")
def count_parts(part: str) -> int:
    """Count a part."""
    open("counted.txt", "a").write(part)
    return 7

def order_part(part: str, pieces: int) -> str:
    """Order pieces of a part."""
    open("ordered.txt", "a").write(part)
    return "ordered"

TOOLS = [count_parts, order_part]
'''
SHEETS = """
domain: workshop
tools:
- tool: workshop_tools:TOOLS#count_parts
  parameters: {part: {from: [saddle, chain, bell], what: which part}}
  ask: ["How many {part}?", "Count the {part}.", "Is there any {part} left?", "stock {part}"]
  cannot: count parts
  answer: "{reply} pieces."
- tool: workshop_tools:TOOLS#order_part
  parameters:
    part: {from: [saddle, chain, bell], what: which part}
    pieces: {from: int 2..60, what: how many}
  ask: ["Order {pieces} {part}.", "Get us {pieces} {part}.", "We need {pieces} {part}.", "Buy {pieces} {part} now."]
  cannot: order parts
  reply: "{pieces} {part} are ordered."
"""


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A working directory with tools and their sheets; little data are made."""
    (tmp_path / "workshop_tools.py").write_text(TOOLS)
    (tmp_path / "sheets").mkdir()
    (tmp_path / "sheets" / "workshop.yaml").write_text(SHEETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("alpha_umi.training.further.teach._FEWEST", 24)
    yield
    close_engines()


def test_tools_are_taught_and_the_agent_can_be_asked(umi: Umi, trained: Callable[..., Any]) -> None:
    lesson = ("teach", "--sheets", "sheets", "--out", "agent", "--from", str(trained()[0]), "--minutes", "0.1")
    done = umi(*lesson, "--tasks", "3")
    assert done.code == 0, done.err
    assert "3 tasks in words that training never saw" in done.out
    assert done.out.index("before") < done.out.index("after") < done.out.index("All calls exact")
    assert "alpha-umi ask --model agent/agent.yaml" in done.out
    assert Path("counted.txt").read_text()
    assert not Path("ordered.txt").exists()

    settings = load_settings(Path("agent/agent.yaml"))
    assert (settings.models, settings.tools) == ("hf:agent/checkpoint", ["workshop_tools:TOOLS"])
    asked = umi("ask", "How many bell?", "--model", "agent/agent.yaml", "--json", "--yes", "--max-steps", "1")
    assert asked.code in (0, 3), asked.err
    assert yaml.safe_load(asked.out)["tools"]

    written = Path("agent/checkpoint/umi.json").stat().st_mtime_ns
    again = umi(*lesson, "--tasks", "3")
    assert (again.code, Path("agent/checkpoint/umi.json").stat().st_mtime_ns) == (0, written)
    other = umi(*lesson[:-1], "0.2", "--tasks", "3")
    assert other.code == 2
    assert "minutes was 0.1, is 0.2" in other.err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"--only": "cook"}, "'cook' is no role; write planner, caller, summarizer"),
        ({"--from": "nothing"}, "There is no model 'nothing'"),
        ({"--sheets": "none"}, "none"),
        ({"--minutes": "0"}, "--minutes"),
    ],
)
def test_what_cannot_be_taught_is_said_and_nothing_is_written(
    umi: Umi, trained: Callable[..., Any], changes: dict[str, str], said: str
) -> None:
    options = {"--sheets": "sheets", "--out": "agent", "--from": str(trained()[0]), "--tasks": "0"} | changes
    done = umi("teach", *(word for pair in options.items() for word in pair))
    assert done.code == 2
    assert said in " ".join(done.err.replace("│", " ").split())
    assert not Path("agent").exists()
