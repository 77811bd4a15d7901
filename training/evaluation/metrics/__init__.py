"""Statistics over steps, tasks and queries: ``metrics.json`` of each kind of evaluation, and the comparison of two.

Every mean has a 95% interval: Wilson's for a share of tasks or queries, else from a bootstrap. What is resampled are
clusters (trajectories, tasks, queries), not steps: the steps of one trajectory succeed and fail together, and treating
them as independent makes intervals too narrow. Seeded, so the same values give the same interval. All shares are in
[0, 1].
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path
from statistics import NormalDist, fmean
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.trajectory import DECISIONS
from alpha_umi.training.data.files import Record
from alpha_umi.training.evaluation.examples import Prediction, Usage
from alpha_umi.training.evaluation.metrics.causes import rank_causes
from alpha_umi.training.evaluation.metrics.published import score_published
from alpha_umi.training.evaluation.metrics.strict import FAULTS, ROLE_METRICS, STRICT_METRICS, score_step
from alpha_umi.training.evaluation.render import render_columns
from alpha_umi.training.evaluation.result_folder import OUTCOMES, PREDICTIONS, SETTINGS, read_json, read_rows

TASK_SHARES = (
    "success",
    "solved",
    "refused",
    "gave_up_wrongly",
    "single_exact",
    "parts_right",
    "nothing_fits_refused",
    "false_refusal",
    "tools_exact",
    "calls_exact",
    "wrong_effect",
)
LIVE_SHARES = ("passed", "unsure", "won", "solved", "completeness", "call_accuracy", "answered")
COSTS = ("steps", "calls", "input_tokens", "cached_tokens", "output_tokens", "seconds")
NO_DECISION = "none"
LAST_STEP = 6
_LENGTHS = (2_000, 4_000, 8_000, 16_000)
_WIN = {"win": 1.0, "tie": 0.5, "unsure": 0.5, "loss": 0.0}
_LEVEL = 0.95
_CHUNK = 200

Observations: TypeAlias = Sequence[tuple[str, float]]
"""Cluster and value of each observation."""

Values: TypeAlias = Mapping[str, float]
"""By metric; one that does not apply is absent."""

_Vector: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and its 95% interval over `n` observations; of differences also the two-sided bootstrap p-value against 0.

    The mean is None if there is nothing to average, the interval with fewer than two clusters.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    p: float | None = None


def estimate(observations: Observations, *, n_resamples: int = 1000, seed: int = 0) -> Estimate:
    """Return the mean of all observations with an interval over clusters.

    It is Wilson's where each cluster is one yes or no: a bootstrap of nothing but successes has an interval without
    width. Else it is a percentile interval.
    """
    is_share = all(value in (0.0, 1.0) for _, value in observations)
    if is_share and len({cluster for cluster, _ in observations}) == len(observations) > 1:
        return estimate_share(int(sum(value for _, value in observations)), len(observations))
    return _estimate(observations, n_resamples, seed)[0]


def estimate_share(n_yes: int, n: int) -> Estimate:
    """Return a share of independent cases with Wilson's interval.

    Example:
        >>> round(estimate_share(0, 20).high or 1.0, 3)
        0.161
    """
    if not n:
        return Estimate(None, None, None, 0)
    share, weight = n_yes / n, NormalDist().inv_cdf((1 + _LEVEL) / 2) ** 2 / n
    centre = (share + weight / 2) / (1 + weight)
    reach = sqrt(weight * (share * (1 - share) + weight / 4)) / (1 + weight)
    return Estimate(share, max(0.0, centre - reach), min(1.0, centre + reach), n)


def estimate_difference(
    a: Mapping[str, tuple[str, float]], b: Mapping[str, tuple[str, float]], *, n_resamples: int = 10_000, seed: int = 0
) -> Estimate:
    """Return the mean of ``b - a`` over the keys that both have, with interval and p-value.

    Both hold cluster and value by key.
    """
    differences = [(a[key][0], b[key][1] - a[key][1]) for key in a if key in b]
    plain, means = _estimate(differences, n_resamples, seed)
    if means is None:
        return plain
    # +1 in numerator and denominator: a finite number of samples never shows that p is 0
    tails = [(int((means <= 0).sum()) + 1) / (n_resamples + 1), (int((means >= 0).sum()) + 1) / (n_resamples + 1)]
    return Estimate(plain.value, plain.low, plain.high, plain.n, p=min(1.0, 2 * min(tails)))


def _estimate(observations: Observations, n_resamples: int, seed: int) -> tuple[Estimate, _Vector | None]:
    """Return the estimate, and the mean of each bootstrap sample, (n_resamples,), if there are two clusters."""
    if not observations:
        return Estimate(None, None, None, 0), None
    totals: dict[str, list[float]] = {}
    for cluster, value in observations:
        total = totals.setdefault(cluster, [0.0, 0.0])
        total[0] += value
        total[1] += 1
    sums, counts = np.array(list(totals.values()), dtype=np.float64).T
    mean = float(sums.sum() / counts.sum())
    if len(sums) < 2:
        return Estimate(mean, None, None, len(observations)), None
    means = _resample(sums, counts, n_resamples, seed)
    low, high = np.quantile(means, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Estimate(mean, float(low), float(high), len(observations)), means


def _resample(sums: _Vector, counts: _Vector, n_resamples: int, seed: int) -> _Vector:
    """Return the mean of each bootstrap sample, (n_resamples,); in chunks, which bounds the memory."""
    rng = np.random.default_rng(seed)
    n_clusters = len(sums)
    means = []
    for start in range(0, n_resamples, _CHUNK):
        size = min(_CHUNK, n_resamples - start)
        weights = rng.multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), size=size)
        means.append((weights @ sums) / (weights @ counts))
    return np.concatenate(means)


def _describe(table: Iterable[tuple[str, Values]], names: Iterable[str]) -> dict[str, Any]:
    """Estimate each metric from cluster and values of every step, task or query."""
    entries = list(table)
    return {
        name: asdict(estimate([(cluster, values[name]) for cluster, values in entries if name in values]))
        for name in names
    }


def _describe_groups(
    groups: Iterable[Any], table: Iterable[tuple[str, Values]], names: Iterable[str]
) -> dict[Any, Any]:
    """Do the same for each group; `groups` names that of every entry."""
    entries: defaultdict[Any, list[tuple[str, Values]]] = defaultdict(list)
    for group, entry in zip(groups, table, strict=True):
        entries[group].append(entry)
    return {group: _describe(some, names) for group, some in entries.items()}


def score_static(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Return ``metrics.json`` of a static run: both definitions, roles, breakdowns, confusion and faults."""
    scores = [score_step(each) for each in predictions]
    table = [(each.example, score.values) for each, score in zip(predictions, scores, strict=True)]
    pairs = Counter((score.reference, score.decision or NO_DECISION) for score in scores)
    faults = Counter(score.fault for score in scores)

    def break_down(group: Callable[[Prediction], tuple[int, str]]) -> dict[str, Any]:
        groups = _describe_groups(map(group, predictions), table, STRICT_METRICS)
        return {name: groups[rank, name] for rank, name in sorted(groups)}

    return {
        "kind": "static",
        "n_examples": len({each.example for each in predictions}),
        "n_steps": len(predictions),
        "n_overflowed": sum(each.overflowed for each in predictions),
        "paper": score_published(predictions),
        "strict": _describe(table, STRICT_METRICS),
        "roles": {role: _describe(table, names) for role, names in ROLE_METRICS.items()},
        "confusion": {right: {made: pairs[right, made] for made in (*DECISIONS, NO_DECISION)} for right in DECISIONS},
        "faults": {fault: faults[fault] for fault in FAULTS},
        "by_step": break_down(_name_step),
        "by_length": break_down(_name_length),
        "by_source": break_down(lambda each: (0, each.source)),
        "usage": asdict(sum((each.usage for each in predictions), Usage())),
    }


