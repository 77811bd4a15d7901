from __future__ import annotations

import random

import pytest

from alpha_umi.training.evaluation.metrics import estimate, estimate_difference


def test_estimate_of_nothing_is_nothing() -> None:
    empty = estimate([])
    assert (empty.value, empty.low, empty.high, empty.n) == (None, None, None, 0)


def test_one_cluster_has_no_interval() -> None:
    one = estimate([("a", 1.0), ("a", 0.0)])
    assert (one.value, one.low, one.high, one.n) == (0.5, None, None, 2)


def test_mean_is_over_observations_and_not_over_clusters() -> None:
    assert estimate([("a", 1.0), ("b", 0.0), ("b", 0.0), ("b", 0.0)]).value == 0.25


def test_interval_of_independent_values_is_the_normal_one() -> None:
    values = [(str(i), float(i % 2)) for i in range(400)]
    found = estimate(values, n_resamples=4000)
    assert found.low == pytest.approx(0.5 - 1.96 * 0.025, abs=0.006)
    assert found.high == pytest.approx(0.5 + 1.96 * 0.025, abs=0.006)


def test_steps_that_fail_together_widen_the_interval() -> None:
    alone = estimate([(str(i), float(i % 2)) for i in range(200)])
    together = estimate([(str(i % 20), float(i % 2)) for i in range(200)])
    assert together.value == alone.value
    assert together.high is not None
    assert together.low is not None
    assert alone.high is not None
    assert alone.low is not None
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_equal_seeds_give_equal_intervals() -> None:
    values = [(str(i), random.Random(i).random()) for i in range(30)]
    assert estimate(values, seed=1) == estimate(values, seed=1)
    assert estimate(values, seed=1) != estimate(values, seed=2)


def test_difference_is_paired() -> None:
    """B is better by the same small amount everywhere, which unpaired intervals would not show."""
    a = {str(i): (str(i), i / 10) for i in range(20)}
    b = {key: (cluster, value + 0.01) for key, (cluster, value) in a.items()}
    found = estimate_difference(a, b, n_resamples=1000)
    assert found.value == pytest.approx(0.01)
    assert found.low == pytest.approx(0.01)
    assert found.p == pytest.approx(2 / 1001)


def test_no_difference_is_not_significant() -> None:
    a = {str(i): (str(i), float(i % 2)) for i in range(20)}
    assert estimate_difference(a, a).p == 1.0
    assert estimate_difference(a, {}).value is None


def test_difference_is_over_common_keys() -> None:
    a = {"1": ("1", 0.0), "2": ("2", 0.0), "3": ("3", 1.0)}
    b = {"1": ("1", 1.0), "2": ("2", 1.0), "4": ("4", 0.0)}
    found = estimate_difference(a, b)
    assert (found.value, found.n) == (1.0, 2)
