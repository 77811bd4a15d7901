"""Several conversations for one list of tools."""

from __future__ import annotations

import random
import re
from collections import Counter
from typing import TypeAlias

import pytest

from alpha_umi.nodes.format.trajectory import Call
from alpha_umi.training.data.sheets.form import ToolSheet
from alpha_umi.training.data.sheets.load import load_world
from alpha_umi.training.data.sheets.tasks import SHARES, MadeConversation, World

Group: TypeAlias = list[MadeConversation]
ANSWERED = {"single", "several", "same tool", "chain", "follow-up"}


@pytest.fixture(scope="module")
def sheets() -> list[ToolSheet]:
    return [sheet for sheet in load_world() if not sheet.held_out]


@pytest.fixture(scope="module")
def groups(sheets: list[ToolSheet]) -> list[Group]:
    return make_groups(sheets)


def make_groups(sheets: list[ToolSheet]) -> list[Group]:
    world = World(sheets)
    return [world.make_group(random.Random(seed), 12) for seed in range(80)]


def calls_in(made: MadeConversation) -> list[Call]:
    return [call for turn in made.trajectory.turns for step in turn.steps for call in step.calls]


def test_all_conversations_of_a_group_offer_the_same_tools(groups: list[Group]) -> None:
    for group in groups:
        assert 1 < len(group) <= 12
        assert all(made.trajectory.tools == group[0].trajectory.tools for made in group)
        assert all(1 <= len(made.trajectory.turns) == len(made.kinds) <= 3 for made in group)
    assert Counter(map(len, groups))[12] > 60
    assert len({len(group[0].tools) for group in groups}) > 8
    assert {kind for group in groups for made in group for kind in made.kinds} == set(SHARES)


def test_every_tool_that_is_called_is_offered_and_works(groups: list[Group]) -> None:
    for made in (made for group in groups for made in group):
        assert {call.name for call in calls_in(made)} <= {tool.name for tool in made.trajectory.tools}
        is_error = [call.observation is not None and call.observation.is_error for call in calls_in(made)]
        assert not any(is_error) or {"missing", "failure"} & set(made.kinds)


def test_no_tool_of_a_group_does_what_no_tool_can_do(groups: list[Group], sheets: list[ToolSheet]) -> None:
    cannot = {sheet.tool.name: sheet.tool.cannot for sheet in sheets}
    n_refused = 0
    for made in (made for group in groups for made in group):
        for kind, turn in zip(made.kinds, made.trajectory.turns, strict=True):
            if kind == "no tool":
                said = re.fullmatch(r"Part 1 \((.+)\): no tool can (.+)\.", turn.steps[0].rationale, re.DOTALL)
                assert said is not None
                assert said[2] in cannot.values()
                assert said[2] not in {cannot[tool.name] for tool in made.trajectory.tools}
                n_refused += 1
    assert n_refused > 100


def test_half_of_what_is_answered_ends_with_a_call_instead(groups: list[Group]) -> None:
    ends: Counter[bool] = Counter()
    for made in (made for group in groups for made in group):
        *before, end = [step for turn in made.trajectory.turns for step in turn.steps]
        assert all(call.observation is not None for step in before for call in step.calls)
        assert all(call.observation is None for call in end.calls)
        if made.kinds[-1] in ANSWERED:
            assert end.decision in ("caller", "conclusion")
            ends[bool(end.calls)] += 1
    assert 0.4 < ends[True] / ends.total() < 0.6


def test_only_what_follows_the_last_call_is_left_out(sheets: list[ToolSheet], monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for share in (0.0, 1.0):
        monkeypatch.setattr("alpha_umi.training.data.sheets.tasks._ENDS_WITH_CALL", share)
        made.append([each for group in make_groups(sheets) for each in group])
    for whole, cut in zip(*made, strict=True):
        assert (cut.kinds, cut.trajectory.tools) == (whole.kinds, whole.trajectory.tools)
        (*first, last), (*others, ended) = cut.trajectory.turns, whole.trajectory.turns
        assert first == others
        if whole.kinds[-1] in ANSWERED:
            assert len(last.steps) == len(ended.steps) - 1
            assert last.steps[:-1] == ended.steps[:-2]
            assert [(call.name, call.arguments) for call in last.steps[-1].calls] == [
                (call.name, call.arguments) for call in ended.steps[-2].calls
            ]


def test_the_same_state_gives_the_same_group(groups: list[Group], sheets: list[ToolSheet]) -> None:
    world = World(sheets)
    assert all(world.make_group(random.Random(seed), 12) == groups[seed] for seed in range(5))
