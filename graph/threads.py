"""Threads as a person sees them: listed by what was asked first, and taken up elsewhere by a fork."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.types import StateSnapshot

from alpha_umi.errors import InputError
from alpha_umi.graph.embed import UmiAgent
from alpha_umi.nodes.durability.checkpointers import DurableSaver


@dataclass(frozen=True, slots=True)
class ThreadSummary:
    """A line of a list of threads; the time is local."""

    name: str
    changed_at: datetime
    n_questions: int
    first_question: str


def make_thread_name() -> str:
    """Return a name that no thread has."""
    return uuid4().hex[:8]


def make_config(thread: str) -> RunnableConfig:
    """Return the config that names a thread."""
    return {"configurable": {"thread_id": thread}}


def summarize_thread(name: str, newest: CheckpointTuple) -> ThreadSummary:
    """Return what a list shows of a thread with this newest checkpoint."""
    messages = newest.checkpoint["channel_values"].get("messages", [])
    questions = [message.text for message in messages if message.type == "human"]
    changed_at = datetime.fromisoformat(newest.checkpoint["ts"]).astimezone()
    return ThreadSummary(name, changed_at, len(questions), questions[0] if questions else "")


async def fork_thread(agent: UmiAgent, saver: DurableSaver, thread: str, message_id: str) -> str:
    """Begin another thread where a thread was when this message was its last one, and return its name.

    The other thread has a copy of all that came before, of the record of calls and of notes. It is finished where the
    message ends a turn; else it goes on like one that was stopped.

    Args:
        agent: Runs on `saver`.
        saver: An async one.
        thread: What is forked; it stays as it is.
        message_id: Of a message of the thread.

    Raises:
        InputError: If the thread was never there with this message as its last one, as within a search.
    """
    found = await _find_checkpoint(agent, thread, message_id)
    if found is None:
        raise InputError("The thread cannot be forked here: its state was not kept at this place. Fork another step.")
    name = make_thread_name()
    await saver.acopy_thread(thread, name)
    there = {**found.config["configurable"], "thread_id": name}
    await agent.aupdate_state({"configurable": there}, None, as_node="__copy__")
    return name


async def _find_checkpoint(agent: UmiAgent, thread: str, message_id: str) -> StateSnapshot | None:
    """Return the newest state that ends with the message; not one that has been given what comes after it."""
    async for snapshot in agent.aget_state_history(make_config(thread)):
        messages = snapshot.values.get("messages") or []
        is_given_more = (snapshot.metadata or {}).get("source") == "input"
        if messages and messages[-1].id == message_id and not is_given_more:
            return snapshot
    return None
