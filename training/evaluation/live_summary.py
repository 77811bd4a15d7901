"""Metrics of a live evaluation as a plain table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alpha_umi.training.evaluation.live_scores import SHARES
from alpha_umi.training.evaluation.report_judged import SHARE_TITLES, list_groups
from alpha_umi.training.evaluation.runs import TITLES, percent
from alpha_umi.training.evaluation.tasks import COSTS


def render_live(metrics: Mapping[str, Any]) -> str:
    """Return shares by group in percent, then means per query, then what is missing."""
    ends = ", ".join(f"{end} {n:,}" for end, n in metrics["ends"].items())
    lines = [f"{metrics['n_tasks']:,} queries; ended by: {ends}"]
    if metrics["n_failed"]:
        lines.append(f"{metrics['n_failed']:,} failed; outcomes.jsonl says why. Run again to try them again.")
    for group, measured in list_groups(metrics):
        lines += ["", f"{group + ', %':<26}{'share':>8}{'95% interval':>18}{'queries':>9}"]
        lines += [_line(SHARE_TITLES[name], measured[name]) for name in SHARES if measured[name]["n"]]
    lines += ["", "mean per query"]
    for name in COSTS:
        value = metrics["overall"][name]["value"]
        lines.append(f"{TITLES[name]:<26}{'–' if value is None else f'{value:,.1f}':>8}")
    if metrics["n_unjudged"]:
        lines += [
            "",
            f"{metrics['n_unjudged']:,} verdicts are missing because the judge failed; run again to ask again.",
        ]
    return "\n".join(lines)


def _line(title: str, measured: Mapping[str, Any]) -> str:
    interval = "–" if measured["low"] is None else f"[{percent(measured['low'])}, {percent(measured['high'])}]"
    return f"{title:<26}{percent(measured['value']):>8}{interval:>18}{measured['n']:>9,}"
