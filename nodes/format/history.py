"""Which turns of a long thread a prompt holds: the same where threads are served and where they are trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TypeAlias

from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn

CountTokens: TypeAlias = Callable[[Trajectory], int]
SUMMARY_QUESTION = "What came out so far?"
MAX_SUMMARY_CHARS = 750
"""What a summarizer writes in its 256 tokens, in which old turns are summed up."""
MAX_QUESTION_CHARS = 300

_PLAN = "All parts are done."


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


def list_outcomes(turns: Sequence[Turn], max_chars: int | None = None) -> list[tuple[str, str]]:
    """Return what was asked in turns, and that with what came out; of older turns only what fits `max_chars`."""
    outcomes: list[tuple[str, str]] = []
    room = max_chars
    for turn in reversed(turns):
        end = turn.steps[-1] if turn.steps else None
        asked = " ".join(turn.instruction.split())[:MAX_QUESTION_CHARS]
        said = ((end.answer or end.rationale) if end else "").strip() or "no answer"
        said = said if asked == SUMMARY_QUESTION else f"{asked.rstrip('?')}: {said}"
        if room is not None:
            said = said[-room:] if room > 0 else ""
            room -= len(said) + 1
        if said:
            outcomes.append((asked, said))
    return outcomes[::-1]


def make_summary_request(turns: Sequence[Turn], max_chars: int | None = None) -> Turn:
    """Return old turns as one that the summarizer can answer as it answers any other: each outcome is an observation.

    Example:
        "What is 2+3?" and "And 4+5?" become "Summarize what I asked and what came out: What is 2+3? And 4+5?", where
        the first step observed "What is 2+3: It is 5."
    """
    outcomes = list_outcomes(turns, max_chars)
    steps = [
        Step(f"Part {i} ({asked}): I call recall.", "caller", (Call(f"{i}", "recall", {}, Observation(said)),))
        for i, (asked, said) in enumerate(outcomes, 1)
    ]
    asked = " ".join(each for each, _ in outcomes)
    return Turn(f"Summarize what I asked and what came out: {asked}", (*steps, Step(_PLAN, "conclusion")))


def make_summary_turn(summary: str) -> Turn:
    """Return the turn by which prompts hold the summary of those that they no longer do; nothing of it is trained."""
    return Turn(SUMMARY_QUESTION, (Step(_PLAN, "conclusion", answer=summary, weight=0),))


def split_history(
    trajectory: Trajectory,
    count_tokens: CountTokens,
    *,
    trigger_tokens: int,
    keep_tokens: int,
    summarizes: bool = False,
) -> list[Trajectory]:
    """Return a conversation as its planner's prompts hold it, to be trained on: a part for each of their beginnings.

    Each step is trained in one part and read, with weight 0, in those after it that still hold it. A summary is what a
    summarizer should write: the questions and answers of the turns that left, newest last.
    """
    sizes, n_fixed = measure_turns(trajectory, count_tokens)
    first, head = 0, list[Turn]()
    begins: dict[tuple[int, int], tuple[int, tuple[Turn, ...]]] = {}
    for i, turn in enumerate(trajectory.turns):
        begun = [replace(turn, steps=turn.steps[:n]) for n in range(len(turn.steps))]
        grown = measure_turns(replace(trajectory, turns=(*begun, turn)), count_tokens)[0][:-1]
        for j, size in enumerate(grown):
            n_head = measure_turns(replace(trajectory, turns=(*head, turn)), count_tokens)[0][:-1]
            held = [*n_head, *sizes[first:i], size]
            n = find_first_turn(held, n_fixed, trigger_tokens=trigger_tokens, keep_tokens=keep_tokens)
            if n:
                left = [*head, *trajectory.turns[first:i]][:n]
                first += n - len(head)
                outcomes = list_outcomes(left, MAX_SUMMARY_CHARS) if summarizes and n > len(head) else []
                head = [make_summary_turn(" ".join(said for _, said in outcomes))] if outcomes else []
            begins[i, j] = first, tuple(head)
    return [
        replace(trajectory, turns=(*head_, *_take(trajectory.turns, first_, set(places))))
        for (first_, head_), places in groupby(begins, begins.__getitem__)
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
