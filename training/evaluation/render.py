"""How results look: numbers, plain tables for the terminal, and a report of blocks as an HTML page or as Markdown.

All text in a block is plain: the templates escape it, so that nothing a model wrote can become markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar, TypeAlias

from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.console import Console
from rich.table import Table as TextTable
from rich.text import Text

from alpha_umi.nodes.format.render import render_calls
from alpha_umi.nodes.format.trajectory import Trajectory

TITLES = {
    "step_acc": "Step ACC",
    "plan_acc": "Plan ACC",
    "act_em": "Act. EM",
    "hallu": "Hallu.",
    "arg_f1": "Arg. F1",
    "call_em": "Call EM",
    "rouge_l": "R-L",
    "success": "Success",
    "solved": "Solved",
    "refused": "Refused",
    "gave_up_wrongly": "Gave up wrongly",
    "single_exact": "One call: exact",
    "parts_right": "2–3 calls: all exact and answer right",
    "nothing_fits_refused": "Nothing fits: given up",
    "false_refusal": "False refusals",
    "tools_exact": "All tools right",
    "calls_exact": "All calls exact",
    "wrong_effect": "Wrong effect",
    "passed": "Pass",
    "unsure": "Unsure",
    "won": "Win",
    "completeness": "Completeness",
    "call_accuracy": "Call accuracy",
    "answered": "Answered",
    "steps": "Steps",
    "calls": "Calls",
    "input_tokens": "Input tokens",
    "cached_tokens": "of these cached",
    "output_tokens": "Output tokens",
    "seconds": "Seconds",
}
"""How each metric is called."""


def percent(share: float | None, digits: int = 1) -> str:
    """Write a share as a percentage, without the sign."""
    return "–" if share is None else f"{100 * share:.{digits}f}"


def interval(measured: Mapping[str, Any]) -> str:
    """Write the interval of an estimated share."""
    return "–" if measured["low"] is None else f"[{percent(measured['low'])}, {percent(measured['high'])}]"


def percent_interval(measured: Mapping[str, Any]) -> str:
    """Write an estimated share with its interval."""
    value = percent(measured["value"])
    return value if measured["low"] is None else f"{value}\n{interval(measured)}"


def number(value: float | None) -> str:
    """Write a mean that is no share."""
    return "–" if value is None else f"{value:,.1f}"


def number_interval(measured: Mapping[str, Any]) -> str:
    """Write an estimated mean that is no share with its interval."""
    value = number(measured["value"])
    return value if measured["low"] is None else f"{value}\n[{measured['low']:,.1f}, {measured['high']:,.1f}]"


def render_columns(rows: Iterable[Sequence[str]], widths: Sequence[int]) -> str:
    """Return rows as a plain table: the first column to the left, the others to the right, at least so wide."""
    table = TextTable(box=None, show_header=False, padding=(0, 0, 0, 1), pad_edge=False)
    for i, width in enumerate(widths):
        table.add_column(justify="right" if i else "left", min_width=width - bool(i), no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console(width=1000, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def render_transcript(trajectory: Trajectory) -> str:
    """Tell what happened, one line for each text that somebody wrote."""
    lines = []
    for turn in trajectory.turns:
        lines.append(f"user: {turn.instruction}")
        for step in turn.steps:
            lines.append(f"planner: {step.rationale} Next: {step.decision}.")
            for call in step.calls:
                lines.append(f"caller: {' '.join(render_calls([call]).split())}")
                lines.append(f"observation: {call.observation.text if call.observation else '(none)'}")
            if step.answer is not None:
                lines.append(f"summarizer: {step.answer}")
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Some sentences."""

    kind: ClassVar[str] = "paragraph"
    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table of labels followed by numbers; what follows a line break in a cell is a remark on what precedes it.

    Args:
        header: One title per column.
        rows: As many cells each.
        n_labels: How many of the columns are labels.
        marked: Indices of rows to highlight.
        heat: Per row and column how strongly a cell is tinted, in [0, 1]; empty for no tint.
    """

    kind: ClassVar[str] = "table"
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    n_labels: int = 1
    marked: frozenset[int] = frozenset()
    heat: Sequence[Sequence[float]] = ()


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture: its file name without ending, for the Markdown report, trusted markup, and what is seen."""

    kind: ClassVar[str] = "figure"
    name: str
    svg: str
    caption: str


@dataclass(frozen=True, slots=True)
class Details:
    """One example to read: a title of one line and named texts, in the page folded away unless `open`."""

    kind: ClassVar[str] = "details"
    title: str
    fields: Sequence[tuple[str, str]]
    open: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """What was typed to make a run: its name and the line."""

    kind: ClassVar[str] = "command"
    run: str
    line: str


Block: TypeAlias = Paragraph | Table | Figure | Details | Command


@dataclass(frozen=True, slots=True)
class Section:
    """A headline and what is under it."""

    title: str
    blocks: Sequence[Block] = field(default_factory=list)


def render_html(title: str, sections: Sequence[Section]) -> str:
    """Return the page; style sheet and pictures are part of it, and it asks for nothing from outside."""
    return _load_templates().get_template("page.html.jinja").render(title=title, sections=sections)


def render_markdown(title: str, sections: Sequence[Section]) -> str:
    """Return the report as Markdown; its figures are expected in the folder ``figures``."""
    return _load_templates().get_template("page.md.jinja").render(title=title, sections=sections)


@cache
def _load_templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("alpha_umi.training.evaluation", "templates"),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "plain": _escape_markdown,
        "fence": _make_fence,
        "slug": lambda title: re.sub(r"\W+", "-", title.lower()).strip("-"),
    }
    return environment


def _escape_markdown(text: str) -> str:
    """Return a text as one line of Markdown that means nothing but itself."""
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", " ".join(text.split()))


def _make_fence(text: str) -> str:
    """Return more backticks than the text holds itself."""
    return "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
