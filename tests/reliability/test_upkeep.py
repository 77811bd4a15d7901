"""Threads are rolled back, copied, shortened and deleted, with the ledger of their calls, in every database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.messages import ToolMessage
from langgraph.types import Command

from alpha_umi import create_umi_agent, declare_effects
from alpha_umi.graph.checkpointers import open_async_checkpointer, open_checkpointer
from alpha_umi.graph.embed import UmiAgent
from alpha_umi.nodes.durability.checkpointers import DurableSaver
from alpha_umi.nodes.models.scripted import ScriptedChatModel, replay
from alpha_umi.tools.ledger import CallKey

TURN: Any = {
    "planner": ["I pay.\nNext: caller.", "Done.\nNext: conclusion."],
    "caller": ['Action: pay\nAction Input: {"sum": 5}'],
    "summarizer": ["Paid."],
}
QUESTION: Any = {"messages": [{"role": "user", "content": "Pay."}]}
APPROVE: Any = Command(resume={"decisions": [{"type": "approve"}]})
REJECT: Any = Command(resume={"decisions": [{"type": "reject"}]})
KEY = CallKey.make("t", "call_1", {"sum": 5})


class Threads:
    """An agent on a checkpointer; each run has a name, as runs of a server have."""

    def __init__(self, saver: DurableSaver) -> None:
        self.saver = saver
        self.n_paid = 0

        @declare_effects("once")
        def pay(sum: int) -> str:
            """Pay a sum."""
            self.n_paid += 1
            return f"Paid {sum}."

        self._make: Callable[[], UmiAgent] = lambda: create_umi_agent(
            ScriptedChatModel(script=replay(TURN)), [pay], checkpointer=saver
        )

    async def run(self, value: Any, run_id: str = "", thread: str = "t") -> Any:
        config: Any = {"configurable": {"thread_id": thread}, "metadata": {"run_id": run_id}}
        return await self._make().ainvoke(value, config)

    async def read(self, thread: str = "t") -> tuple[list[str], bool]:
        """Return what was said, and whether a person is asked."""
        state = await self._make().aget_state({"configurable": {"thread_id": thread}})
        return [message.text for message in state.values.get("messages", [])], bool(state.interrupts)

    async def count(self, thread: str = "t") -> int:
        return len([each async for each in self.saver.alist({"configurable": {"thread_id": thread}})])


@pytest.fixture
async def threads(where: str) -> AsyncIterator[Threads]:
    async with open_async_checkpointer(where) as saver:
        yield Threads(saver)


async def test_a_run_that_is_rolled_back_leaves_the_thread_as_it_was(threads: Threads) -> None:
    first, second = str(uuid4()), str(uuid4())
    await threads.run(QUESTION, first)
    await threads.run(APPROVE, first)
    before, n_before = await threads.read(), await threads.count()
    await threads.run(QUESTION, second)
    await threads.saver.adelete_for_runs([second])
    assert (await threads.read(), await threads.count()) == (before, n_before)
    await threads.run(QUESTION, second)
    assert (await threads.read())[1]


async def test_an_answer_that_is_rolled_back_does_not_count_and_what_was_done_is_not_done_again(
    threads: Threads,
) -> None:
    await threads.run(QUESTION, "asks")
    before = await threads.read()
    await threads.run(APPROVE, "answers")
    await threads.saver.adelete_for_runs(["answers"])
    assert await threads.read() == before
    said = (await threads.run(REJECT, "rejects"))["messages"]
    assert next(message for message in said if isinstance(message, ToolMessage)).status == "error"
    await threads.saver.adelete_for_runs(["rejects"])
    said = (await threads.run(APPROVE, "answers again"))["messages"]
    assert next(message for message in said if isinstance(message, ToolMessage)).text == "Paid 5."
    assert threads.n_paid == 1


async def test_a_copy_goes_on_from_where_its_thread_was_and_is_not_rolled_back_with_it(threads: Threads) -> None:
    await threads.run(QUESTION, "asks")
    await threads.saver.acopy_thread("t", "copy")
    assert await threads.read("copy") == await threads.read()
    assert await threads.count("copy") == await threads.count()
    await threads.saver.adelete_for_runs(["asks"])
    assert (await threads.read())[0] == []
    said = (await threads.run(APPROVE, thread="copy"))["messages"]
    assert [message.text for message in said][-2:] == ["Paid 5.", "Paid."]


async def test_a_copy_knows_what_was_done(threads: Threads) -> None:
    ledger = threads.saver.ledger
    await asyncio.to_thread(ledger.begin, KEY, "pay")
    await asyncio.to_thread(ledger.finish, KEY, ToolMessage("Paid 5.", tool_call_id="call_1"))
    await threads.saver.acopy_thread("t", "copy")
    known = await asyncio.to_thread(ledger.begin, KEY._replace(thread="copy"), "pay")
    assert isinstance(known, ToolMessage)
    assert known.text == "Paid 5."


@pytest.mark.parametrize("delete", ["delete_thread", "prune"])
async def test_a_thread_is_deleted_with_the_record_of_its_calls(threads: Threads, delete: str) -> None:
    await threads.run(QUESTION)
    await threads.run(QUESTION, thread="other")
    await asyncio.to_thread(threads.saver.ledger.begin, KEY, "pay")
    if delete == "prune":
        await threads.saver.aprune(["t"], strategy="delete")
    else:
        await threads.saver.adelete_thread("t")
    assert await threads.count() == 0
    assert await threads.count("other") > 0
    assert await asyncio.to_thread(threads.saver.ledger.begin, KEY, "pay") == 0


async def test_a_shortened_thread_keeps_its_newest_state_and_its_question(threads: Threads) -> None:
    await threads.run(QUESTION)
    await threads.run(APPROVE)
    await threads.run(QUESTION)
    before = await threads.read()
    await threads.saver.aprune(["t"])
    assert (await threads.read(), await threads.count()) == (before, 1)
    said = (await threads.run(APPROVE))["messages"]
    assert [message.text for message in said][-2:] == ["Paid 5.", "Paid."]
    with pytest.raises(ValueError, match="keep_latest"):
        await threads.saver.aprune(["t"], strategy="newest")


def test_threads_are_kept_up_without_an_event_loop_as_well(where: str) -> None:
    with open_checkpointer(where) as saver:
        agent = create_umi_agent(ScriptedChatModel(script=replay(TURN)), [], checkpointer=saver, approvals=False)
        config: Any = {"configurable": {"thread_id": "t"}, "metadata": {"run_id": "r"}}
        agent.invoke(QUESTION, config)
        saver.copy_thread("t", "copy")
        saver.prune(["t"])
        assert len(list(saver.list(config))) == 1
        saver.delete_for_runs(["r"])
        assert list(saver.list(config)) == []
        assert saver.list_threads(9) == ["copy"]
        saver.delete_thread("copy")
        assert saver.list_threads(9) == []


async def test_notes_on_turns_go_with_their_thread(threads: Threads) -> None:
    saver = threads.saver
    for thread in ("t", "u"):
        await threads.run(QUESTION, thread=thread)
    assert await saver.alist_threads(9) == ["u", "t"]

    def note() -> None:
        saver.notes.write("t", "1", {"rating": 1})
        saver.notes.write("t", "1", {"seconds": 2.5})
        saver.notes.write("t", "1", {"rating": -1})
        saver.notes.write("t", "2", {"rating": None})

    await asyncio.to_thread(note)
    expected = {"1": {"rating": -1, "seconds": 2.5}, "2": {"rating": None}}
    await saver.acopy_thread("t", "copy")
    await saver.adelete_thread("t")
    assert [await asyncio.to_thread(saver.notes.read, name) for name in ("t", "u", "copy")] == [{}, {}, expected]
