"""The report's sections about live tasks and data scaling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from alpha_umi.training.data.files import read_records
from alpha_umi.training.evaluation.cases import make_task_cases
from alpha_umi.training.evaluation.page import Figure, Section, Table, Text
from alpha_umi.training.evaluation.runs import TITLES, Run, number_interval, percent_interval
from alpha_umi.training.evaluation.scaling import SCALING_METRICS, draw_scaling
from alpha_umi.training.evaluation.tasks import COSTS, OUTCOMES, SCORES

N_CASES = 10


def make_task_sections(runs: Sequence[Run]) -> Iterator[Section]:
    """Yield what is said of live runs; nothing if there are none."""
    if not runs:
        return
    yield Section(
        "Live tasks",
        [
            Text(
                "The agent runs on its own and its last answer is checked exactly. Solved: of the tasks that have an "
                "answer. Refused: of those that have none. Gave up wrongly: of the tasks that have an answer."
            ),
            Table(
                ("%", "tasks", *(TITLES[name] for name in SCORES)),
                [[run.name, f"{run.metrics['n_tasks']:,}", *_list_scores(run.metrics["strict"])] for run in runs],
            ),
            Text("Cost per task:"),
            Table(
                ("mean", *(TITLES[name] for name in COSTS)),
                [[run.name, *(number_interval(run.metrics["strict"][name]) for name in COSTS)] for run in runs],
            ),
        ],
    )
    yield Section("Live tasks by kind", [_list_kinds(runs)])
    for run in runs:
        rows = [row for _, row in read_records(run.path / OUTCOMES)]
        yield Section(f"Failed tasks of {run.name}", make_task_cases(rows, N_CASES) or [Text("No task failed.")])


def _list_scores(measured: Mapping[str, Any]) -> Iterator[str]:
    return (percent_interval(measured[name]) for name in SCORES)


def _list_kinds(runs: Sequence[Run]) -> Table:
    rows = [
        [
            run.name,
            kind,
            f"{group['success']['n']:,}",
            percent_interval(group["success"]),
            number_interval(group["calls"]),
        ]
        for run in runs
        for kind, group in run.metrics["by_kind"].items()
    ]
    return Table(("run", "kind", "tasks", "Success (%)", "Calls"), rows, n_labels=2)


def make_scaling_sections(runs: Sequence[Run]) -> Iterator[Section]:
    """Yield one section per scaling run."""
    for i, run in enumerate(runs):
        points = run.metrics["points"]
        figures = [
            Figure(f"scaling-{i}-{name}", draw_scaling(points, name, title), f"{title}, strict definition.")
            for name, title in SCALING_METRICS.items()
        ]
        intro = (
            "Each point is a checkpoint trained on that share of the data; bands are 95% intervals over trajectories."
        )
        yield Section(f"Data scaling: {run.name}", [Text(intro), *figures])
