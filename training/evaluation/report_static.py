"""The report's sections about static runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from alpha_umi.nodes.format.trajectory import DECISIONS
from alpha_umi.training.data.files import read_records
from alpha_umi.training.evaluation.cases import make_step_cases
from alpha_umi.training.evaluation.charts import Line, Point, draw_bars, draw_lines
from alpha_umi.training.evaluation.metrics import LAST_STEP, NO_DECISION
from alpha_umi.training.evaluation.page import Block, Case, Figure, Section, Table, Text
from alpha_umi.training.evaluation.published import PAPER_METRICS
from alpha_umi.training.evaluation.records import Prediction
from alpha_umi.training.evaluation.runs import TITLES, Run, percent, percent_interval
from alpha_umi.training.evaluation.static import PREDICTIONS
from alpha_umi.training.evaluation.strict import ANSWER_THRESHOLD, FAULTS, ROLE_METRICS, STRICT_METRICS
from alpha_umi.training.evaluation.table1 import COLUMNS, SOURCE, TABLE_1, Scores

N_CASES = 10


def make_static_sections(runs: Sequence[Run]) -> Iterator[Section]:
    """Yield what is said of static runs, most wanted first; nothing if there are none."""
    if not runs:
        return
    yield Section("Beside the paper", _compare_with_paper(runs))
    yield Section("Strict metrics", _list_strict(runs))
    yield Section("Each role on its own", _list_roles(runs))
    yield Section("Decisions", [block for run in runs for block in _show_confusion(run)])
    yield Section("Who lost the step", _show_faults(runs))
    yield Section("By position in the turn", [_draw_steps(runs), _break_down(runs, "by_step", "step")])
    yield Section("By length of the prompt", [_break_down(runs, "by_length", "characters")])
    if any(len(run.metrics["by_source"]) > 1 for run in runs):
        yield Section("By source", [_break_down(runs, "by_source", "source")])
    for run in runs:
        cases = _find_cases(run)
        yield Section(f"Worst steps of {run.name}", cases or [Text("No step was lost.")])


def _compare_with_paper(runs: Sequence[Run]) -> list[Block]:
    ours = [[run.name, *(percent(run.metrics["paper"][name], 2) for name in PAPER_METRICS)] for run in runs]

    def table(rows: Sequence[tuple[str, Scores]]) -> Table:
        theirs = [[model, *(f"{score:.2f}" for score in scores)] for model, scores in rows]
        return Table(("%", *COLUMNS), [*ours, *theirs], marked=frozenset(range(len(ours))))

    return [
        Text(
            f"The definition \u201cpaper\u201d: the arithmetic of the published scripts. Our runs are marked; the "
            f"other rows are {SOURCE}. Numbers are comparable where the test data are the same. Lower is better for "
            "Hallu., higher for all others."
        ),
        Text("ToolBench, in-domain:"),
        table([(row.model, row.in_domain) for row in TABLE_1]),
        Text("ToolBench, out-of-domain:"),
        table([(row.model, row.out_of_domain) for row in TABLE_1]),
    ]


def _list_strict(runs: Sequence[Run]) -> list[Block]:
    header = ("%", *(TITLES[name] for name in STRICT_METRICS))
    rows = [[run.name, *(percent_interval(run.metrics["strict"][name]) for name in STRICT_METRICS)] for run in runs]
    return [
        Text(
            "Nothing is dropped and a missing name is a wrong one. In brackets the 95% bootstrap interval over "
            f"trajectories. Step ACC: nobody lost the step (an answer needs R-L of {ANSWER_THRESHOLD:g}). Call EM: "
            "name and all arguments are exact. An interval without width only says that all values were the same."
        ),
        Table(header, rows),
    ]


def _list_roles(runs: Sequence[Run]) -> list[Block]:
    columns = [(role, name) for role, names in ROLE_METRICS.items() for name in names]
    header = ("%", *(f"{TITLES[name.rpartition('.')[2]]}\n{role}" for role, name in columns))
    rows = [[run.name, *(percent_interval(run.metrics["roles"][role][name]) for role, name in columns)] for run in runs]
    return [
        Text("Caller and summarizer go on from the reference plan here, not from the planner's."),
        Table(header, rows),
    ]


def _show_confusion(run: Run) -> list[Block]:
    made = (*DECISIONS, NO_DECISION)
    counts = run.metrics["confusion"]
    rows, heat = [], []
    for right in DECISIONS:
        total = sum(counts[right].values())
        shares = [counts[right][name] / total if total else 0.0 for name in made]
        cells = (f"{counts[right][name]:,} ({percent(share, 0)}%)" for name, share in zip(made, shares, strict=True))
        rows.append([right, *cells])
        heat.append([0.0, *shares])
    return [
        Text(f"{run.name}: rows are the reference, columns what the planner decided."),
        Table(("", *made), rows, heat=heat),
    ]


def _show_faults(runs: Sequence[Run]) -> list[Block]:
    bars: dict[str, Mapping[str, float]] = {}
    for run in runs:
        faults = run.metrics["faults"]
        bars[run.name] = {"right": run.metrics["n_steps"] - sum(faults.values()), **faults}
    rows = [[name, *(f"{parts[part]:,}" for part in ("right", *FAULTS))] for name, parts in bars.items()]
    header = ("steps", "right", *(fault.replace(": ", ":\n") for fault in FAULTS))
    caption = (
        "Whose mistake lost the step. \u201cplanner: rationale\u201d: the decision was right, and caller or summarizer "
        "do it right from the reference plan."
    )
    return [
        Figure("faults", draw_bars(bars, title="Share of all steps"), caption),
        Table(header, rows),
    ]


def _draw_steps(runs: Sequence[Run]) -> Figure:
    lines = []
    for run in runs:
        groups = [(int(name.split()[0]), values["step_acc"]) for name, values in run.metrics["by_step"].items()]
        # one trajectory alone says nothing, and would make the line jump
        lines.append(Line(run.name, [_make_point(x, each) for x, each in groups if each["low"] is not None]))
    svg = draw_lines(lines, title="Step ACC (%)", x_title=f"step of the turn ({LAST_STEP} stands for all later ones)")
    return Figure("steps", svg, "Step ACC by position, with 95% intervals, as far as two trajectories come.")


def _make_point(x: float, measured: Mapping[str, Any]) -> Point:
    low, high = (None if measured[end] is None else 100 * measured[end] for end in ("low", "high"))
    return Point(x, 100 * measured["value"], low, high)


def _break_down(runs: Sequence[Run], key: str, title: str) -> Table:
    header = ("run", title, "steps", *(TITLES[name] for name in STRICT_METRICS))
    rows = [
        [run.name, name, f"{group['plan_acc']['n']:,}", *(percent(group[metric]["value"]) for metric in STRICT_METRICS)]
        for run in runs
        for name, group in run.metrics[key].items()
    ]
    return Table(header, rows, n_labels=2)


def _find_cases(run: Run) -> list[Case]:
    predictions = [Prediction.from_row(row) for _, row in read_records(run.path / PREDICTIONS)]
    return make_step_cases(predictions, N_CASES)