def _name_step(prediction: Prediction) -> tuple[int, str]:
    number = prediction.step + 1
    return (number, str(number)) if number < LAST_STEP else (LAST_STEP, f"{LAST_STEP} and later")


def _name_length(prediction: Prediction) -> tuple[int, str]:
    place = sum(prediction.prompt_chars >= length for length in _LENGTHS)
    low, *high = (0, *_LENGTHS)[place : place + 2]
    return place, f"{low // 1000}–{high[0] // 1000}k" if high else f"{low // 1000}k and more"


def score_tasks(rows: Sequence[Record]) -> dict[str, Any]:
    """Return ``metrics.json`` of tasks with known answers.

    - ``success``: share of all tasks that ended as they should.
    - ``solved``: share of tasks with an answer that were answered rightly.
    - ``refused``: share of tasks without an answer that were given up.
    - ``gave_up_wrongly``: share of tasks with an answer that were given up.
    - ``single_exact``, ``parts_right``, ``nothing_fits_refused``, ``false_refusal``: see `score_parts`.
    - ``calls_exact``, ``wrong_effect``: where the suite checks calls, see `make_world_suite`.
    - ``tools_exact``: for questions of one's own, all tools are right and no other was called, whatever the arguments.
    - ``causes``: why tasks failed, answer or calls, the commonest cause first; see `rank_causes`.
    - ``steps``, ``calls``, ``…_tokens``, ``seconds``: means per task.
    """
    table = [(row["key"], score_task(row)) for row in rows]
    names = (*TASK_SHARES, *COSTS)
    return {
        "kind": "tasks",
        "n_tasks": len(rows),
        "n_overflowed": sum(row["error"] is not None for row in rows),
        "n_step_limit": sum(row["finish"] == "step limit" for row in rows),
        "strict": _describe(table, names),
        "by_kind": dict(sorted(_describe_groups((row["kind"] for row in rows), table, names).items())),
        "causes": rank_causes(rows),
    }


