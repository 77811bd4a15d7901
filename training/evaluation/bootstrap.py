"""Means with bootstrap intervals, alone and as paired differences.

What is resampled are clusters (trajectories), not steps: the steps of one trajectory succeed and fail together, and
treating them as independent makes intervals too narrow. Seeded, so the same values give the same interval.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Observations: TypeAlias = Sequence[tuple[str, float]]
"""Cluster and value of each observation."""

LEVEL = 0.95
_CHUNK = 200


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and its interval.

    Args:
        value: The mean; None if there is nothing to average.
        low: Lower end of the 95% interval; None with fewer than two clusters.
        high: Upper end.
        n: How many observations.
        p: Two-sided bootstrap p-value against 0; of differences only.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    p: float | None = None


def estimate(observations: Observations, *, n_resamples: int = 1000, seed: int = 0) -> Estimate:
    """Return the mean of all observations with a percentile interval over clusters."""
    if not observations:
        return Estimate(None, None, None, 0)
    sums, counts = _sum_clusters(observations)
    value = float(sums.sum() / counts.sum())
    if len(sums) < 2:
        return Estimate(value, None, None, len(observations))
    low, high = _quantiles(_resample(sums, counts, n_resamples, seed))
    return Estimate(value, low, high, len(observations))


def estimate_difference(
    a: Mapping[str, tuple[str, float]],
    b: Mapping[str, tuple[str, float]],
    *,
    n_resamples: int = 10_000,
    seed: int = 0,
) -> Estimate:
    """Return the mean of ``b - a`` over the keys that both have, with interval and p-value.

    Args:
        a: Cluster and value by key.
        b: The same of the other run.
        n_resamples: How many bootstrap samples.
        seed: Of the resampling.
    """
    differences = [(a[key][0], b[key][1] - a[key][1]) for key in a if key in b]
    plain = estimate(differences, n_resamples=n_resamples, seed=seed)
    if plain.low is None:
        return plain
    means = _resample(*_sum_clusters(differences), n_resamples, seed)
    # +1 in numerator and denominator: a finite number of samples never shows that p is 0
    tails = [(int((means <= 0).sum()) + 1) / (n_resamples + 1), (int((means >= 0).sum()) + 1) / (n_resamples + 1)]
    return Estimate(plain.value, plain.low, plain.high, plain.n, p=min(1.0, 2 * min(tails)))


def _sum_clusters(observations: Observations) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return sum and count per cluster, (C,) each."""
    totals: dict[str, list[float]] = {}
    for cluster, value in observations:
        total = totals.setdefault(cluster, [0.0, 0.0])
        total[0] += value
        total[1] += 1
    table = np.array(list(totals.values()), dtype=np.float64)
    return table[:, 0], table[:, 1]


def _resample(
    sums: npt.NDArray[np.float64], counts: npt.NDArray[np.float64], n_resamples: int, seed: int
) -> npt.NDArray[np.float64]:
    """Return the mean of each bootstrap sample, (n_resamples,)."""
    return np.concatenate(list(_resample_chunks(sums, counts, n_resamples, seed)))


def _resample_chunks(
    sums: npt.NDArray[np.float64], counts: npt.NDArray[np.float64], n_resamples: int, seed: int
) -> Iterator[npt.NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    n_clusters = len(sums)
    for start in range(0, n_resamples, _CHUNK):
        size = min(_CHUNK, n_resamples - start)
        weights = rng.multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), size=size)
        yield (weights @ sums) / (weights @ counts)


def _quantiles(means: npt.NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
