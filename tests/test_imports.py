"""What an import loads: nothing that costs seconds or needs an extra, until it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "peft", "openai", "pint", "matplotlib", "mcp", "langgraph_api", "nicegui")
STEPS = [
    ("import alpha_umi.cli", (*HEAVY, "langgraph", "langchain_core", "pydantic")),
    ("import alpha_umi", HEAVY),
    ("import alpha_umi.nodes.format.render, alpha_umi.nodes.format.parsing", HEAVY),
    ("import alpha_umi.nodes.models.engine.checkpoint, alpha_umi.nodes.models.engine.weights", HEAVY),
    ("import alpha_umi.nodes.models.local", HEAVY),
    ("from alpha_umi.nodes.models.specs import load_models; load_models('hf:smollm2-135m')", HEAVY),
    (
        "from alpha_umi.tools import load_tools; load_tools(['builtin:calendar'])",
        (*HEAVY, "alpha_umi.tools.builtin.calculator", "alpha_umi.tools.builtin.convert_units"),
    ),
    ("import alpha_umi.graph.config, alpha_umi.graph.embed", HEAVY),
    ("import alpha_umi.graph.agent", tuple(name for name in HEAVY if name != "pint")),  # it has the builtin tools
]


@pytest.fixture(scope="module")
def loaded() -> dict[str, str]:
    """What each statement has loaded, one after the other in one interpreter."""
    code = "import sys\n" + "\n".join(
        f"{statement}\nprint(*sorted(set({heavy}) & set(sys.modules)))" for statement, heavy in STEPS
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return dict(zip((statement for statement, _ in STEPS), done.stdout.splitlines(), strict=True))


@pytest.mark.parametrize("statement", [statement for statement, _ in STEPS])
def test_import_loads_nothing_heavy(statement: str, loaded: dict[str, str]) -> None:
    assert loaded[statement] == ""
