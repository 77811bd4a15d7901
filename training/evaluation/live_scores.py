"""Metrics of a live evaluation from its outcomes and verdicts, with bootstrap intervals over queries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from alpha_umi.training.data.files import Record
from alpha_umi.training.evaluation.bootstrap import estimate
from alpha_umi.training.evaluation.tasks import COSTS

SHARES = ("passed", "unsure", "won", "solved", "completeness", "call_accuracy", "answered")
_WIN = {"win": 1.0, "tie": 0.5, "unsure": 0.5, "loss": 0.0}


def score_live(
    rows: Sequence[Record],
    passes: Mapping[str, Record],
    wins: Mapping[str, Record],
    *,
    n_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Return ``metrics.json`` of a live evaluation.

    - ``passed``: share of queries that the judge calls solved; ``unsure``: share it cannot tell, which are not passed.
    - ``won``: wins plus half of the ties, over the queries that the reference has too.
    - ``solved``, ``completeness``, ``call_accuracy``: of the suite's exact checker.
    - ``answered``: share of queries with an answer, right or wrong.
    - ``ends``: how often runs ended in which way, as the graph says it; ``failed`` if by an error.
    - ``calls``, ``…_tokens``, ``seconds``: means per query.

    Shares are over all queries, failed ones included; costs leave these out. What does not apply has ``n`` = 0.

    Args:
        rows: One per query.
        passes: Verdicts by key; empty without a judge.
        wins: Verdicts by key; empty without a reference.
        n_resamples: How many bootstrap samples.
        seed: Of the bootstrap.
    """
    table = [(row, score_outcome(row, passes.get(row["key"]), wins.get(row["key"]))) for row in rows]

    def describe(some: Iterable[tuple[Record, Mapping[str, float]]]) -> dict[str, Any]:
        entries = list(some)
        return {
            name: asdict(
                estimate(
                    [(row["key"], values[name]) for row, values in entries if name in values],
                    n_resamples=n_resamples,
                    seed=seed,
                )
            )
            for name in (*SHARES, *COSTS)
        }

    groups = {
        group: describe(entry for entry in table if entry[0]["group"] == group)
        for group in dict.fromkeys(row["group"] for row in rows)
    }
    verdicts = [*passes.values(), *wins.values()]
    return {
        "kind": "live",
        "n_tasks": len(rows),
        "n_failed": sum(row["error"] is not None for row in rows),
        "ends": Counter("failed" if row["error"] is not None else row["finish"] or "none" for row in rows),
        "n_unjudged": sum(verdict["verdict"] is None for verdict in verdicts),
        "n_ties": sum(verdict["verdict"] in ("tie", "unsure") for verdict in wins.values()),
        "overall": describe(table),
        "by_group": groups,
        "average": {name: _average([group[name]["value"] for group in groups.values()]) for name in SHARES},
    }


def score_outcome(row: Record, passed: Record | None = None, won: Record | None = None) -> dict[str, float]:
    """Return what one query adds to each metric; one that does not apply is absent."""
    values = {"answered": float(bool((row["answer"] or "").strip())), **row["checks"]}
    if row["error"] is None:
        values |= {name: float(row[name]) for name in COSTS}
    if passed is not None and passed["verdict"] is not None:
        values |= {"passed": float(passed["verdict"] == "solved"), "unsure": float(passed["verdict"] == "unsure")}
    if won is not None and won["verdict"] is not None:
        values["won"] = _WIN[won["verdict"]]
    return values


def _average(values: Sequence[float | None]) -> float | None:
    """Return the mean over groups, as the paper averages."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
