"""`alpha-umi eval compare A B`: is B better than A, on the very same steps or tasks?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from alpha_umi.errors import ConfigError
from alpha_umi.training.data.files import Record, read_records
from alpha_umi.training.evaluation.bootstrap import Estimate, estimate, estimate_difference
from alpha_umi.training.evaluation.folder import SETTINGS, read_json
from alpha_umi.training.evaluation.live_scores import score_outcome
from alpha_umi.training.evaluation.records import Prediction
from alpha_umi.training.evaluation.static import PREDICTIONS
from alpha_umi.training.evaluation.strict import score_step
from alpha_umi.training.evaluation.tasks import OUTCOMES, score_row

Scores: TypeAlias = dict[str, tuple[str, float]]
"""Key → cluster and value."""


@dataclass(frozen=True, slots=True)
class Results:
    """What a result folder holds.

    Args:
        kind: ``static``, ``tasks`` or ``live``.
        questions: What was asked under each key; two runs are comparable where these are equal.
        scores: By metric.
    """

    kind: str
    questions: dict[str, Any]
    scores: dict[str, Scores]


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of two runs.

    Args:
        metric: Its name.
        a: Mean of the first run over the keys both have.
        b: Mean of the second run over the same.
        difference: ``b - a`` with its interval and p-value.
    """

    metric: str
    a: float | None
    b: float | None
    difference: Estimate


def compare(a: Path, b: Path, *, n_resamples: int = 10_000, seed: int = 0) -> list[Difference]:
    """Compare two result folders of the same kind and data by a paired bootstrap over trajectories.

    Args:
        a: Folder of ``eval static``, ``eval tasks`` or ``eval live``, of which the judge's verdicts are left out.
        b: Another one; it may hold more or fewer of the same steps.
        n_resamples: How many bootstrap samples.
        seed: Of the bootstrap.

    Raises:
        ConfigError: If the folders cannot be compared.
    """
    first, second = load_results(a), load_results(b)
    if first.kind != second.kind:
        raise ConfigError(
            f"{a} holds results of 'eval {first.kind}', {b} those of 'eval {second.kind}': compare one kind."
        )
    common = first.questions.keys() & second.questions.keys()
    if not common:
        raise ConfigError(f"{a} and {b} have no step or task in common; evaluate both on the same data.")
    if any(first.questions[key] != second.questions[key] for key in common):
        raise ConfigError(f"{a} and {b} have equal keys for different questions; evaluate both on the same data.")
    metrics = [metric for metric in first.scores if metric in second.scores]
    return [_compare_metric(name, first.scores[name], second.scores[name], n_resamples, seed) for name in metrics]


def load_results(folder: Path) -> Results:
    """Read every step or task of a result folder.

    Raises:
        ConfigError: If it is none.
    """
    kind = str(read_json(folder / SETTINGS).get("kind"))
    if kind not in _READERS:
        raise ConfigError(f"{folder} is no result of 'eval static', 'eval tasks' or 'eval live'.")
    name, read = _READERS[kind]
    results = Results(kind, {}, {})
    for _, row in read_records(folder / name):
        question, cluster, values = read(row)
        results.questions[row["key"]] = question
        for metric, value in values.items():
            results.scores.setdefault(metric, {})[row["key"]] = (cluster, value)
    return results


def _read_prediction(row: Record) -> tuple[Any, str, dict[str, float]]:
    prediction = Prediction.from_row(row)
    return (prediction.instruction, prediction.reference), prediction.example, score_step(prediction).values


def _read_outcome(row: Record) -> tuple[Any, str, dict[str, float]]:
    return (row["instructions"], row["expected"]), row["key"], score_row(row)


def _read_live_outcome(row: Record) -> tuple[Any, str, dict[str, float]]:
    return row["query"], row["key"], score_outcome(row)


_READERS: Mapping[str, tuple[str, Callable[[Record], tuple[Any, str, dict[str, float]]]]] = {
    "static": (PREDICTIONS, _read_prediction),
    "tasks": (OUTCOMES, _read_outcome),
    "live": (OUTCOMES, _read_live_outcome),
}


def _compare_metric(metric: str, a: Scores, b: Scores, n_resamples: int, seed: int) -> Difference:
    common = [key for key in a if key in b]
    means = [estimate([scores[key] for key in common], n_resamples=1).value for scores in (a, b)]
    difference = estimate_difference(a, b, n_resamples=n_resamples, seed=seed)
    return Difference(metric, means[0], means[1], difference)


def render_comparison(differences: Sequence[Difference]) -> str:
    """Return a comparison as a plain table; an interval that excludes 0 is marked with ``*``."""
    lines = [f"{'metric':<22}{'A':>10}{'B':>10}{'B - A':>10}{'95% interval':>20}{'p':>8}{'n':>8}"]
    for each in differences:
        low, high = each.difference.low, each.difference.high
        interval = "–" if low is None or high is None else f"[{low:+.3f}, {high:+.3f}]"
        mark = "*" if low is not None and high is not None and (low > 0 or high < 0) else " "
        numbers = "".join(f"{_show(value):>10}" for value in (each.a, each.b, each.difference.value))
        p = "–" if each.difference.p is None else f"{each.difference.p:.3f}"
        lines.append(f"{each.metric:<22}{numbers}{interval:>19}{mark}{p:>8}{each.difference.n:>8,}")
    return "\n".join(lines)


def _show(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
