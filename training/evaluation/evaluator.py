"""`alpha-umi eval tasks` and `eval live`: the agent runs on its own, and a scorer measures how well.

OUT/outcomes.jsonl       one line per task
OUT/metrics.json

and with queries whose tools really answer:

OUT/answers/GROUP.json   the same in ToolBench's converted-answer format
OUT/trees/GROUP/ID.json  the whole search, where the strategy exports it
OUT/pass, OUT/win        the judge's verdicts

Whoever calls it gives the agent as a function from task to outcome.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

from alpha_umi.errors import ConfigError, ContextOverflow, ModelNotAvailable
from alpha_umi.files import write_atomically
from alpha_umi.nodes.format.trajectory import Trajectory, Turn
from alpha_umi.training.data.files import Record
from alpha_umi.training.evaluation.examples import Usage
from alpha_umi.training.evaluation.judge import Judge, judge_passes, judge_wins
from alpha_umi.training.evaluation.metrics import COSTS, LIVE_SHARES, TASK_SHARES, score_live, score_tasks
from alpha_umi.training.evaluation.metrics.causes import find_cause, score_parts
from alpha_umi.training.evaluation.metrics.certainty import score_certainty
from alpha_umi.training.evaluation.metrics.published import load_table_2
from alpha_umi.training.evaluation.render import TITLES, interval, number, percent, render_columns
from alpha_umi.training.evaluation.result_folder import OUTCOMES, ResultFolder
from alpha_umi.training.evaluation.suites import EvalOutcome, EvalTask
from alpha_umi.training.evaluation.toolbench import ANSWERS, make_answer, read_answers, write_answers

TREES = "trees"
_N_CAUSES = 10
_MISHAPS = {"n_overflowed": "with a prompt that did not fit", "n_step_limit": "stopped by the step limit"}

RunAgent: TypeAlias = Callable[[EvalTask], EvalOutcome]


@dataclass(frozen=True, slots=True)
class Scorer:
    """What is written of outcomes, and how they become metrics.

    Args:
        kind: Of the evaluation, in ``settings.json`` and ``metrics.json``.
        noun: What a task is called.
        describe: Returns what a row says of its task; a row that says something else is of another task.
        score: Returns what a row says of the outcome.
        explain: Returns what a row says of a task whose run raised this, or None if the whole evaluation has to stop.
        measure: Returns ``metrics.json`` from all rows, and writes into the folder what belongs to it.
        retries_failed: Whether a task whose run failed is run again when the evaluation is resumed.
    """

    kind: Literal["tasks", "live"]
    noun: str
    describe: Callable[[EvalTask], Record]
    score: Callable[[EvalTask, EvalOutcome], Record]
    explain: Callable[[Exception], str | None]
    measure: Callable[[Sequence[Record], Path], dict[str, Any]]
    retries_failed: bool


def evaluate_tasks(
    run: RunAgent,
    tasks: Sequence[EvalTask],
    out: Path,
    *,
    identity: Mapping[str, Any],
    scorer: Scorer,
    n_workers: int = 1,
) -> dict[str, Any]:
    """Run the agent on every task, write ``outcomes.jsonl`` and ``metrics.json``, and return the metrics.

    A run that was killed is resumed, scoring included; so is one with more tasks of the same suite.

    Args:
        run: Runs the agent on one task.
        tasks: With unique keys.
        out: Folder to write into.
        identity: What the outcomes depend on: models, suite, seed, settings of the agent.
        scorer: See `Scorer`.
        n_workers: How many tasks at the same time, in threads; ``seconds`` are then those of a task among others.

    Raises:
        ConfigError: If the folder holds results with other settings or tasks, or a setting cannot be used.
        ModelNotAvailable: If the weights of a model are not here.
    """
    with ResultFolder(out, OUTCOMES, {"kind": scorer.kind, **identity}) as folder:
        rows = folder.rows
        for task in tasks:
            question = scorer.describe(task)
            if task.key in rows and any(rows[task.key][name] != value for name, value in question.items()):
                raise ConfigError(
                    f"{out} holds the outcome of another {scorer.noun} {task.key!r}; choose another folder."
                )
        done = {key for key, row in rows.items() if row["error"] is None or not scorer.retries_failed}
        todo = [task for task in tasks if task.key not in done]
        work = partial(_run, run, scorer, out)
        folder.append_all(work, todo, title=scorer.kind, total=len(tasks), n_workers=n_workers)
        metrics = scorer.measure([folder.rows[task.key] for task in tasks], out)
        folder.write_metrics(metrics)
    return metrics


def _run(run: RunAgent, scorer: Scorer, out: Path, task: EvalTask) -> Record:
    started = time.perf_counter()
    error = None
    try:
        outcome = run(task)
    except Exception as failure:  # a server, a tool or a model may raise anything
        error = scorer.explain(failure)
        if error is None:
            raise
        outcome = EvalOutcome(Trajectory((), tuple(map(Turn, task.instructions))), Usage())
    seconds = time.perf_counter() - started
    if outcome.tree is not None:
        name = re.sub(r"[^\w.-]", "_", task.id_in_group)  # ids may hold slashes
        with write_atomically(out / TREES / task.group / f"{name}.json") as file:
            json.dump(outcome.tree, file)
    steps = [step for turn in outcome.trajectory.turns for step in turn.steps]
    return {
        **scorer.describe(task),
        **scorer.score(task, outcome),
        "steps": len(steps),
        "calls": sum(len(step.calls) for step in steps),
        "seconds": round(seconds, 3),
        **asdict(outcome.usage),
        "error": error,
        "trajectory": outcome.trajectory.to_row(),
    }


def make_answer_scorer() -> Scorer:
    """Return what checks the last answer of tasks with known answers.

    A prompt that does not fit is the task's failure; it would not fit next time either.
    """

    def describe(task: EvalTask) -> Record:
        expected = None if task.expected is None else list(task.expected)
        return {"key": task.key, "kind": task.group, "instructions": list(task.instructions), "expected": expected}

    def score(task: EvalTask, outcome: EvalOutcome) -> Record:
        answer, gave_up = outcome.trajectory.answer, outcome.trajectory.gave_up
        success = gave_up if task.expected is None else task.is_answered_by(answer)
        row = {"success": success, "gave_up": gave_up, "answer": answer, "finish": outcome.finish}
        checks = dict(task.check(outcome.trajectory)) if task.check else {}
        failed = not success or checks.get("calls_exact") == 0.0
        cause = (find_cause(task, outcome) or "something else") if failed else None
        parts = score_parts(task, outcome, checks)
        return row | {"certainty": outcome.certainty, "cause": cause, "checks": checks | parts}

    def explain(error: Exception) -> str | None:
        return str(error) if isinstance(error, ContextOverflow) else None

    def measure(rows: Sequence[Record], out: Path) -> dict[str, Any]:
        return score_tasks(rows) | {"certainty": score_certainty(rows)}

    return Scorer("tasks", "task", describe, score, explain, measure, retries_failed=False)


def make_live_scorer(method: str, judge: Judge | None = None, reference: Path | None = None) -> Scorer:
    """Return what keeps the exact checks of a suite whose tools really answer, and has the runs judged.

    A query whose run failed is recorded with its error and counts as not passed.

    Args:
        method: Name of the strategy, for ToolEval.
        judge: Gives pass verdicts, and win verdicts if there is a reference; None leaves it to the suite's checker.
        reference: Folder of another agent's converted answers to the same queries.

    Raises:
        ConfigError: If there are no answers in `reference`.
    """
    others = read_answers(reference) if reference else {}

    def describe(task: EvalTask) -> Record:
        return {"key": task.key, "group": task.group, "query_id": task.id_in_group, "query": task.instructions[-1]}

    def score(task: EvalTask, outcome: EvalOutcome) -> Record:
        return {
            "answer": outcome.trajectory.answer,
            "gave_up": outcome.trajectory.gave_up,
            "finish": outcome.finish,
            "reason": outcome.reason,
            "checks": dict(task.check(outcome.trajectory)) if task.check else {},
        }

    def explain(error: Exception) -> str | None:
        return None if isinstance(error, ConfigError | ModelNotAvailable) else f"{type(error).__name__}: {error}"

    def measure(rows: Sequence[Record], out: Path) -> dict[str, Any]:
        runs = {row["key"]: Trajectory.from_row(row["trajectory"]) for row in rows}
        answers: dict[str, dict[str, Record]] = {}
        for row in rows:
            answers.setdefault(row["group"], {})[row["query_id"]] = make_answer(runs[row["key"]], method)
        write_answers(out / ANSWERS, answers)
        passes = judge_passes(judge, runs, out) if judge else {}
        wins: dict[str, Record] = {}
        if judge and reference:
            shared = {key: run for key, run in others.items() if key in runs and _ask(run) == _ask(runs[key])}
            if not shared:
                raise ConfigError(
                    f"{reference} answers none of these queries. Its files must be named like the query files and hold "
                    "their ids."
                )
            wins = judge_wins(judge, runs, shared, out, reference=str(reference))
        return score_live(rows, passes, wins)

    return Scorer("live", "query", describe, score, explain, measure, retries_failed=True)


def _ask(run: Trajectory) -> list[str]:
    return run.turns[-1].instruction.split()


def render_tasks(metrics: Mapping[str, Any]) -> str:
    """Return shares in percent, means per task, the success by kind of task, and the commonest causes of failure."""
    strict = metrics["strict"]
    title = [f"{metrics['n_tasks']:,} tasks"]
    for name, text in _MISHAPS.items():
        title += [f"{metrics[name]:,} {text}"] if metrics[name] else []
    widths = (18, 8, 18, 8)
    shares = [_list_share(TITLES[name], strict[name]) for name in TASK_SHARES if strict[name]["n"] or name == "success"]
    kinds = [_list_share(kind, group["success"]) for kind, group in metrics["by_kind"].items()]
    parts = [
        ", ".join(title),
        render_columns([["%", "share", "95% interval", "tasks"], *shares], widths),
        render_columns([["mean per task", ""], *_list_costs(strict)], widths[:2]),
        render_columns([["success by kind", "", "", ""], *kinds], widths),
    ]
    if causes := metrics["causes"]:
        n_failed = sum(each["n"] for each in causes)
        told = [
            f"{n_failed:,} {'task' if n_failed == 1 else 'tasks'} failed, by answer or by calls; the commonest causes:"
        ]
        told += [f"{each['n']:>5,}  {each['cause']} ({', '.join(each['keys'])})" for each in causes[:_N_CAUSES]]
        parts.append("\n".join(told))
    if asked := metrics.get("certainty", {}).get("asked"):
        lines = [["unsure below", "asked, %", "right of the others, %", "tasks"]]
        for each in asked:
            _, share, around, n = _list_share("", each["right"])
            lines.append([f"{each['below']:g}", percent(each["asked"]), f"{share} {around}", n])
        parts.append(render_columns(lines, (18, 10, 26, 8)))
    return "\n\n".join(parts)


def render_live(metrics: Mapping[str, Any]) -> str:
    """Return shares by group in percent, then means per query, then what is missing."""
    ends = ", ".join(f"{end} {n:,}" for end, n in metrics["ends"].items())
    lines = [f"{metrics['n_tasks']:,} queries; ended by: {ends}"]
    if metrics["n_failed"]:
        lines.append(f"{metrics['n_failed']:,} failed; outcomes.jsonl says why. Run again to try them again.")
    widths = (26, 8, 18, 9)
    for group, measured in list_groups(metrics):
        shares = [_list_share(TITLES[name], measured[name]) for name in LIVE_SHARES if measured[name]["n"]]
        lines += ["", render_columns([[f"{group}, %", "share", "95% interval", "queries"], *shares], widths)]
    lines += ["", render_columns([["mean per query"], *_list_costs(metrics["overall"])], widths[:2])]
    if metrics["n_unjudged"]:
        n = metrics["n_unjudged"]
        lines += ["", f"{n:,} verdicts are missing because the judge failed; run again to ask again."]
    return "\n".join(lines)


def list_groups(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield name and metrics of each group of queries, then of all together if there are several."""
    for group, measured in metrics["by_group"].items():
        yield load_table_2().columns.get(group, group), measured
    if len(metrics["by_group"]) > 1:
        yield "all", metrics["overall"]


def _list_share(title: str, measured: Mapping[str, Any]) -> list[str]:
    return [title, percent(measured["value"]), interval(measured), f"{measured['n']:,}"]


def _list_costs(measured: Mapping[str, Any]) -> list[list[str]]:
    return [[TITLES[name], number(measured[name]["value"])] for name in COSTS]
