"""`alpha-umi traces export`: of the turns that were read those that may be learnt, as `data build` reads them.

A turn that is left out stays as context, with weight 0, of those that come after it; what comes after the last one
that is kept is not written.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from alpha_umi.files import write_atomically
from alpha_umi.nodes.format.escaping import replace_surrogates
from alpha_umi.nodes.format.trajectory import Trajectory, Turn
from alpha_umi.training.data.dataset import Example, Tally, make_row
from alpha_umi.training.traces.redact import Hide, make_hiding
from alpha_umi.training.traces.trace import UNFINISHED, Trace

SOURCE = "traces"
_REDACTED = "trace in which secrets or personal data were redacted"
Filter: TypeAlias = Callable[[Trace, int], str | None]
"""Says why a turn of a trace, counted from 0, is left out; None if it is not."""


@dataclass(frozen=True, slots=True)
class Exported:
    """How many trajectories and turns were written, and what was left out; `tally` counts in turns."""

    n_trajectories: int
    n_turns: int
    tally: Tally


def export_traces(
    traces: Iterable[Trace], out: Path, filters: Sequence[Filter], tally: Tally, hide: Hide | None = None
) -> Exported:
    """Write a file of trajectories, whole or not at all.

    Args:
        traces: What was read.
        out: File to write.
        filters: The first that says why a turn is left out counts.
        tally: Counts what is left out, and what was changed.
        hide: What hides what must not be learnt; by default secrets alone.
    """
    hide = hide or make_hiding()
    n_turns, ids = 0, Counter[str]()
    with write_atomically(out) as file:
        for trace in traces:
            kept = [i for i in range(trace.n_context, len(trace.finishes)) if not _leave_out(trace, i, filters, tally)]
            if not kept:
                continue
            ids[trace.id] += 1
            name = trace.id if ids[trace.id] == 1 else f"{trace.id}~{ids[trace.id]}"
            trajectory = _keep(trace.trajectory, kept)
            hidden = hide(trajectory)
            if hidden != trajectory:
                tally.repair(_REDACTED, trace.where)
            example = Example(name, SOURCE, hidden, trace.where)
            file.write(replace_surrogates(json.dumps(make_row(example), ensure_ascii=False)) + "\n")
            n_turns += len(kept)
            tally.kept += len(kept)
    return Exported(ids.total(), n_turns, tally)


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


def render_export(exported: Exported, out: Path) -> str:
    """Return the counts, each reason with the place where it came first."""
    tally = exported.tally
    lines = [f"{exported.n_turns:,} turns of {exported.n_trajectories:,} traces are in {out}."]
    for title, counts in (("Left out", tally.dropped), ("Changed", tally.repaired)):
        if counts:
            lines += ["", f"{title}:"]
            lines += [f"{n:>7,}  {reason}; first: {tally.first[reason]}" for reason, n in counts.most_common()]
    return "\n".join(lines)
