"""Run a call that must not run twice between two records of it; see `alpha_umi.nodes.durability.ledger`.

The order is: the thread with the decision is saved, the call is recorded as begun, the tool runs, its observation is
recorded, the thread with the observation is saved. So wherever a process ends, the next one knows what may have
happened. A run without a checkpointer cannot be resumed, and nothing of it is recorded.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.constants import CONFIG_KEY_CHECKPOINTER
from langgraph.runtime import get_runtime

from alpha_umi.errors import StorageError
from alpha_umi.nodes.approval import AskedCall, ask_in_place, make_id
from alpha_umi.nodes.durability.checkpointers import DurableSaver
from alpha_umi.nodes.durability.claims import unwrap
from alpha_umi.nodes.durability.ledger import MemoryLedger, SqliteLedger
from alpha_umi.nodes.state import ToolTask
from alpha_umi.tools.forks import hold_while_forking
from alpha_umi.tools.ledger import CallKey, Ledger
from alpha_umi.tools.toolbox import NOT_BEGUN, Toolbox, make_unknown_outcome

_SAVE_TIMEOUT_S = 10.0
_FIRST_WAIT_S = 0.002
_LONGEST_WAIT_S = 0.1
_PATH_SQL = "SELECT file FROM pragma_database_list WHERE name = 'main'"
_ledgers: WeakKeyDictionary[BaseCheckpointSaver[Any], Ledger] = WeakKeyDictionary()
_lock = Lock()
hold_while_forking(_lock)


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """One call of a tool with the effect ``once``, on a thread that `saver` keeps.

    `decision` is the checkpoint that holds the decision to call. Without a `ledger` the one of the saver is taken.
    """

    task: ToolTask
    key: CallKey
    saver: BaseCheckpointSaver[Any]
    decision: RunnableConfig
    ledger: Ledger | None

    def wait_until_decided(self) -> None:
        """Return when the decision to call is saved; LangGraph saves it while the next node already runs.

        Raises:
            StorageError: If it is not saved in time; the tool has not run then.
        """
        for wait_s in _poll():
            if self.saver.get_tuple(self.decision):
                return
            time.sleep(wait_s)

    async def await_decided(self) -> None:
        """Do what `wait_until_decided` does without blocking the event loop."""
        for wait_s in _poll():
            if await self.saver.aget_tuple(self.decision):
                return
            await asyncio.sleep(wait_s)

    def begin(self) -> ToolMessage | None:
        """Record that the call begins; return its observation instead if it began before, and None if it is to run.

        Raises:
            StorageError: If nothing can be recorded; the tool must not run then.
        """
        ledger = self._find_ledger()
        outcome = ledger.begin(self.key, self.task["name"])
        if isinstance(outcome, ToolMessage):
            return outcome
        if outcome == 0:
            return None
        # One repetition at most: after an error, LangGraph may hand out the answer to its question a second time.
        if outcome == 1 and self.task.get("approve"):
            decision = self._ask()
            if decision["type"] == "reject":
                why = decision.get("message") or "no reason given"
                return self._make_unknown(f"it did not finish, and the user does not want it repeated ({why})")
            if ledger.restart(self.key):
                return None
        return self._make_unknown("whoever ran it ended before it had answered")

    def finish(self, message: ToolMessage) -> None:
        """Record the observation; a call that was not begun in the end leaves no record."""
        if NOT_BEGUN in message.additional_kwargs:
            self.forget()
        else:
            self._find_ledger().finish(self.key, message)

    def forget(self) -> None:
        """Drop the record of a call that is to run from its beginning, as after it stopped to ask a person."""
        self._find_ledger().forget(self.key)

    def _find_ledger(self) -> Ledger:
        return self.ledger or find_ledger(self.saver)

    def _make_unknown(self, why: str) -> ToolMessage:
        return make_unknown_outcome(self.task["name"], self.task["id"], why)

    def _ask(self) -> Mapping[str, Any]:
        """Ask a person whether the call may run again."""
        name, arguments = self.task["name"], self.task["arguments"]
        text = f"{name} was started and did not finish: outcome unknown. Run it again?"
        reason = "it may have taken effect already"
        key = make_id(name, arguments, f"again {self.task['id']}")  # to approve the call is not to approve this
        call = AskedCall(key, self.task["id"], name, arguments, ("approve", "reject"), text, reason)
        return ask_in_place(call, is_alone=self.task.get("is_alone", False))


def find_recorded_call(toolbox: Toolbox, task: ToolTask, config: RunnableConfig | None) -> RecordedCall | None:
    """Return the call as one to record, or None if it may be repeated or can never be."""
    if not toolbox.runs_once(task["name"]):
        return None
    configurable = (config or {}).get("configurable", {})
    saver, thread = configurable.get(CONFIG_KEY_CHECKPOINTER), configurable.get("thread_id")
    if not isinstance(saver, BaseCheckpointSaver) or thread is None:
        return None
    info = get_runtime().execution_info
    if info is None:
        return None
    # the task's own namespace comes last, after that of the graph that decided
    namespace = info.checkpoint_ns.rpartition("|")[0]
    decision: RunnableConfig = {
        "configurable": {"thread_id": thread, "checkpoint_ns": namespace, "checkpoint_id": info.checkpoint_id}
    }
    key = CallKey.make(str(thread), task["id"], task["arguments"])
    return RecordedCall(task, key, saver, decision, toolbox.ledger)


def _poll() -> Iterator[float]:
    """Give the seconds to wait between looks, and raise when there were enough."""
    deadline, wait_s = time.monotonic() + _SAVE_TIMEOUT_S, _FIRST_WAIT_S
    while time.monotonic() < deadline:
        yield wait_s
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
    raise StorageError(
        f"A tool that must not run twice was not started: the decision to call it was not saved in {_SAVE_TIMEOUT_S:g} "
        's. Either the database of the threads is locked, full or away, or the graph runs with durability="exit", '
        'which saves too late: use "sync" or "async". Then resume the thread.'
    )


def find_ledger(saver: BaseCheckpointSaver[Any]) -> Ledger:
    """Return the ledger that belongs to a checkpointer.

    It is a table in the database of a SQLite or PostgreSQL checkpointer, and memory for an `InMemorySaver`. For every
    other checkpointer, as that of `langgraph dev` without ours, it is a file in the user's home, which is enough for
    one machine, since a call has one id in the world. Blocks: call it from a thread where an event loop runs.
    """
    with _lock:
        if saver not in _ledgers:
            _ledgers[saver] = _make_ledger(saver)
        return _ledgers[saver]


def _make_ledger(saver: BaseCheckpointSaver[Any]) -> Ledger:
    if isinstance(ours := unwrap(saver), DurableSaver):
        return ours.ledger
    if type(saver) is InMemorySaver:
        return MemoryLedger()
    if isinstance(saver, SqliteSaver | AsyncSqliteSaver):
        path = _read_path(saver)
        return SqliteLedger(path) if path else MemoryLedger()
    if type(saver).__module__.startswith("langgraph.checkpoint.postgres"):
        from alpha_umi.nodes.durability.postgres import PostgresLedger, read_conninfo  # noqa: PLC0415 - an extra

        return PostgresLedger(read_conninfo(saver))
    return SqliteLedger(Path.home() / ".alpha-umi" / "effects.sqlite")


def _read_path(saver: SqliteSaver | AsyncSqliteSaver) -> str:
    """Return the file of the threads, empty if they are in memory."""
    if isinstance(saver, AsyncSqliteSaver):
        return asyncio.run_coroutine_threadsafe(_read_path_async(saver), saver.loop).result()
    with saver.lock:
        return str(saver.conn.execute(_PATH_SQL).fetchone()[0] or "")


async def _read_path_async(saver: AsyncSqliteSaver) -> str:
    async with saver.lock, saver.conn.execute(_PATH_SQL) as cursor:
        row = await cursor.fetchone()
    return str(row[0] or "") if row else ""