def score_task(row: Record) -> Values:
    """Return what one outcome of a task adds to each metric."""
    values: dict[str, float] = (
        {name: float(row[name]) for name in COSTS} | {"success": float(row["success"])} | row.get("checks", {})
    )
    if row["expected"] is None:
        return values | {"refused": float(row["success"])}
    return values | {"solved": float(row["success"]), "gave_up_wrongly": float(row["gave_up"])}


def score_live(rows: Sequence[Record], passes: Mapping[str, Record], wins: Mapping[str, Record]) -> dict[str, Any]:
    """Return ``metrics.json`` of queries whose tools really answer.

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
    """
    names = (*LIVE_SHARES, *COSTS)
    table = [(row["key"], score_query(row, passes.get(row["key"]), wins.get(row["key"]))) for row in rows]
    groups = _describe_groups((row["group"] for row in rows), table, names)

    def average(name: str) -> float | None:
        """Return the mean over groups, as the paper averages."""
        known = [group[name]["value"] for group in groups.values() if group[name]["value"] is not None]
        return fmean(known) if known else None

    return {
        "kind": "live",
        "n_tasks": len(rows),
        "n_failed": sum(row["error"] is not None for row in rows),
        "ends": Counter("failed" if row["error"] is not None else row["finish"] or "none" for row in rows),
        "n_unjudged": sum(verdict["verdict"] is None for verdict in (*passes.values(), *wins.values())),
        "n_ties": sum(verdict["verdict"] in ("tie", "unsure") for verdict in wins.values()),
        "overall": _describe(table, names),
        "by_group": groups,
        "average": {name: average(name) for name in LIVE_SHARES},
    }


