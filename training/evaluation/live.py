"""`alpha-umi eval live`: the agent on queries whose tools really answer, judged by checkers and by a model.

OUT/outcomes.jsonl       one line per query
OUT/answers/GROUP.json   the same in ToolBench's converted-answer format
OUT/trees/GROUP/ID.json  the whole search, where the strategy exports it
OUT/pass, OUT/win        the judge's verdicts
OUT/metrics.json, OUT/live.md

Knows nothing about graphs: whoever calls it brings the agent as a function from task to outcome.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from alpha_umi.errors import ConfigError, ModelNotAvailable
from alpha_umi.files import write_atomically
from alpha_umi.nodes.format.trajectory import Trajectory, Turn
from alpha_umi.progress import make_progress
from alpha_umi.training.data.files import Record
from alpha_umi.training.evaluation.folder import ResultFolder
from alpha_umi.training.evaluation.judging import Jury, judge_passes, judge_wins
from alpha_umi.training.evaluation.live_scores import score_live
from alpha_umi.training.evaluation.live_task import LiveOutcome, LiveTask, Run
from alpha_umi.training.evaluation.parallel import run_parallel
from alpha_umi.training.evaluation.records import Usage
from alpha_umi.training.evaluation.tasks import OUTCOMES
from alpha_umi.training.evaluation.toolbench_answers import FOLDER, make_answer, read_answers, write_answers

TREES = "trees"


def evaluate_live(
    run: Run,
    tasks: Sequence[LiveTask],
    out: Path,
    *,
    identity: Mapping[str, Any],
    method: str,
    n_workers: int = 1,
    jury: Jury | None = None,
    reference: Path | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Run the agent on every query, have the runs judged, and return the metrics.

    A run that was killed goes on where it was, judging included. A query whose run failed is recorded with its error,
    counts as not passed, and is tried again by the next run of the same command.

    Args:
        run: Runs the agent on one query.
        tasks: With unique keys.
        out: Folder to write into.
        identity: What the outcomes depend on: models, suite, strategy, settings of the agent. Outcomes of others in
            the same folder are refused.
        method: Name of the strategy, for ToolEval.
        n_workers: How many queries at the same time, each in a thread of its own; more than one only helps where the
            time goes into servers.
        jury: Gives pass verdicts, and win verdicts if there is a reference; None leaves it to the suite's checker.
        reference: Folder of another agent's converted answers to the same queries.
        console: Where progress is shown.

    Raises:
        ConfigError: If the folder holds results with other settings or queries, or a setting cannot be used.
        ModelNotAvailable: If the weights of a model are not here.
    """
    references = read_answers(reference) if reference else {}
    with ResultFolder(out, OUTCOMES, {"kind": "live", **identity}) as folder:
        rows = _run_all(run, tasks, out, folder, n_workers, console)
        write_answers(out / FOLDER, _convert(rows, method))
        passes: dict[str, Record] = {}
        wins: dict[str, Record] = {}
        if jury is not None:
            runs = {row["key"]: Trajectory.from_row(row["trajectory"]) for row in rows}
            passes = judge_passes(jury, runs, out, console)
            if reference:
                shared = _find_shared(runs, references, reference)
                wins = judge_wins(jury, runs, shared, out, reference=str(reference), console=console)
        metrics = score_live(rows, passes, wins)
        folder.write_metrics(metrics)
    return metrics


def _run_all(
    run: Run, tasks: Sequence[LiveTask], out: Path, folder: ResultFolder, n_workers: int, console: Console | None
) -> list[Record]:
    """Run what has not been run, or failed, and return one row per task."""
    for task in tasks:
        if task.key in folder.rows and folder.rows[task.key]["query"] != task.query:
            raise ConfigError(f"{out} holds the outcome of another query {task.key!r}; choose another folder.")
    todo = [task for task in tasks if task.key not in folder.rows or folder.rows[task.key]["error"] is not None]
    with make_progress(console) as progress:
        bar = progress.add_task("queries", total=len(tasks), completed=len(tasks) - len(todo))
        for row in run_parallel(partial(_run, run, out), todo, n_workers):
            folder.append([row])
            progress.advance(bar)
    return [folder.rows[task.key] for task in tasks]


def _run(run: Run, out: Path, task: LiveTask) -> Record:
    """Run one task; what is wrong with all of them stops the evaluation, anything else is the task's failure."""
    started = time.perf_counter()
    error = None
    try:
        outcome = run(task)
    except (ConfigError, ModelNotAvailable):
        raise
    except Exception as failure:  # a server, a tool or a model may raise anything
        outcome, error = (
            LiveOutcome(Trajectory((), (Turn(task.query),)), Usage()),
            f"{type(failure).__name__}: {failure}",
        )
    if outcome.tree is not None:
        name = re.sub(r"[^\w.-]", "_", task.query_id)  # ids are others' and may hold slashes
        with write_atomically(out / TREES / task.group / f"{name}.json") as file:
            json.dump(outcome.tree, file)
    return {
        "key": task.key,
        "group": task.group,
        "query_id": task.query_id,
        "query": task.query,
        "answer": outcome.answer,
        "gave_up": outcome.gave_up,
        "finish": outcome.finish,
        "reason": outcome.reason,
        "steps": sum(len(turn.steps) for turn in outcome.trajectory.turns),
        "calls": sum(len(step.calls) for turn in outcome.trajectory.turns for step in turn.steps),
        "seconds": round(time.perf_counter() - started, 3),
        **asdict(outcome.usage),
        "checks": dict(task.check(outcome.trajectory)) if task.check else {},
        "error": error,
        "trajectory": outcome.trajectory.to_row(),
    }


def _convert(rows: Sequence[Record], method: str) -> dict[str, dict[str, Record]]:
    answers: dict[str, dict[str, Record]] = {}
    for row in rows:
        answers.setdefault(row["group"], {})[row["query_id"]] = make_answer(
            Trajectory.from_row(row["trajectory"]), method
        )
    return answers


def _find_shared(
    runs: Mapping[str, Trajectory], references: Mapping[str, Trajectory], folder: Path
) -> dict[str, Trajectory]:
    """Return the references to our queries."""
    shared = {key: each for key, each in references.items() if key in runs and _ask(each) == _ask(runs[key])}
    if not shared:
        raise ConfigError(
            f"{folder} answers none of these queries. Its files must be named like the query files and hold their ids."
        )
    return shared


def _ask(run: Trajectory) -> str:
    return " ".join(run.turns[-1].instruction.split())
