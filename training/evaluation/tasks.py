"""`alpha-umi eval tasks`: the live agent on tasks with known answers, without teacher forcing.

Knows nothing about graphs: whoever calls it brings the agent as a function from task to outcome.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from rich.console import Console

from alpha_umi.errors import ConfigError, ContextOverflow
from alpha_umi.nodes.format.trajectory import Trajectory
from alpha_umi.progress import make_progress
from alpha_umi.training.data.files import Record
from alpha_umi.training.evaluation.bootstrap import estimate
from alpha_umi.training.evaluation.folder import ResultFolder
from alpha_umi.training.evaluation.parallel import run_parallel
from alpha_umi.training.evaluation.records import Usage
from alpha_umi.training.evaluation.suites import Task

OUTCOMES = "outcomes.jsonl"
SCORES = ("success", "solved", "refused", "gave_up_wrongly")
COSTS = ("steps", "calls", "input_tokens", "cached_tokens", "output_tokens", "seconds")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the agent did with one task.

    Args:
        trajectory: All turns; a task is given up if the last step says so.
        usage: Tokens of all its model calls.
        finish: Why it stopped, as the graph says it.
    """

    trajectory: Trajectory
    usage: Usage
    finish: str | None = None

    @property
    def answer(self) -> str | None:
        """The last answer; None if the agent gave up or never came to one."""
        steps = self.trajectory.turns[-1].steps if self.trajectory.turns else ()
        return steps[-1].answer if steps and steps[-1].decision == "conclusion" else None

    @property
    def gave_up(self) -> bool:
        """Whether the agent said that it cannot do it."""
        steps = self.trajectory.turns[-1].steps if self.trajectory.turns else ()
        return bool(steps) and steps[-1].decision == "give up"


Ask: TypeAlias = Callable[[Task], Outcome]


def evaluate_tasks(
    ask: Ask,
    tasks: Sequence[Task],
    out: Path,
    *,
    identity: Mapping[str, Any],
    n_workers: int = 1,
    console: Console | None = None,
) -> dict[str, Any]:
    """Run the agent on every task, write ``outcomes.jsonl`` and ``metrics.json``, and return the metrics.

    A run that was killed goes on where it was; so does one with more tasks of the same suite.

    Args:
        ask: Runs the agent on one task.
        tasks: With unique ids.
        out: Folder to write into.
        identity: What the outcomes depend on: models, suite, seed, settings of the agent. Outcomes of others in the
            same folder are refused.
        n_workers: How many tasks run at the same time; models write for them together. ``seconds`` are then those of
            a task among others.
        console: Where progress is shown.

    Raises:
        ConfigError: If the folder holds results with other settings, or of other tasks.
    """
    with ResultFolder(out, OUTCOMES, {"kind": "tasks", **identity}) as folder, make_progress(console) as progress:
        _check_questions(folder.rows, tasks, out)
        todo = [task for task in tasks if task.id not in folder.rows]
        bar = progress.add_task("tasks", total=len(tasks), completed=len(tasks) - len(todo))
        for row in run_parallel(partial(_run, ask), todo, n_workers):
            folder.append([row])
            progress.advance(bar)
        metrics = score_tasks([folder.rows[task.id] for task in tasks])
        folder.write_metrics(metrics)
    return metrics


def _check_questions(rows: Mapping[str, Record], tasks: Sequence[Task], out: Path) -> None:
    """Refuse outcomes of tasks that had the same ids, as those of another version of the suite have."""
    for task in tasks:
        question = _describe(task)
        if task.id in rows and any(rows[task.id][name] != value for name, value in question.items()):
            raise ConfigError(f"{out} holds the outcome of another task {task.id!r}; choose another folder.")


def _describe(task: Task) -> Record:
    expected = None if task.expected is None else list(task.expected)
    return {"key": task.id, "kind": task.kind, "instructions": list(task.instructions), "expected": expected}


def _run(ask: Ask, task: Task) -> Record:
    started = time.perf_counter()
    error = None
    try:
        outcome = ask(task)
    except ContextOverflow as overflow:
        outcome, error = Outcome(Trajectory((), ()), Usage()), str(overflow)
    seconds = time.perf_counter() - started
    steps = [step for turn in outcome.trajectory.turns for step in turn.steps]
    return {
        **_describe(task),
        "success": outcome.gave_up if task.expected is None else task.is_answered_by(outcome.answer),
        "gave_up": outcome.gave_up,
        "answer": outcome.answer,
        "finish": outcome.finish,
        "steps": len(steps),
        "calls": sum(len(step.calls) for step in steps),
        "seconds": round(seconds, 3),
        **asdict(outcome.usage),
        "error": error,
        "trajectory": outcome.trajectory.to_row(),
    }


def score_tasks(rows: Sequence[Record], *, n_resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Return ``metrics.json`` of a live run.

    - ``success``: share of all tasks that ended as they should.
    - ``solved``: share of tasks with an answer that were answered rightly.
    - ``refused``: share of tasks without an answer that were given up.
    - ``gave_up_wrongly``: share of tasks with an answer that were given up.
    - ``steps``, ``calls``, ``…_tokens``, ``seconds``: means per task.
    """
    groups: defaultdict[str, list[Record]] = defaultdict(list)
    for row in rows:
        groups[row["kind"]].append(row)

    def describe(some: Iterable[Record]) -> dict[str, Any]:
        table = [(row["key"], score_row(row)) for row in some]
        return {
            name: asdict(
                estimate(
                    [(key, values[name]) for key, values in table if name in values],
                    n_resamples=n_resamples,
                    seed=seed,
                )
            )
            for name in (*SCORES, *COSTS)
        }

    return {
        "kind": "tasks",
        "n_tasks": len(rows),
        "n_overflowed": sum(row["error"] is not None for row in rows),
        "n_step_limit": sum(row["finish"] == "step limit" for row in rows),
        "strict": describe(rows),
        "by_kind": {kind: describe(some) for kind, some in sorted(groups.items())},
    }


def score_row(row: Record) -> dict[str, float]:
    """Return what one outcome adds to each metric; one that does not apply is absent."""
    values = {name: float(row[name]) for name in COSTS} | {"success": float(row["success"])}
    if row["expected"] is None:
        return values | {"refused": float(row["success"])}
    return values | {"solved": float(row["success"]), "gave_up_wrongly": float(row["gave_up"])}
