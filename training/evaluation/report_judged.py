"""The report's sections about live evaluations with tools that answer, beside the paper's Table 2."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from alpha_umi.files import write_atomically
from alpha_umi.training.evaluation.live_scores import SHARES
from alpha_umi.training.evaluation.page import Block, Section, Table, Text, render_markdown
from alpha_umi.training.evaluation.runs import TITLES, Run, load_runs, number_interval, percent, percent_interval
from alpha_umi.training.evaluation.table2 import GROUPS, SOURCE, TABLE_2, LiveRow
from alpha_umi.training.evaluation.tasks import COSTS

PAGE = "live.md"
SHARE_TITLES = {
    "passed": "Pass",
    "unsure": "Unsure",
    "won": "Win",
    "solved": "Solved",
    "completeness": "Completeness",
    "call_accuracy": "Call accuracy",
    "answered": "Answered",
}


def write_page(out: Path) -> None:
    """Write ``live.md`` beside the metrics of a live evaluation."""
    text = render_markdown("Live evaluation", list(make_live_sections(load_runs([out]))))
    with write_atomically(out / PAGE) as file:
        file.write(text)


def make_live_sections(runs: Sequence[Run]) -> Iterator[Section]:
    """Yield what is said of live evaluations; nothing if there are none."""
    if not runs:
        return
    yield Section("Live queries", _describe(runs))
    if any(group in GROUPS for run in runs for group in run.metrics["by_group"]):
        yield Section("Beside the paper's Table 2", _compare_with_paper(runs))


def _describe(runs: Sequence[Run]) -> list[Block]:
    shares = [name for name in SHARES if any(run.metrics["overall"][name]["n"] for run in runs)]
    rows = [
        [run.name, group, f"{measured['answered']['n']:,}", *(percent_interval(measured[name]) for name in shares)]
        for run in runs
        for group, measured in list_groups(run.metrics)
    ]
    names = list(dict.fromkeys(name for run in runs for name in run.metrics["ends"]))
    ends = [[run.name, *(f"{run.metrics['ends'].get(name, 0):,}" for name in names)] for run in runs]
    costs = [[run.name, *(number_interval(run.metrics["overall"][name]) for name in COSTS)] for run in runs]
    return [
        Text(
            "Pass: the judge calls the query solved. Unsure: it cannot tell; not passed. Win: preferred to the "
            "reference, ties count half. Solved: an exact checker found every needed call, no other, and an answer. "
            "Completeness: share of the needed calls that were made. Call accuracy: share of the calls made that were "
            "needed. Answered: with any answer. In brackets the 95% bootstrap interval over queries."
        ),
        Table(("run", "group", "queries", *(f"{SHARE_TITLES[name]} (%)" for name in shares)), rows, n_labels=2),
        Text("How the runs ended:"),
        Table(("run", *names), ends),
        Text("Cost per query:"),
        Table(("mean", *(TITLES[name] for name in COSTS)), costs),
    ]


def list_groups(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield name and metrics of each group, then of all together if there are several."""
    for group, measured in metrics["by_group"].items():
        yield GROUPS.get(group, group), measured
    if len(metrics["by_group"]) > 1:
        yield "all", metrics["overall"]


def _compare_with_paper(runs: Sequence[Run]) -> list[Block]:
    header = ("pass / win, %", *GROUPS.values(), "Average")
    ours = [[run.name, *_list_ours(run.metrics)] for run in runs]
    theirs = [[row.model, *_list_theirs(row)] for row in TABLE_2]
    return [
        Text(
            f"Our runs are marked; the other rows are {SOURCE}, which were judged by another model with other prompts "
            "and on the live APIs of 2023; a win there is one over ChatGPT-ReACT. Averages are over groups."
        ),
        Table(header, [*ours, *theirs], marked=frozenset(range(len(ours)))),
    ]


def _list_ours(metrics: Mapping[str, Any]) -> Iterator[str]:
    for group in GROUPS:
        measured = metrics["by_group"].get(group)
        yield _pair(*(measured[name]["value"] for name in ("passed", "won"))) if measured else "–"
    has_all = metrics["by_group"].keys() == GROUPS.keys()
    yield _pair(metrics["average"]["passed"], metrics["average"]["won"]) if has_all else "–"


def _list_theirs(row: LiveRow) -> Iterator[str]:
    for i in range(len(GROUPS)):
        yield _pair(*(rates[i] / 100 if rates else None for rates in (row.passed, row.won)))
    yield _pair(row.average_passed / 100, None if row.average_won is None else row.average_won / 100)


def _pair(passed: float | None, won: float | None) -> str:
    return f"{percent(passed)} / {percent(won)}"
