"""Which turns of a long thread a prompt holds: the same where threads are served and where they are trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TypeAlias

from alpha_umi.nodes.format.trajectory import Step, Trajectory, Turn

CountTokens: TypeAlias = Callable[[Trajectory], int]


def find_first_turn(
    sizes: Sequence[int], n_fixed: int, *, trigger_tokens: int, keep_tokens: int, first: int = 0
) -> int:
    """Return with which turn the prompt of a thread begins.

    Where a thread grows over `trigger_tokens`, its oldest turns go until no more than `keep_tokens` are left. So the
    beginning of its prompts, and with it a KV cache, stays for several turns. As the thread is followed turn by turn,
    it depends on nothing else. The last turn always stays, whatever its length.

    Example:
        Four turns of 30 tokens after 10 of tools, at most 100, of which 50 are kept: the fourth is alone.

        >>> find_first_turn([30, 30, 30, 30], 10, trigger_tokens=100, keep_tokens=50)
        3

    Args:
        sizes: Tokens of each turn, the last one as far as it has come.
        n_fixed: Tokens before the first turn.
        trigger_tokens: The most that a prompt may have, unless it is one turn.
        keep_tokens: The most that is left of a longer one.
        first: The turn that the prompts have begun with so far.
    """
    for end in range(first + 1, len(sizes) + 1):
        if n_fixed + sum(sizes[first:end]) > trigger_tokens:
            while first < end - 1 and n_fixed + sum(sizes[first:end]) > keep_tokens:
                first += 1
    return first


def measure_turns(trajectory: Trajectory, count_tokens: CountTokens) -> tuple[list[int], int]:
    """Return the tokens of each turn, and those before the first one."""
    last = trajectory.turns[-1]
    alone = count_tokens(replace(trajectory, turns=(last,)))
    sizes = [count_tokens(replace(trajectory, turns=(turn, last))) - alone for turn in trajectory.turns]
    return sizes, alone - sizes[-1]


def split_history(
    trajectory: Trajectory, count_tokens: CountTokens, *, trigger_tokens: int, keep_tokens: int
) -> list[Trajectory]:
    """Return a conversation as its planner's prompts hold it, to be trained on: a part for each of their beginnings.

    Each step is trained in one part and read, with weight 0, in those after it that still hold it.
    """
    sizes, n_fixed = measure_turns(trajectory, count_tokens)
    first, firsts = 0, {}
    for i, turn in enumerate(trajectory.turns):
        begun = [replace(turn, steps=turn.steps[:n]) for n in range(len(turn.steps))]
        grown = measure_turns(replace(trajectory, turns=(*begun, turn)), count_tokens)[0][:-1]
        for j, size in enumerate(grown):
            first = find_first_turn(
                [*sizes[:i], size], n_fixed, trigger_tokens=trigger_tokens, keep_tokens=keep_tokens, first=first
            )
            firsts[i, j] = first
    return [
        replace(trajectory, turns=tuple(_take(trajectory.turns, first, set(places))))
        for first, places in groupby(firsts, firsts.__getitem__)
    ]


def _take(turns: Sequence[Turn], first: int, places: set[tuple[int, int]]) -> list[Turn]:
    """Return the turns from `first` to the last of the steps to train; those before it are read only."""

    def take(i: int, j: int, step: Step) -> Step:
        return step if (i, j) in places else replace(step, weight=0)

    n_turns, n_steps = max(places)
    taken = []
    for i, turn in enumerate(turns[first : n_turns + 1], first):
        steps = turn.steps[: n_steps + 1] if i == n_turns else turn.steps
        taken.append(replace(turn, steps=tuple(take(i, j, step) for j, step in enumerate(steps))))
    return taken
