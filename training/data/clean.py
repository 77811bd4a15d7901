"""What every trajectory goes through, whatever its source: nothing that a role must not learn stays in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import replace

from alpha_umi.errors import TrajectoryError
from alpha_umi.nodes.format.parsing import parse_plan
from alpha_umi.nodes.format.trajectory import Call, Step, Trajectory, Turn
from alpha_umi.tools.observation import NO_OUTPUT, cut, make_storable
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.base import Example, Tally
from alpha_umi.training.data.rationales import fill_rationale

_NEXT = re.compile(r"\bnext([*_`]{0,4}[ \t]{0,4}):", re.IGNORECASE)


def clean(example: Example, tally: Tally, *, max_observation_chars: int) -> Trajectory | None:
    """Return the trajectory as it may be trained on, or None if nothing of it is left.

    Removed are calls that no tool could have answered, and what follows the end of a turn. Missing rationales are
    written from the calls, and observations are cut as `alpha_umi.tools.toolbox.Toolbox` cuts them.

    Raises:
        TrajectoryError: If there are no tools.
    """
    if not example.trajectory.tools:
        raise TrajectoryError(f"{example.where}: the row has no tools; add the tools that were offered, or remove it.")
    tools: dict[str, ToolSpec] = {}
    for tool in example.trajectory.tools:
        tools.setdefault(tool.name, tool)
    if len(tools) < len(example.trajectory.tools):
        tally.repair("second tool of one name removed", example.where)
    cleaner = _Cleaner(tools.keys(), tally, example.where, max_observation_chars)
    turns = tuple(cleaner.clean_turn(turn) for turn in example.trajectory.turns)
    while turns and not turns[-1].steps:
        turns = turns[:-1]
    if not turns:
        tally.drop("no usable step", example.where)
        return None
    if not all(turn.instruction.strip() for turn in turns):
        tally.drop("no instruction", example.where)
        return None
    return Trajectory(tuple(tools.values()), turns, example.trajectory.system)


class _Cleaner:
    """Cleans the turns of one trajectory, counting what it has to repair."""

    def __init__(self, tool_names: AbstractSet[str], tally: Tally, where: str, max_observation_chars: int) -> None:
        self._tool_names = tool_names
        self._tally = tally
        self._where = where
        self._max_observation_chars = max_observation_chars

    def clean_turn(self, turn: Turn) -> Turn:
        return replace(turn, steps=tuple(self._clean_steps(turn.steps)))

    def _clean_steps(self, steps: tuple[Step, ...]) -> Iterator[Step]:
        for i, step in enumerate(steps):
            calls = tuple(self._clean_calls(step.calls))
            if step.decision == "caller" and not calls:
                self._repair("step without a call removed")
                continue
            rationale = self._clean_rationale(step.rationale)
            yield fill_rationale(replace(step, calls=calls, rationale=rationale))
            if step.decision != "caller":
                if steps[i + 1 :]:
                    self._repair("steps after the end of a turn removed")
                return

    def _clean_calls(self, calls: tuple[Call, ...]) -> Iterator[Call]:
        for call in calls:
            if isinstance(call.arguments, str):
                self._repair("call with malformed arguments removed")
            elif call.name not in self._tool_names:
                self._repair("call of a tool that does not exist removed")
            else:
                yield self._clean_observation(call)

    def _clean_observation(self, call: Call) -> Call:
        if call.observation is None:
            return call
        text = make_storable(call.observation.text).strip()
        if not text:
            self._repair("empty observation marked")
        if len(text) > self._max_observation_chars:
            self._repair("long observation cut")
        text = cut(text or NO_OUTPUT, self._max_observation_chars)
        return replace(call, observation=replace(call.observation, text=text))

    def _clean_rationale(self, rationale: str) -> str:
        if not rationale.strip():
            self._repair("missing rationale written from the calls")
        if parse_plan(rationale).decision is not None:
            self._repair("decision inside a rationale disarmed")
            rationale = _NEXT.sub(r"next\1", rationale)
        return rationale.strip()

    def _repair(self, reason: str) -> None:
        self._tally.repair(reason, self._where)