def score_query(row: Record, passed: Record | None = None, won: Record | None = None) -> Values:
    """Return what one outcome of a query, with its verdicts, adds to each metric."""
    values = {"answered": float(bool((row["answer"] or "").strip())), **row["checks"]}
    if row["error"] is None:
        values |= {name: float(row[name]) for name in COSTS}
    if passed is not None and passed["verdict"] is not None:
        values |= {"passed": float(passed["verdict"] == "solved"), "unsure": float(passed["verdict"] == "unsure")}
    if won is not None and won["verdict"] is not None:
        values["won"] = _WIN[won["verdict"]]
    return values


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of two runs: the means over the keys that both have, and ``b - a`` with its interval and p-value."""

    metric: str
    a: float | None
    b: float | None
    difference: Estimate


def compare(a: Path, b: Path, *, n_resamples: int = 10_000, seed: int = 0) -> list[Difference]:
    """Compare two result folders of the same kind and data by a paired bootstrap over trajectories.

    One may hold more or fewer of the same steps. Of ``eval live`` the judge's verdicts are left out.

    Raises:
        ConfigError: If the folders cannot be compared.
    """
    kinds = [_read_kind(folder) for folder in (a, b)]
    if kinds[0] != kinds[1]:
        raise ConfigError(f"{a} holds results of 'eval {kinds[0]}', {b} those of 'eval {kinds[1]}': compare one kind.")
    (questions, scores), (other_questions, other_scores) = (_read_scores(folder, kinds[0]) for folder in (a, b))
    common = questions.keys() & other_questions.keys()
    if not common:
        raise ConfigError(f"{a} and {b} have no step or task in common; evaluate both on the same data.")
    if any(questions[key] != other_questions[key] for key in common):
        raise ConfigError(f"{a} and {b} have equal keys for different questions; evaluate both on the same data.")
    differences = []
    for metric in (name for name in scores if name in other_scores):
        ours, theirs = scores[metric], other_scores[metric]
        shared = [key for key in ours if key in theirs]
        means = [estimate([values[key] for key in shared], n_resamples=1).value for values in (ours, theirs)]
        difference = estimate_difference(ours, theirs, n_resamples=n_resamples, seed=seed)
        differences.append(Difference(metric, means[0], means[1], difference))
    return differences


def _read_kind(folder: Path) -> str:
    kind = str(read_json(folder / SETTINGS).get("kind"))
    if kind not in _READERS:
        raise ConfigError(f"{folder} is no result of 'eval static', 'eval tasks' or 'eval live'.")
    return kind


def _read_scores(folder: Path, kind: str) -> tuple[dict[str, Any], dict[str, dict[str, tuple[str, float]]]]:
    """Return what was asked under each key, and for each metric cluster and value by key."""
    name, read = _READERS[kind]
    questions: dict[str, Any] = {}
    scores: dict[str, dict[str, tuple[str, float]]] = {}
    for row in read_rows(folder / name):
        question, cluster, values = read(row)
        questions[row["key"]] = question
        for metric, value in values.items():
            scores.setdefault(metric, {})[row["key"]] = (cluster, value)
    return questions, scores


def _read_prediction(row: Record) -> tuple[Any, str, Values]:
    prediction = Prediction.from_row(row)
    return (prediction.instruction, prediction.reference), prediction.example, score_step(prediction).values


_READERS: Mapping[str, tuple[str, Callable[[Record], tuple[Any, str, Values]]]] = {
    "static": (PREDICTIONS, _read_prediction),
    "tasks": (OUTCOMES, lambda row: ((row["instructions"], row["expected"]), row["key"], score_task(row))),
    "live": (OUTCOMES, lambda row: (row["query"], row["key"], score_query(row))),
}


def render_comparison(differences: Sequence[Difference]) -> str:
    """Return a comparison as a plain table; an interval that excludes 0 is marked with ``*``."""
    rows = [["metric", "A", "B", "B - A", "95% interval", "", "p", "n"]]
    for each in differences:
        found = each.difference
        span, mark = "–", ""
        if found.low is not None and found.high is not None:
            span = f"[{found.low:+.3f}, {found.high:+.3f}]"
            mark = "*" if found.low > 0 or found.high < 0 else ""
        numbers = ["–" if value is None else f"{value:.3f}" for value in (each.a, each.b, found.value)]
        rows.append([each.metric, *numbers, span, mark, "–" if found.p is None else f"{found.p:.3f}", f"{found.n:,}"])
    return render_columns(rows, (22, 10, 10, 10, 18, 2, 8, 8))
