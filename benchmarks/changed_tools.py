"""What has to be trained again when tools change: one component, says the paper.

    python -m benchmarks.changed_tools --agent build/teach/roastery/taught/checkpoint [--minutes 5] [--out DIR]

The agent was taught the roastery's tools by `python -m benchmarks.teach roastery --minutes N`. Then two of them get
other names, an argument of a third gets another one, and a tool is new. The agent is asked as it is, and after planner,
caller or both were trained on sheets of the changed tools.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from datetime import date
from functools import wraps
from pathlib import Path
from typing import Any

from alpha_umi import declare_effects
from alpha_umi.training.evaluation.render import render_columns
from benchmarks.teach.__main__ import COLUMNS, FOLDER, ask, make_row, run_umi
from benchmarks.teach.roastery import tools as roastery

SET = "roastery"
NAMES = {"get_bean_stock": "check_green_beans", "list_orders": "find_open_orders"}
ARGUMENT = ("kilograms", "batch_kg")
RETRAINED: dict[str, tuple[str, ...]] = {
    "as it is": (),
    "planner": ("planner",),
    "caller": ("caller",),
    "planner and caller": ("planner", "caller"),
}
QUESTIONS = """
- question: We are {guests} people and want to taste coffee on {day}.
  calls: {{book_tasting: {{guests: {guests}, day: "{day}"}}}}
- question: Reserve the tasting room on {day}, {guests} seats.
  calls: {{book_tasting: {{guests: {guests}, day: "{day}"}}}}
"""
SHEET = """
- tool: benchmarks.changed_tools:TOOLS#book_tasting
  parameters:
    guests: {from: int 2..20, what: how many guests}
    day: {from: date, what: the day}
  ask:
  - "Book a tasting for {guests} on {day}."
  - "{guests} guests would like to try our coffees on {day}."
  - "A tasting on {day} for {guests} people, please."
  - "Put a cupping with {guests} visitors on {day}."
  - "Can {guests} of us come to a tasting[ on {day}]?"
  - "Tasting, {day}[, {guests} guests]"
  cannot: book a tasting
  reply: "The tasting on {day} is booked for {guests}."
"""


def rename(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Return a function that does the same under another name."""

    @wraps(function)
    def renamed(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    renamed.__name__ = renamed.__qualname__ = name
    return renamed


@declare_effects("once")
def schedule_roast(origin: roastery.Origin, roast: roastery.Roast, batch_kg: float, day: date) -> str:
    """Plan a batch for the roaster.

    Args:
        origin: Which beans.
        roast: How dark.
        batch_kg: How much, in kilograms.
        day: On which day.
    """
    return roastery.schedule_roast(origin, roast, batch_kg, day)


@declare_effects("once")
def book_tasting(guests: int, day: date) -> str:
    """Reserve the tasting room for guests.

    Args:
        guests: How many come.
        day: On which day.
    """
    return f"The tasting on {day} is booked for {guests}."


_SAME: list[Any] = [tool for tool in roastery.TOOLS if tool is not roastery.schedule_roast]
TOOLS = [
    *(rename(tool, NAMES[tool.__name__]) if tool.__name__ in NAMES else tool for tool in _SAME),
    schedule_roast,
    book_tasting,
]


def change(text: str) -> str:
    """Return sheets or questions with the names that the tools have now."""
    for old, new in NAMES.items():
        text = re.sub(rf"\b{old}\b", new, text)
    text = re.sub(rf"(?<![.\w]){ARGUMENT[0]}(?=[:}}])", ARGUMENT[1], text)
    return text.replace(f"benchmarks.teach.{SET}.tools:", "benchmarks.changed_tools:")


def write_files(out: Path) -> tuple[Path, Path]:
    """Write sheets and questions for the changed tools; return the two places."""
    sheets, questions = out / "sheets", out / "questions.yaml"
    sheets.mkdir(parents=True, exist_ok=True)
    for path in (FOLDER / SET / "sheets").glob("*.yaml"):
        (sheets / path.name).write_text(change(path.read_text("utf-8")) + SHEET, "utf-8")
    asked = change((FOLDER / SET / "questions.yaml").read_text("utf-8"))
    fresh = [QUESTIONS.format(guests=n, day=f"2027-0{n}-11") for n in (4, 6, 9)]
    questions.write_text(asked.rstrip() + "".join(fresh), "utf-8")
    return sheets, questions


def main() -> None:
    """Ask, train and ask again, and print one line for each choice of components."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.changed_tools")
    parser.add_argument(
        "--agent", type=Path, default=Path("build/teach", SET, "taught/checkpoint"), help="its checkpoint"
    )
    parser.add_argument("--minutes", type=float, default=5.0, help="of training for each choice of components")
    parser.add_argument("--out", type=Path, default=Path("build/changed-tools"), help="folder for the results")
    parser.add_argument("--workers", type=int, default=4, help="questions at the same time")
    options = parser.parse_args()
    sheets, questions = write_files(options.out)
    rows = []
    for title, roles in RETRAINED.items():
        out = options.out / title.replace(" ", "-")
        checkpoint = options.agent
        if roles:
            only = [word for role in roles for word in ("--only", role)]
            lesson = ("--from", options.agent, "--minutes", options.minutes, "--tasks", 0, *only)
            run_umi("teach", "--sheets", sheets, "--out", out / "lesson", *lesson)
            checkpoint = out / "lesson" / "checkpoint"
        tools = "benchmarks.changed_tools:TOOLS"
        rows.append(make_row(title, ask(questions, tools, f"hf:{checkpoint}", out / "asked", options.workers)))
    print(render_columns([["retrained", *COLUMNS], *rows], (22, *[8] * len(COLUMNS))))


if __name__ == "__main__":
    main()
