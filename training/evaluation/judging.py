"""The judge's part of a live evaluation: verdicts on finished runs, kept in folders that can be gone on with.

OUT/pass/verdicts.jsonl   did the run solve its query?
OUT/win/verdicts.jsonl    is it better than the reference's run?
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from alpha_umi.errors import ConfigError, ModelNotAvailable
from alpha_umi.nodes.format.trajectory import Trajectory
from alpha_umi.progress import make_progress
from alpha_umi.training.data.files import Record
from alpha_umi.training.evaluation.folder import ResultFolder
from alpha_umi.training.evaluation.judge import Judge, Vote, decide_preference, decide_rating
from alpha_umi.training.evaluation.judge_prompts import VERSION
from alpha_umi.training.evaluation.parallel import run_parallel

VERDICTS = "verdicts.jsonl"


@dataclass(frozen=True, slots=True)
class Jury:
    """A judge and what its verdicts depend on.

    Args:
        judge: Gives the votes.
        identity: Of the judge: model and number of votes. Verdicts of others in the same folder are refused.
        n_workers: How many questions at the same time.
    """

    judge: Judge
    identity: Mapping[str, Any]
    n_workers: int = 1


@dataclass(frozen=True, slots=True)
class _Case:
    key: str
    fingerprint: str
    ask: Callable[[], tuple[str, list[Vote]]]


def judge_passes(jury: Jury, runs: Mapping[str, Trajectory], out: Path, console: Console | None) -> dict[str, Record]:
    """Return a verdict per run: solved, unsolved or unsure; None where the judge could not be asked.

    A run without an answer is unsolved without asking.

    Args:
        jury: Who judges.
        runs: By key.
        out: Folder of the live evaluation.
        console: Where progress is shown.
    """

    def rate(run: Trajectory) -> tuple[str, list[Vote]]:
        if not _has_answer(run):
            return "unsolved", []
        votes = jury.judge.rate(run)
        return decide_rating(votes), votes

    cases = [_Case(key, _hash(run), partial(rate, run)) for key, run in runs.items()]
    return _judge_all(cases, out / "pass", jury, {}, "passes", console)


def judge_wins(
    jury: Jury,
    runs: Mapping[str, Trajectory],
    references: Mapping[str, Trajectory],
    out: Path,
    *,
    reference: str,
    console: Console | None,
) -> dict[str, Record]:
    """Return a verdict per run that the reference has too: win, loss, tie or unsure; None as in `judge_passes`.

    Two runs without an answer are a tie without asking.

    Args:
        jury: Who judges.
        runs: Ours, by key.
        references: The other agent's, by key.
        out: Folder of the live evaluation.
        reference: Names where the references are from.
        console: Where progress is shown.
    """

    def prefer(ours: Trajectory, theirs: Trajectory) -> tuple[str, list[Vote]]:
        if not _has_answer(ours) and not _has_answer(theirs):
            return "tie", []
        votes = jury.judge.prefer(ours, theirs)
        return decide_preference(votes), votes

    cases = [
        _Case(key, _hash(run, references[key]), partial(prefer, run, references[key]))
        for key, run in runs.items()
        if key in references
    ]
    return _judge_all(cases, out / "win", jury, {"reference": reference}, "wins", console)


def _judge_all(
    cases: Sequence[_Case], path: Path, jury: Jury, settings: Mapping[str, Any], title: str, console: Console | None
) -> dict[str, Record]:
    """Ask about every case that has no verdict yet, or whose run has changed since."""
    identity = {"prompts": VERSION, **jury.identity, **settings}
    with ResultFolder(path, VERDICTS, identity) as folder, make_progress(console) as progress:
        todo = [case for case in cases if not _is_judged(folder.rows.get(case.key), case)]
        bar = progress.add_task(title, total=len(cases), completed=len(cases) - len(todo))
        for row in run_parallel(_judge, todo, jury.n_workers):
            folder.append([row])
            progress.advance(bar)
        return {case.key: folder.rows[case.key] for case in cases}


def _is_judged(row: Record | None, case: _Case) -> bool:
    return row is not None and row["error"] is None and row["fingerprint"] == case.fingerprint


def _judge(case: _Case) -> Record:
    """Return a verdict with its votes; a judge that cannot be reached is no verdict and is asked again next time."""
    row: Record = {"key": case.key, "fingerprint": case.fingerprint, "verdict": None, "votes": [], "error": None}
    try:
        verdict, votes = case.ask()
    except (ConfigError, ModelNotAvailable):
        raise
    except Exception as error:  # a model behind a network may raise anything
        return row | {"error": f"{type(error).__name__}: {error}"}
    return row | {"verdict": verdict, "votes": [asdict(vote) for vote in votes]}


def _has_answer(run: Trajectory) -> bool:
    steps = run.turns[-1].steps
    return bool(steps) and bool((steps[-1].answer or "").strip())


def _hash(*runs: Trajectory) -> str:
    text = json.dumps([run.to_row() for run in runs], sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
