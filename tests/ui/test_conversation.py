"""What a person sees of a thread and can do with it, without a browser."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from alpha_umi.errors import InputError, ModelFault
from alpha_umi.ui.conversation import Conversation
from tests.ui.conftest import ORDER, OpenDesk, ask


async def wait_for(talk: Conversation, word: str) -> None:
    """Return once the page shows a word."""
    async with asyncio.timeout(20):
        while word not in str(talk.turns):
            await asyncio.sleep(0.005)


async def test_steps_and_answer_are_shown(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        (turn,) = (await ask(desk, "t")).turns
    assert (turn.question, turn.answer, turn.finish) == ("How many bolts?", "There are 7 bolts.", "answer")
    assert [step.plan for step in turn.steps] == ["I count the bolts.", "The bolts are counted."]
    (call,) = turn.steps[0].calls
    assert (call.name, call.arguments, call.observation, call.is_error) == (
        "count",
        '{\n  "item": "bolt"\n}',
        "7",
        False,
    )
    assert turn.cost is not None
    assert turn.cost.n_tokens > 0
    assert turn.cost.seconds is not None


async def test_what_is_written_is_shown_while_it_is_written(open_desk: OpenDesk) -> None:
    async with open_desk(delay_s=0.02) as desk:
        talk = await desk.open("t")
        talk.ask("How many bolts?")
        assert [turn.question for turn in talk.turns] == ["How many bolts?"]
        seen = set()
        while talk.is_running:
            (turn,) = talk.turns
            seen |= {(step.plan, step.writing) for step in turn.steps} | {("answer", turn.answer)}
            seen.add(("doing", talk.doing))
            await asyncio.sleep(0.005)
    assert ("I count ", "") in seen
    assert ("I count the bolts.", "Action: ") in seen
    assert ("answer", "There ar") in seen
    assert {("doing", what) for what in ("planning", "writing the call", "writing the answer")} <= seen


async def test_another_process_sees_the_same(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        before = (await ask(desk, "t")).turns
    async with open_desk() as desk:
        assert (await desk.open("t")).turns == before


async def test_a_question_that_waits_is_there_after_a_reload(open_desk: OpenDesk) -> None:
    async with open_desk(ORDER) as desk:
        talk = await ask(desk, "t")
        asked = talk.asked
        assert [(each.name, each.allowed) for each in asked] == [("order", ("approve", "edit", "reject", "respond"))]
        talk.ask("Another question?")  # it waits for the decision
        assert not talk.is_running
        assert not talk.is_stopped
    async with open_desk(ORDER) as desk:
        talk = await desk.open("t")
        assert [(each.id, each.arguments) for each in talk.asked] == [(each.id, each.arguments) for each in asked]
        talk.decide(talk.asked[0], "approve")
        await talk.wait()
        assert talk.turns[-1].steps[0].calls[0].observation == "5 of bolt are ordered."
        assert talk.turns[-1].answer == "There are 7 bolts."
        assert talk.asked == ()


@pytest.mark.parametrize(
    ("kind", "text", "observation"),
    [
        ("edit", '{"item": "nut", "pieces": 2}', "2 of nut are ordered."),
        ("reject", "Too many.", "The user rejected this call: Too many."),
        ("respond", "They came yesterday.", "They came yesterday."),
    ],
)
async def test_a_call_is_edited_rejected_or_answered(
    kind: Any, text: str, observation: str, open_desk: OpenDesk
) -> None:
    async with open_desk(ORDER) as desk:
        talk = await ask(desk, "t")
        talk.decide(talk.asked[0], kind, text)
        await talk.wait()
        seen = talk.turns[-1].steps[0].calls[0].observation
        assert seen is not None
        assert observation in seen


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("edit", "{", "no JSON"),
        ("edit", "[1]", "one JSON object"),
        ("edit", '{"item": "nut", "pieces": "two"}', "pieces: got"),
        ("respond", " ", "what the tool would say"),
    ],
)
async def test_what_cannot_be_a_decision_is_said_and_the_call_still_waits(
    kind: Any, text: str, said: str, open_desk: OpenDesk
) -> None:
    async with open_desk(ORDER) as desk:
        talk = await ask(desk, "t")
        with pytest.raises(InputError, match=said):
            talk.decide(talk.asked[0], kind, text)
        assert not talk.is_running
        assert len(talk.asked) == 1


async def test_calls_of_one_step_are_decided_one_by_one_or_all(open_desk: OpenDesk) -> None:
    more = 'Action: order\nAction Input: {"item": "nut", "pieces": 6}'
    async with open_desk({**ORDER, "caller": [f"{ORDER['caller'][0]}\n{more}"]}) as desk:
        talk = await ask(desk, "one by one")
        assert len(talk.asked) == 2
        talk.decide(talk.asked[1], "reject")
        await talk.wait()
        left = talk.asked[0]
        assert len(talk.asked) == 1
        assert '"bolt"' in left.arguments
        talk = await ask(desk, "all")
        talk.approve_all()
        await talk.wait()
        seen = [call.observation for call in talk.turns[-1].steps[0].calls]
        assert seen == ["5 of bolt are ordered.", "6 of nut are ordered."]


async def test_stopping_loses_no_step_and_the_answer_can_be_continued(open_desk: OpenDesk) -> None:
    async with open_desk(delay_s=0.05) as desk:
        talk = await desk.open("t")
        talk.ask("How many bolts?")
        await wait_for(talk, "The bolts")
        talk.stop()
        talk.stop()
        assert talk.doing == "stopping"
        await talk.wait()
        assert talk.is_stopped
    async with open_desk() as desk:
        talk = await desk.open("t")
        assert talk.is_stopped
        assert [call.observation for call in talk.turns[0].steps[0].calls] == ["7"]
        talk.go_on()
        await talk.wait()
        assert talk.turns[0].answer == "There are 7 bolts."
        assert not talk.is_stopped


async def test_an_error_says_what_to_do_and_the_thread_can_be_continued(open_desk: OpenDesk) -> None:
    def fail(*_: object) -> str:
        raise ModelFault("The server is away: start it, then continue.")

    async with open_desk(fail) as desk:
        talk = await ask(desk, "t")
        assert talk.error == "The server is away: start it, then continue."
        assert talk.is_stopped
        assert [turn.question for turn in talk.turns] == ["How many bolts?"]


async def test_a_turn_without_an_answer_says_why(open_desk: OpenDesk) -> None:
    async with open_desk({"planner": ["No tool can do this.\nNext: give up."]}) as desk:
        talk = await ask(desk, "t")
        assert (talk.turns[0].finish, talk.turns[0].reason) == ("give up", "No tool can do this.")
        await ask(desk, "t", "And now?")
        assert [turn.reason for turn in talk.turns] == ["No tool can do this."] * 2


async def test_a_search_grows_as_a_tree_that_stays(open_desk: OpenDesk) -> None:
    def search(role: str, messages: Any) -> str:
        if role == "planner":
            plans = ["I guess.\nNext: give up.", "I count the bolts.\nNext: caller.", "Done.\nNext: conclusion."]
            return plans[next(counter)]
        return {"caller": 'Action: count\nAction Input: {"item": "bolt"}', "summarizer": "7."}[role]

    counter = iter(range(9))
    async with open_desk(search, strategy="dfsdt", delay_s=0.01) as desk:
        talk = await desk.open("t")
        talk.ask("How many bolts?")
        sizes = set()
        while talk.is_running:
            sizes.add(len(tree["nodes"]) if (tree := talk.turns[-1].tree) else 0)
            await asyncio.sleep(0.005)
        assert {2, 3} <= sizes
        (turn,) = talk.turns
        assert turn.tree is not None
        assert [node["status"] for node in turn.tree["nodes"]] == ["open", "gave up", "open", "answer"]
        counter = iter(range(1, 9))
        await ask(desk, "t", "Once more?")
        assert talk.turns[0] == turn


async def test_a_thumb_is_kept(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        talk = await ask(desk, "t")
        await talk.rate(talk.turns[0].id, -1)
        assert talk.turns[0].rating == -1
    async with open_desk() as desk:
        talk = await desk.open("t")
        assert talk.turns[0].rating == -1
        await talk.rate(talk.turns[0].id, None)
        assert talk.turns[0].rating is None
