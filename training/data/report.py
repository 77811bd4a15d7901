"""What a build did: counted as it goes, written as JSON for programs and as Markdown for people."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from alpha_umi.nodes.format.trajectory import DECISIONS, Trajectory
from alpha_umi.training.data.dataset import SPLITS, Split, Tally

_N_TOP_TOOLS = 10
_CHANGES = {"repaired": "Repairs", "dropped": "Dropped"}
_QUANTILES = {"median": 0.5, "p90": 0.9, "p99": 0.99, "longest": 1.0}


@dataclass(slots=True)
class SplitStats:
    """Counts over the trajectories of one split."""

    sources: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    steps_per_trajectory: Counter[int] = field(default_factory=Counter)
    offered: set[str] = field(default_factory=set)
    n_error_observations: int = 0
    n_answers: int = 0
    lengths_tokens: array[int] = field(default_factory=lambda: array("l"))

    def add(self, source: str, trajectory: Trajectory, length_tokens: int | None) -> None:
        """Count one trajectory."""
        steps = [step for turn in trajectory.turns for step in turn.steps]
        calls = [call for step in steps for call in step.calls]
        self.sources[source] += 1
        self.steps_per_trajectory[len(steps)] += 1
        self.decisions.update(step.decision for step in steps)
        self.calls.update(call.name for call in calls)
        self.offered.update(tool.name for tool in trajectory.tools)
        self.n_error_observations += sum(call.observation is not None and call.observation.is_error for call in calls)
        self.n_answers += sum(step.answer is not None for step in steps)
        if length_tokens is not None:
            self.lengths_tokens.append(length_tokens)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "trajectories": self.sources.total(),
            "by_source": dict(self.sources),
            "steps": self.decisions.total(),
            "decisions": {decision: self.decisions[decision] for decision in DECISIONS},
            "steps_per_trajectory": {str(n): self.steps_per_trajectory[n] for n in sorted(self.steps_per_trajectory)},
            "answers": self.n_answers,
            "calls": self.calls.total(),
            "tools_offered": len(self.offered),
            "tools_called": len(self.calls),
            "most_called": dict(self.calls.most_common(_N_TOP_TOOLS)),
            "error_observations": self.n_error_observations,
            "length_tokens": summarize(self.lengths_tokens),
        }


@dataclass(slots=True)
class BuildReport:
    """Everything worth knowing about one build."""

    settings: Mapping[str, Any]
    tallies: dict[str, Tally] = field(default_factory=dict)
    splits: defaultdict[Split, SplitStats] = field(default_factory=lambda: defaultdict(SplitStats))
    heldout_tools: Sequence[str] = ()
    sha256: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``report.json``."""
        return {
            "settings": dict(self.settings),
            "sha256": self.sha256,
            "sources": {name: tally.to_json() for name, tally in self.tallies.items()},
            "splits": {split: self.splits[split].to_json() for split in SPLITS},
            "heldout_tools": sorted(self.heldout_tools),
        }


def summarize(lengths: Sequence[int]) -> dict[str, float] | None:
    """Return total, mean and quantiles, or None if nothing was measured."""
    if not lengths:
        return None
    ordered = sorted(lengths)
    quantiles = {name: ordered[round(share * (len(ordered) - 1))] for name, share in _QUANTILES.items()}
    return {"total": sum(ordered), "mean": round(fmean(ordered), 1), **quantiles}


def render_report(report: Mapping[str, Any]) -> str:
    """Return ``report.json`` as Markdown."""
    sources, splits = report["sources"], report["splits"]
    head = ["source", "kept", "repairs", "dropped"]
    rows: list[list[Any]] = [
        [name, tally["kept"], *(sum(entry["count"] for entry in tally[kind].values()) for kind in _CHANGES)]
        for name, tally in sources.items()
    ]
    parts = ["# Training data", "## Sources", _table(head, rows)]
    fields = ["trajectories", "steps", *DECISIONS, "answers", "calls"]
    rows = [
        [
            name,
            *((split | split["decisions"])[field] for field in fields),
            "{tools_called:,} / {tools_offered:,}".format(**split),
        ]
        for name, split in splits.items()
    ]
    parts += ["## Splits", _table(["split", *fields, "tools called / offered"], rows)]
    if n_heldout := len(report["heldout_tools"]):
        parts.append(f"{n_heldout:,} tools are held out: only `dev-tools` calls or offers them.")
    if measured := {name: split["length_tokens"] for name, split in splits.items() if split["length_tokens"]}:
        fields = ["total", "mean", *_QUANTILES]
        rows = [[split, *(lengths[field] for field in fields)] for split, lengths in measured.items()]
        parts += ["## Length in tokens", _table(["split", *fields], rows)]
    parts += ["## Trajectories by source", _by("by_source", splits, "source", str)]
    parts += ["## Steps per trajectory", _by("steps_per_trajectory", splits, "steps", int)]
    parts += ["## Most called tools in training", _table(["tool", "calls"], splits["train"]["most_called"].items())]
    for kind, title in _CHANGES.items():
        rows = [
            [name, reason, entry["count"], f"`{entry['first']}`"]
            for name, tally in sources.items()
            for reason, entry in tally[kind].items()
        ]
        parts += [f"## {title}", _table(["source", "reason", "count", "first at"], rows)]
    return "\n\n".join(parts) + "\n"


def _by(field: str, splits: Mapping[str, Any], title: str, kind: Callable[[str], Any]) -> str:
    names = sorted({kind(name) for split in splits.values() for name in split[field]})
    rows = ([name, *(split[field].get(str(name), 0) for split in splits.values())] for name in names)
    return _table([title, *splits], rows)


def _table(header: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    lines = [header, ["---"] * len(header), *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if len(lines) > 2 else "none"


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value).replace("|", "\\|")
