"""Threads of a checkpointer: the newest state of each, and of its history how every turn ended and what was edited."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.runnables import RunnableConfig

from alpha_umi.errors import StorageError, hide_passwords
from alpha_umi.nodes.durability.checkpointers import DurableSaver
from alpha_umi.nodes.durability.notes import RATING
from alpha_umi.nodes.role.tool_selection import list_found, list_offered
from alpha_umi.nodes.state import UmiState
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.dataset import Tally
from alpha_umi.training.traces.trace import OF_ANOTHER, Trace, get_state, make_trace

_DAMAGED = "thread that is damaged"
_GONE = "thread that is not there"
_OLD_DAMAGE = "thread whose earlier states are damaged, read from its newest"
_BRANCH = "branch that was left by going back in time"
_EDITED = "call as a person edited it"
_OTHER_TOOL = "step to which a person gave another tool, kept as context"


def read_threads(
    saver: DurableSaver, names: Iterable[str], catalogue: Mapping[str, ToolSpec], tally: Tally
) -> Iterator[Trace]:
    """Yield the trace of each thread; what is damaged or of another agent is counted and left out.

    Args:
        saver: Keeps the threads.
        names: Of the threads.
        catalogue: The agent's tools by name, which threads do not hold.
        tally: Counts what is changed or left out.

    Raises:
        StorageError: If the database cannot be read.
    """
    for name in names:
        where = f"thread {name!r} in {hide_passwords(saver.where)}"
        tally.place = where
        config: RunnableConfig = {"configurable": {"thread_id": name, "checkpoint_ns": ""}}
        if state := _load_state(saver, config, tally):
            history = _load_history(saver, config, tally)
            with tally.reading(where):
                ratings = {turn: note.get(RATING) for turn, note in saver.notes.read(name).items()}
                if trace := _read_thread(name, where, state, history, catalogue, ratings, tally):
                    yield trace


def _load_state(saver: DurableSaver, config: RunnableConfig, tally: Tally) -> Mapping[str, Any] | None:
    try:
        newest = saver.get_tuple(config)
    except StorageError as error:
        saver.list_threads(1)  # raises if it is the database and not the thread
        tally.drop(_DAMAGED, f"{tally.place}: {error}")
        return None
    if newest is None:
        tally.drop(_GONE)
        return None
    state = get_state(newest.checkpoint["channel_values"])
    if state is None:
        tally.drop(OF_ANOTHER)
    return state


def _read_thread(
    name: str,
    where: str,
    state: Mapping[str, Any],
    history: _History,
    catalogue: Mapping[str, ToolSpec],
    ratings: Mapping[str, int | None],
    tally: Tally,
) -> Trace | None:
    messages: Sequence[AnyMessage] = state["messages"]
    edited = {message.id or "": _is_renamed(message, history.calls) for message in _list_edited(messages, history)}
    for is_renamed in edited.values():
        tally.repair(_OTHER_TOOL if is_renamed else _EDITED)
    umi_state = cast(UmiState, state)
    return make_trace(
        f"thread-{name}",
        where,
        messages,
        [*list_offered(umi_state, catalogue), *list_found(umi_state, catalogue)],
        tally,
        finish=state["finish"],
        ends=history.ends,
        unlearnt={id for id, is_renamed in edited.items() if is_renamed},
        ratings=ratings,
    )


@dataclass
class _History:
    """How turns ended by the id of their last message, and the calls that the caller wrote by that of their step."""

    ends: dict[str, str] = field(default_factory=dict)
    calls: dict[str, list[Any]] = field(default_factory=dict)


def _load_history(saver: DurableSaver, config: RunnableConfig, tally: Tally) -> _History:
    history, children = _History(), Counter[str]()
    try:
        for found in saver.list(config):  # the newest first, so that of calls the first writing stays
            values = found.checkpoint["channel_values"]
            messages: list[AnyMessage] = values.get("messages") or []
            if messages and (finish := values.get("finish")):
                history.ends[messages[-1].id or ""] = finish
            for message in messages:
                if isinstance(message, AIMessage) and message.tool_calls:
                    history.calls[message.id or ""] = message.tool_calls
            if found.parent_config:
                children[found.parent_config["configurable"]["checkpoint_id"]] += 1
    except Exception:  # damaged bytes lead to anything
        saver.list_threads(1)
        tally.repair(_OLD_DAMAGE)
    for _ in range(children.total() - len(children)):
        tally.drop(_BRANCH)
    return history


def _list_edited(messages: Iterable[AnyMessage], history: _History) -> Iterator[AIMessage]:
    for message in messages:
        if isinstance(message, AIMessage) and history.calls.get(message.id or "", message.tool_calls) != (
            message.tool_calls
        ):
            yield message


def _is_renamed(message: AIMessage, calls: Mapping[str, Sequence[Any]]) -> bool:
    return [call["name"] for call in message.tool_calls] != [call["name"] for call in calls[message.id or ""]]
