"""Which turns are kept: by how they ended, by feedback, by an exact checker, by a judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from langchain_core.tools import BaseTool

from alpha_umi.nodes.format.trajectory import Trajectory
from alpha_umi.training.evaluation.examples import Usage
from alpha_umi.training.evaluation.judge import Judge, judge_passes
from alpha_umi.training.evaluation.questions import QuestionFile
from alpha_umi.training.evaluation.questions.score import list_effects, make_question_scorer, make_question_tasks
from alpha_umi.training.evaluation.suites import EvalOutcome
from alpha_umi.training.traces.trace import UNFINISHED, Trace

Filter: TypeAlias = Callable[[Trace, int], str | None]
"""Says why a turn of a trace, counted from 0, is left out; None if it is not."""


def make_finish_filter(finishes: Sequence[str]) -> Filter:
    """Keep turns that ended in one of these ways."""

    def find(trace: Trace, number: int) -> str | None:
        finish = trace.finishes[number]
        if finish is None:
            return UNFINISHED
        if finish not in finishes:
            return f"turn that ended with {finish!r}"
        is_answered = any((step.answer or "").strip() for step in trace.trajectory.turns[number].steps[-1:])
        return "turn without an answer" if finish == "answer" and not is_answered else None

    return find


def make_rating_filter(*, is_wanted: bool) -> Filter:
    """Leave out turns with a person's thumb down and, with `is_wanted`, those without a thumb up."""

    def find(trace: Trace, number: int) -> str | None:
        rating = trace.ratings[number] if trace.ratings else None
        if rating == -1:
            return "turn with a thumb down"
        return "turn without a thumb up" if is_wanted and rating != 1 else None

    return find


def make_feedback_filter(key: str, minimum: float) -> Filter:
    """Keep runs whose mean score of a kind of feedback is high enough."""

    def find(trace: Trace, number: int) -> str | None:
        score = trace.scores.get(key)
        if score is None:
            return f"run without feedback {key!r}"
        return f"run with less than {minimum:g} of feedback {key!r}" if score < minimum else None

    return find


def make_question_filter(file: QuestionFile, tools: Sequence[BaseTool]) -> Filter:
    """Keep turns whose question is in a file, and that did what is right there; see `alpha-umi check`.

    Args:
        file: The questions.
        tools: The agent's tools.
    """
    scorer = make_question_scorer(file, list_effects(tools))
    tasks = {task.key: task for task in make_question_tasks(file, tools)}

    def find(trace: Trace, number: int) -> str | None:
        turn = trace.trajectory.turns[number]
        task = tasks.get(turn.instruction.strip())
        if task is None:
            return f"question that is not in {file.path}"
        run = Trajectory(trace.trajectory.tools, (turn,))
        row = scorer.score(task, EvalOutcome(run, Usage(), trace.finishes[number]))
        return None if row["success"] else f"wrong turn: {row['cause']}"

    return find


def make_judge_filter(judge: Judge, turns: Sequence[tuple[Trace, int]], folder: Path) -> Filter:
    """Keep turns that a judge takes for solved.

    Args:
        judge: Is asked about all turns at once.
        turns: Those that other filters have kept; no others may be asked about.
        folder: Keeps the verdicts, so that nothing is asked twice.
    """
    runs = {f"{trace.id}/{number}": _cut(trace.trajectory, number) for trace, number in turns}
    verdicts: Mapping[str, Mapping[str, object]] = judge_passes(judge, runs, folder) if runs else {}

    def find(trace: Trace, number: int) -> str | None:
        row = verdicts[f"{trace.id}/{number}"]
        if row["error"] is not None:
            return "turn about which the judge could not be asked; run again to ask again"
        return None if row["verdict"] == "solved" else f"turn that the judge takes for {row['verdict']}"

    return find


def _cut(trajectory: Trajectory, number: int) -> Trajectory:
    return replace(trajectory, turns=trajectory.turns[: number + 1])
