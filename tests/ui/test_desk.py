"""Threads are listed, taken up, forked and deleted."""

from __future__ import annotations

import pytest

from alpha_umi.errors import AlphaUmiError
from tests.ui.conftest import ORDER, OpenDesk, ask


async def test_threads_are_listed_with_their_first_question(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await ask(desk, "a", "How many bolts?")
        await ask(desk, "b", "How many nuts?")
        await ask(desk, "a", "Really?")
        listed = [(each.name, each.n_questions, each.first_question) for each in await desk.list_threads()]
    assert listed == [("a", 2, "How many bolts?"), ("b", 1, "How many nuts?")]


async def test_a_fork_has_what_was_before_and_leaves_the_thread(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        talk = await ask(desk, "a", "First?")
        await talk.rate(talk.turns[0].id, 1)
        await ask(desk, "a", "Second?")
        end = talk.turns[0].end_id
        assert end is not None
        name = await desk.fork("a", end)
        fork = await desk.open(name)
        assert fork.turns == talk.turns[:1]
        assert not fork.is_stopped
        fork.ask("Third?")
        await fork.wait()
        assert [turn.question for turn in fork.turns] == ["First?", "Third?"]
        assert [turn.question for turn in (await desk.open("a")).turns] == ["First?", "Second?"]


async def test_a_fork_after_a_step_goes_on_from_there(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        talk = await ask(desk, "a")
        end = talk.turns[0].steps[0].end_id
        assert end is not None
        fork = await desk.open(await desk.fork("a", end))
        assert fork.is_stopped
        assert [call.observation for step in fork.turns[0].steps for call in step.calls] == ["7"]
        fork.go_on()
        await fork.wait()
        assert fork.turns[0].answer == "There are 7 bolts."


async def test_a_fork_where_a_call_waited_asks_again(open_desk: OpenDesk) -> None:
    async with open_desk(ORDER) as desk:
        talk = await ask(desk, "a")
        talk.decide(talk.asked[0], "approve")
        await talk.wait()
        question = talk.turns[0].id
        fork = await desk.open(await desk.fork("a", question))
        fork.go_on()
        await fork.wait()
        assert [each.name for each in fork.asked] == ["order"]


async def test_where_nothing_was_kept_no_fork_begins(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await ask(desk, "a")
        with pytest.raises(AlphaUmiError, match="Fork another step"):
            await desk.fork("a", "nowhere")
        assert [each.name for each in await desk.list_threads()] == ["a"]


async def test_a_deleted_thread_is_gone_also_while_it_runs(open_desk: OpenDesk) -> None:
    async with open_desk(delay_s=0.05) as desk:
        talk = await desk.open("a")
        talk.ask("How many bolts?")
        await desk.delete("a")
        assert not talk.is_running
        assert await desk.list_threads() == []
        assert (await desk.open("a")).turns == ()
