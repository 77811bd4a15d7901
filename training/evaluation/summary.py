"""Metrics as a plain table for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from alpha_umi.training.evaluation.runs import TITLES, percent
from alpha_umi.training.evaluation.strict import STRICT_METRICS
from alpha_umi.training.evaluation.tasks import COSTS, SCORES

_DEFINITIONS = (
    "paper:  the published arithmetic; no 'Next:' counts as a call; references that do not parse are dropped.",
    "strict: ours; nothing is dropped, a missing name is a wrong one. The interval is a bootstrap over trajectories.",
    "Hallu.: lower is better. Step ACC: nobody lost the step. Call EM: name and all arguments are exact.",
)


def render_static(metrics: Mapping[str, Any]) -> str:
    """Return both definitions side by side, in percent, and what they mean."""
    lines = [
        f"{metrics['n_steps']:,} steps of {metrics['n_examples']:,} trajectories"
        + (f", {metrics['n_overflowed']:,} with a prompt that did not fit" if metrics["n_overflowed"] else ""),
        "",
        f"{'%':<12}{'paper':>8}{'strict':>8}{'95% interval':>18}{'steps':>9}",
    ]
    for name in STRICT_METRICS:
        strict = metrics["strict"][name]
        paper = percent(metrics["paper"].get(name), 2)
        lines.append(
            f"{TITLES[name]:<12}{paper:>8}{percent(strict['value'], 2):>8}{_interval(strict):>18}{strict['n']:>9,}"
        )
    return "\n".join([*lines, "", *_DEFINITIONS])


def render_tasks(metrics: Mapping[str, Any]) -> str:
    """Return shares in percent, then means per task, then the success by kind of task."""
    strict = metrics["strict"]
    limits = [f"{metrics[f'n_{name}']:,} {text}" for name, text in _ENDS.items() if metrics[f"n_{name}"]]
    lines = [", ".join([f"{metrics['n_tasks']:,} tasks", *limits]), ""]
    lines.append(f"{'%':<18}{'share':>8}{'95% interval':>18}{'tasks':>8}")
    lines += _list_shares((TITLES[name], strict[name]) for name in SCORES)
    lines += ["", f"{'mean per task':<18}"]
    lines += [f"{TITLES[name]:<18}{_number(strict[name]['value']):>8}" for name in COSTS]
    lines += ["", "success by kind"]
    lines += _list_shares((kind, group["success"]) for kind, group in metrics["by_kind"].items())
    return "\n".join(lines)


_ENDS = {"overflowed": "with a prompt that did not fit", "step_limit": "stopped by the step limit"}


def render_scaling(metrics: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """Return one line per checkpoint, in percent, strict definition."""
    points: Sequence[Mapping[str, Any]] = metrics["points"]
    width = max(len(point["method"]) for point in points) + 2
    lines = [f"{'method':<{width}}{'data':>7}" + "".join(f"{title:>10}" for title in titles.values())]
    for point in points:
        values = "".join(f"{percent(point['strict'][name]['value']):>10}" for name in titles)
        lines.append(f"{point['method']:<{width}}{point['fraction']:>7.0%}{values}")
    return "\n".join(lines)


def _list_shares(entries: Iterator[tuple[str, Mapping[str, Any]]]) -> Iterator[str]:
    for title, measured in entries:
        yield f"{title:<18}{percent(measured['value']):>8}{_interval(measured):>18}{measured['n']:>8,}"


def _interval(measured: Mapping[str, Any]) -> str:
    return "–" if measured["low"] is None else f"[{percent(measured['low'])}, {percent(measured['high'])}]"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f}"
