"""`metrics.json` of a static run: both definitions side by side, roles, breakdowns, confusion and faults.

All shares are in [0, 1].
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from alpha_umi.nodes.format.trajectory import DECISIONS
from alpha_umi.training.evaluation.bootstrap import Observations, estimate
from alpha_umi.training.evaluation.published import score_published
from alpha_umi.training.evaluation.records import Prediction, Usage
from alpha_umi.training.evaluation.strict import FAULTS, ROLE_METRICS, STRICT_METRICS, StepScore, score_step

NO_DECISION = "none"
LAST_STEP = 6
_LENGTHS = (2_000, 4_000, 8_000, 16_000)


def score_static(predictions: Sequence[Prediction], *, n_resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Return everything that is measured of a static run, as plain JSON types.

    Args:
        predictions: All steps of the run.
        n_resamples: How many bootstrap samples an interval comes from.
        seed: Of the bootstrap.
    """
    scored = [(each, score_step(each)) for each in predictions]

    def describe(names: Iterable[str], steps: Sequence[tuple[Prediction, StepScore]] = scored) -> dict[str, Any]:
        return {name: asdict(estimate(_select(steps, name), n_resamples=n_resamples, seed=seed)) for name in names}

    def break_down(group: Callable[[Prediction], tuple[int, str]]) -> dict[str, Any]:
        groups: defaultdict[tuple[int, str], list[tuple[Prediction, StepScore]]] = defaultdict(list)
        for step in scored:
            groups[group(step[0])].append(step)
        return {name: describe(STRICT_METRICS, groups[rank, name]) for rank, name in sorted(groups)}

    return {
        "kind": "static",
        "n_examples": len({each.example for each in predictions}),
        "n_steps": len(predictions),
        "n_overflowed": sum(each.overflowed for each in predictions),
        "paper": score_published(predictions),
        "strict": describe(STRICT_METRICS),
        "roles": {role: describe(names) for role, names in ROLE_METRICS.items()},
        "confusion": _count_decisions(score for _, score in scored),
        "faults": _count_faults(score for _, score in scored),
        "by_step": break_down(_name_step),
        "by_length": break_down(_name_length),
        "by_source": break_down(lambda each: (0, each.source)),
        "usage": asdict(sum((each.usage for each in predictions), Usage())),
    }


def _select(steps: Iterable[tuple[Prediction, StepScore]], metric: str) -> Observations:
    return [(each.example, score.values[metric]) for each, score in steps if metric in score.values]


def _count_decisions(scores: Iterable[StepScore]) -> Mapping[str, Mapping[str, int]]:
    """Return reference → prediction → how often."""
    pairs = Counter((score.reference, score.decision or NO_DECISION) for score in scores)
    return {right: {made: pairs[right, made] for made in (*DECISIONS, NO_DECISION)} for right in DECISIONS}


def _count_faults(scores: Iterable[StepScore]) -> Mapping[str, int]:
    counts = Counter(score.fault for score in scores)
    return {fault: counts[fault] for fault in FAULTS}


def _name_step(prediction: Prediction) -> tuple[int, str]:
    number = prediction.step + 1
    return (number, str(number)) if number < LAST_STEP else (LAST_STEP, f"{LAST_STEP} and later")


def _name_length(prediction: Prediction) -> tuple[int, str]:
    place = sum(prediction.prompt_chars >= length for length in _LENGTHS)
    low, *high = (0, *_LENGTHS)[place : place + 2]
    return place, f"{low // 1000}–{high[0] // 1000}k" if high else f"{low // 1000}k and more"
