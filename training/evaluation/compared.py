"""Our figures beside those that others have published."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from alpha_umi.training.evaluation.metrics.published import (
    PAPER_METRICS,
    LiveRow,
    load_peers,
    load_table_1,
    load_table_2,
)
from alpha_umi.training.evaluation.render import Block, Paragraph, Table, percent, percent_interval
from alpha_umi.training.evaluation.result_folder import FinishedRun


def compare_with_table_1(runs: Sequence[FinishedRun]) -> list[Block]:
    """Return static runs beside the paper's Table 1."""
    paper = load_table_1()
    ours = [[run.name, *(percent(run.metrics["paper"][name], 2) for name in PAPER_METRICS)] for run in runs]

    def table(rows: Iterable[tuple[str, Sequence[float]]]) -> Table:
        theirs = [[model, *(f"{score:.2f}" for score in scores)] for model, scores in rows]
        return Table(("%", *paper.columns.values()), [*ours, *theirs], marked=frozenset(range(len(ours))))

    return [
        Paragraph(
            f"The definition \u201cpaper\u201d: the arithmetic of the published scripts. Our runs are marked; the "
            f"other rows are {paper.source}. Numbers are comparable where the test data are the same. Lower is better "
            "for Hallu., higher for all others."
        ),
        Paragraph("ToolBench, in-domain:"),
        table((row.model, row.in_domain) for row in paper.rows),
        Paragraph("ToolBench, out-of-domain:"),
        table((row.model, row.out_of_domain) for row in paper.rows),
    ]


def compare_with_peers(runs: Sequence[FinishedRun]) -> list[Block]:
    """Return runs on tasks beside other models of this size."""
    peers = load_peers()
    ours = [[run.name, *(percent_interval(run.metrics["strict"][name]) for name in peers.columns)] for run in runs]
    theirs = [[row.model, *("–" if share is None else f"{share:.1f}" for share in row.shares)] for row in peers.rows]
    return [
        Paragraph(
            f"Our runs are marked; the other rows are from {peers.source}. The kinds of questions correspond, the "
            "questions do not: this says how hard such questions are for models of this size, not which one is better. "
            "Of ours, several calls are right only if the answer is right too."
        ),
        Table(("%", *peers.columns.values()), [*ours, *theirs], marked=frozenset(range(len(ours)))),
    ]


def compare_with_table_2(runs: Sequence[FinishedRun]) -> list[Block]:
    """Return live runs beside the paper's Table 2."""
    paper = load_table_2()
    ours = [[run.name, *_list_rates(run.metrics, paper.columns)] for run in runs]
    theirs = [[row.model, *_list_published_rates(row, len(paper.columns))] for row in paper.rows]
    header = ("pass / win, %", *paper.columns.values(), "Average")
    return [
        Paragraph(
            f"Our runs are marked; the other rows are {paper.source}, which were judged by another model with other "
            "prompts and on the live APIs of 2023; a win there is one over ChatGPT-ReACT. Averages are over groups."
        ),
        Table(header, [*ours, *theirs], marked=frozenset(range(len(ours)))),
    ]


def _list_rates(metrics: Mapping[str, Any], groups: Collection[str]) -> Iterator[str]:
    for group in groups:
        measured = metrics["by_group"].get(group)
        yield _pair(*(measured[name]["value"] for name in ("passed", "won"))) if measured else "–"
    has_all = metrics["by_group"].keys() == set(groups)
    yield _pair(metrics["average"]["passed"], metrics["average"]["won"]) if has_all else "–"


def _list_published_rates(row: LiveRow, n_groups: int) -> Iterator[str]:
    for i in range(n_groups):
        yield _pair(*(rates[i] / 100 if rates else None for rates in (row.passed, row.won)))
    yield _pair(row.average_passed / 100, None if row.average_won is None else row.average_won / 100)


def _pair(passed: float | None, won: float | None) -> str:
    return f"{percent(passed)} / {percent(won)}"
