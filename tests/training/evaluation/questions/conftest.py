"""A garage with three tools, of which one has effects."""

from collections.abc import Callable
from pathlib import Path

import pytest
from langchain_core.tools import BaseTool

from alpha_umi.tools import declare_effects
from alpha_umi.tools.convert import spec_from_tool
from alpha_umi.tools.load import load_tools
from alpha_umi.training.evaluation.questions import QuestionFile, load_questions

Load = Callable[[str], QuestionFile]


@declare_effects("none")
def find_slot(day: str, minutes: int = 30) -> str:
    """Find a free slot.

    Args:
        day: The day.
        minutes: How long.
    """
    return f"9:30 is free on {day} for {minutes} minutes."


@declare_effects("none")
def list_prices() -> str:
    """List the prices."""
    return "Oil 60, tyres 240."


def book_slot(day: str, time: str, notes: list[str] | None = None) -> str:
    """Book a slot.

    Args:
        day: The day.
        time: The time.
        notes: What to do.
    """
    raise AssertionError("a tool with effects ran")


@pytest.fixture
def tools() -> list[BaseTool]:
    return load_tools([find_slot, list_prices, book_slot])


@pytest.fixture
def load(tmp_path: Path, tools: list[BaseTool]) -> Load:
    """Read a text as a file of questions."""

    def read(text: str) -> QuestionFile:
        path = tmp_path / "questions.yaml"
        path.write_text(text, encoding="utf-8")
        return load_questions(path, [spec_from_tool(tool) for tool in tools])

    return read
