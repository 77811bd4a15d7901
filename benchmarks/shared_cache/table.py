"""The seven figures: what was measured, what was to be reached, and why it was not where it was not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from textwrap import fill, indent

from benchmarks.shared_cache.replay import Replay
from benchmarks.shared_cache.work import Work


@dataclass(frozen=True)
class Row:
    """One figure.

    Args:
        name: What is measured.
        against: What it is measured against.
        goal: The bound.
        value: What was measured.
        at_least: Whether more is better; else less is.
        note: What the value is made of; where the goal is missed, why.
    """

    name: str
    against: str
    goal: float
    value: float
    at_least: bool
    note: str

    def __str__(self) -> str:
        """Return the row as lines of text."""
        bound = f"{'>=' if self.at_least else '<='} {self.goal:g}"
        is_met = self.value >= self.goal if self.at_least else self.value <= self.goal
        excess = abs(self.value / self.goal - 1)
        verdict = "met" if is_met else f"MISSED by {excess:.0%}"
        note = indent(fill(f"Against {self.against}: {self.note}", 112), "    ")
        return f"{self.name:<44} {self.value:7.2f}   goal {bound:<8} {verdict}\n{note}"


@dataclass(frozen=True)
class Pair:
    """One trajectory, both ways, and the limit measured with them."""

    work: Work
    ours: Replay
    paper: Replay
    limit_s: float | None


def make_replay_rows(pairs: Sequence[Pair]) -> list[Row]:
    """Return the rows that whole trajectories give; without limits there are three."""
    return [_make_token_row(pairs), _make_wall_row(pairs), _make_first_row(pairs), *_make_limit_row(pairs)]


def _make_token_row(pairs: Sequence[Pair]) -> Row:
    n_unique = sum(len(pair.work.ids) for pair in pairs)
    ours, paper = (
        sum(getattr(pair, side).n_computed_tokens for pair in pairs) / n_unique for side in ("ours", "paper")
    )
    own = sum(pair.work.n_paper_tokens for pair in pairs) / n_unique
    note = (
        f"the same prompts without a cache: {paper:.2f}; the paper's own prompts on these trajectories: {own:.2f} "
        "(4.4 on its test set)"
    )
    return Row("prompt tokens computed / unique tokens", "the paper's way", 1.15, ours, False, note)


def _make_wall_row(pairs: Sequence[Pair]) -> Row:
    value = median(pair.paper.seconds / pair.ours.seconds for pair in pairs)
    ours, paper = (median(getattr(pair, side).seconds for pair in pairs) for side in ("ours", "paper"))
    before = median(pair.paper.first_s / pair.ours.first_s for pair in pairs)
    writing = median(1 - pair.paper.first_s / pair.paper.seconds for pair in pairs)
    bound = median(pair.paper.seconds / (pair.paper.seconds - pair.paper.first_s) for pair in pairs)
    note = (
        f"medians {ours:.1f} s and {paper:.1f} s per trajectory. Reading the prompts is {before:.1f}x faster, but the "
        f"paper's way spends {writing:.0%} of its time writing, one token after the other, as ours does: with prompts "
        f"that cost nothing at all it would be {bound:.1f}x in one engine."
    )
    return Row("wall time per trajectory, x faster", "the paper's way, same weights", 5.0, value, True, note)


def _make_first_row(pairs: Sequence[Pair]) -> Row:
    times = [
        (ours_s, paper_s)
        for pair in pairs
        for ours_s, paper_s in zip(pair.ours.step_first_s, pair.paper.step_first_s, strict=True)
    ]
    value = median(paper_s / ours_s for ours_s, paper_s in times)
    ours, paper = (1000 * median(column) for column in zip(*times, strict=True))
    n_new = median(
        reply.n_computed_tokens
        for pair in pairs
        for reply in pair.ours.replies
        if reply.turn.role == "planner" and reply.turn.step > 1
    )
    note = (
        f"medians {ours:.0f} ms and {paper:.0f} ms over {len(times)} steps. What cannot be shared is the last "
        f"call and its observation: {n_new:.0f} new tokens to compute in the median."
    )
    return Row("time to first token, step >= 2, x faster", "the paper's way", 5.0, value, True, note)


def _make_limit_row(pairs: Sequence[Pair]) -> list[Row]:
    ratios = [pair.ours.seconds / pair.limit_s for pair in pairs if pair.limit_s is not None]
    if not ratios:
        return []
    note = (
        "the limit is the bare model's: every token read once, each written one decoded, no adapter, no grammar. "
        "Above it are the adapters' own products, the second reading of what a role wrote, and the grammar."
    )
    return [Row("wall time / limit", "unique / prefill rate + written / decode rate", 1.2, median(ratios), False, note)]


def make_memory_row(ours: dict[str, int], paper: dict[str, int], kind: str) -> Row:
    """Return the memory row.

    Args:
        ours: From `memory.measure`.
        paper: The same for three models.
        kind: Rank of the adapters and type of the weights.
    """
    note = (
        f"{ours['resident'] / 2**20:.0f} and {paper['resident'] / 2**20:.0f} MiB resident, {kind}; the weights alone "
        f"{ours['weights'] / paper['weights']:.3f}. A share of 0.33 is the backbone's; adapters weigh the more, the "
        "smaller the model (to one of 7B, a role of rank 32 adds 1%)."
    )
    value = ours["resident"] / paper["resident"]
    return Row("resident memory of three roles", "three full models", 0.4, value, False, note)


def make_grammar_row(ratios: Sequence[float]) -> Row:
    """Return the row of the grammar's cost, in percent."""
    value = 100 * (median(ratios) - 1)
    note = (
        f"median of {len(ratios)} turns of planner and caller, from {min(ratios):.2f} to {max(ratios):.2f} of the time"
    )
    return Row("grammar overhead per sampled token, %", "decoding without it", 10.0, value, False, note)


def make_jump_row(ratios: Sequence[float]) -> Row:
    """Return the row of the forced tokens."""
    note = f"median of {len(ratios)} turns, from {min(ratios):.2f} to {max(ratios):.2f}; free are the arguments' values"
    return Row("caller turn with jump-forward", "the same grammar without", 0.6, median(ratios), False, note)
