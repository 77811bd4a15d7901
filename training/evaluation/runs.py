"""Result folders as the report reads them, and how it writes numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from alpha_umi.errors import ConfigError
from alpha_umi.training.evaluation.folder import METRICS, SETTINGS, read_json

Kind: TypeAlias = Literal["static", "tasks", "live", "scaling"]
KINDS: tuple[Kind, ...] = ("static", "tasks", "live", "scaling")

TITLES = {
    "step_acc": "Step ACC",
    "plan_acc": "Plan ACC",
    "act_em": "Act. EM",
    "hallu": "Hallu.",
    "arg_f1": "Arg. F1",
    "call_em": "Call EM",
    "rouge_l": "R-L",
    "success": "Success",
    "solved": "Solved",
    "refused": "Refused",
    "gave_up_wrongly": "Gave up wrongly",
    "steps": "Steps",
    "calls": "Calls",
    "input_tokens": "Input tokens",
    "cached_tokens": "of these cached",
    "output_tokens": "Output tokens",
    "seconds": "Seconds",
}


@dataclass(frozen=True, slots=True)
class Run:
    """One finished evaluation.

    Args:
        name: Unique in the report.
        path: Its folder.
        kind: Which evaluation.
        metrics: Its ``metrics.json``.
        settings: Its ``settings.json``.
    """

    name: str
    path: Path
    kind: Kind
    metrics: Mapping[str, Any]
    settings: Mapping[str, Any]


def load_runs(folders: Sequence[Path]) -> list[Run]:
    """Read result folders; each is named by as much of its path as tells it from the others.

    Raises:
        ConfigError: If a folder holds no finished evaluation, or is given twice.
    """
    paths = [folder.resolve() for folder in folders]
    if not paths or len(set(paths)) < len(paths):
        raise ConfigError("Give at least one result folder of 'alpha-umi eval', and each one once.")
    runs = []
    for path in paths:
        metrics = read_json(path / METRICS)
        if metrics.get("kind") not in KINDS:
            raise ConfigError(f"{path / METRICS} is no result of 'alpha-umi eval'; give another folder.")
        runs.append(Run(_name(path, paths), path, metrics["kind"], metrics, read_json(path / SETTINGS)))
    return runs


def _name(path: Path, paths: Sequence[Path]) -> str:
    for length in range(1, len(path.parts) + 1):
        name = path.parts[-length:]
        if sum(other.parts[-length:] == name for other in paths) == 1:
            return "/".join(name)
    return str(path)


def percent(share: float | None, digits: int = 1) -> str:
    """Write a share as a percentage, without the sign."""
    return "–" if share is None else f"{100 * share:.{digits}f}"


def percent_interval(measured: Mapping[str, Any]) -> str:
    """Write an estimated share with its interval."""
    value = percent(measured["value"])
    if measured["low"] is None:
        return value
    return f"{value}\n[{percent(measured['low'])}, {percent(measured['high'])}]"


def number_interval(measured: Mapping[str, Any]) -> str:
    """Write an estimated mean that is no share with its interval."""
    if measured["value"] is None:
        return "–"
    ends = "" if measured["low"] is None else f"\n[{measured['low']:,.1f}, {measured['high']:,.1f}]"
    return f"{measured['value']:,.1f}{ends}"
