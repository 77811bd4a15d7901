"""`alpha-umi traces export`: of the turns that were read those that may be learnt, as `data build` reads them.

A turn that is left out stays as context, with weight 0, of those that come after it; what comes after the last one
that is kept is not written.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from alpha_umi.files import write_atomically
from alpha_umi.nodes.format.escaping import replace_surrogates
from alpha_umi.nodes.format.trajectory import Trajectory, Turn
from alpha_umi.training.data.dataset import Example, Tally, make_row
from alpha_umi.training.evaluation.judge import Judge
from alpha_umi.training.traces.filters import Filter, make_judge_filter
from alpha_umi.training.traces.redact import Hide, make_hiding
from alpha_umi.training.traces.trace import Trace

SOURCE = "traces"
_REDACTED = "trace in which secrets or personal data were redacted"
_Candidate: TypeAlias = tuple[Trace, Sequence[int]]


@dataclass(frozen=True, slots=True)
class Exported:
    """How many trajectories and turns were written, and what was left out; `tally` counts in turns."""

    n_trajectories: int
    n_turns: int
    tally: Tally


def export_traces(
    traces: Iterable[Trace],
    out: Path,
    filters: Sequence[Filter],
    tally: Tally,
    *,
    hide: Hide | None = None,
    judge: Judge | None = None,
) -> Exported:
    """Write a file of trajectories, whole or not at all.

    Args:
        traces: What was read.
        out: File to write; a judge's verdicts are kept in a folder beside it.
        filters: The first that says why a turn is left out counts.
        tally: Counts what is left out, and what was changed.
        hide: What hides what must not be learnt; by default secrets alone.
        judge: Is asked about what the filters keep.
    """
    hide = hide or make_hiding()
    n_trajectories = n_turns = 0
    with write_atomically(out) as file:
        found = _select(_name(traces), filters, tally)
        for trace, kept in _judge([*found], judge, out, tally) if judge else found:
            trajectory = _keep(trace.trajectory, kept)
            hidden = hide(trajectory)
            if hidden != trajectory:
                tally.repair(_REDACTED, trace.where)
            example = Example(trace.id, SOURCE, hidden, trace.where)
            file.write(replace_surrogates(json.dumps(make_row(example), ensure_ascii=False)) + "\n")
            n_trajectories, n_turns = n_trajectories + 1, n_turns + len(kept)
            tally.kept += len(kept)
    return Exported(n_trajectories, n_turns, tally)


def _name(traces: Iterable[Trace]) -> Iterator[_Candidate]:
    """Number ids that occur again."""
    ids: Counter[str] = Counter()
    for trace in traces:
        ids[trace.id] += 1
        name = trace.id if ids[trace.id] == 1 else f"{trace.id}~{ids[trace.id]}"
        yield replace(trace, id=name), range(trace.n_context, len(trace.finishes))


def _select(candidates: Iterable[_Candidate], filters: Sequence[Filter], tally: Tally) -> Iterator[_Candidate]:
    for trace, numbers in candidates:
        if kept := [number for number in numbers if not _leave_out(trace, number, filters, tally)]:
            yield trace, kept


def _judge(candidates: Sequence[_Candidate], judge: Judge, out: Path, tally: Tally) -> Iterator[_Candidate]:
    turns = [(trace, number) for trace, numbers in candidates for number in numbers]
    yield from _select(candidates, [make_judge_filter(judge, turns, out.with_name(f"{out.name}.judged"))], tally)


def _leave_out(trace: Trace, number: int, filters: Sequence[Filter], tally: Tally) -> bool:
    why = next((why for each in filters if (why := each(trace, number))), None)
    if why:
        tally.drop(why, f"{trace.where}, question {number + 1}")
    return why is not None


def _keep(trajectory: Trajectory, kept: Sequence[int]) -> Trajectory:
    turns = [turn if i in kept else _make_context(turn) for i, turn in enumerate(trajectory.turns[: kept[-1] + 1])]
    return replace(trajectory, turns=tuple(turns))


def _make_context(turn: Turn) -> Turn:
    return replace(turn, steps=tuple(replace(step, weight=0) for step in turn.steps))


def render_export(exported: Exported, out: Path) -> str:
    """Return the counts, each reason with the place where it came first."""
    tally = exported.tally
    lines = [f"{exported.n_turns:,} turns of {exported.n_trajectories:,} traces are in {out}."]
    for title, counts in (("Left out", tally.dropped), ("Changed", tally.repaired)):
        if counts:
            lines += ["", f"{title}:"]
            lines += [f"{n:>7,}  {reason}; first: {tally.first[reason]}" for reason, n in counts.most_common()]
    return "\n".join(lines)
