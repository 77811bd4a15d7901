"""How far a planner's certainty can be trusted, and what asking about its unsure plans would buy.

A task's certainty is that of its least certain plan: the probability of the decision times that of the tool's name, see
`alpha_umi.nodes.format.certainty`. A task is right if answer and calls are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from alpha_umi.training.data.files import Record
from alpha_umi.training.evaluation.metrics import estimate_share

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
_MAX_BINS, _MIN_TASKS = 10, 10


def score_certainty(rows: Sequence[Record]) -> dict[str, Any]:
    """Return how often tasks of each certainty are right, and how often the others where the unsure are asked about.

    Shares are in [0, 1] with 95% intervals; tasks of which nobody knows the certainty are left out.

    - ``bins``: the tasks in order of certainty, in up to 10 equal parts of at least 10: ``certainty`` is a part's mean.
    - ``asked``: for each ``below`` the share that is ``asked`` about, and how many of the others are ``right``.
    """
    known = [(row["certainty"], row["cause"] is None) for row in rows if row.get("certainty") is not None]
    known.sort()
    n_bins = max(1, min(_MAX_BINS, len(known) // _MIN_TASKS))
    bins = [known[len(known) * i // n_bins : len(known) * (i + 1) // n_bins] for i in range(n_bins)] if known else []
    asked = []
    for below in THRESHOLDS if known else ():
        rest = [is_right for p, is_right in known if p >= below]
        asked.append({"below": below, "asked": 1 - len(rest) / len(known), "right": _estimate(rest)})
    return {
        "n": len(known),
        "bins": [{"certainty": fmean(p for p, _ in each), "right": _estimate([ok for _, ok in each])} for each in bins],
        "asked": asked,
    }


def _estimate(are_right: Sequence[bool]) -> dict[str, Any]:
    return asdict(estimate_share(sum(are_right), len(are_right)))
