"""The tool executor: runs one call per `Send`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from copy import copy
from typing import Any

from langchain_core.messages import ToolMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.constants import CONFIG_KEY_CHECKPOINTER
from langgraph.errors import GraphBubbleUp, GraphInterrupt
from langgraph.prebuilt import ToolRuntime
from langgraph.runtime import get_runtime

from alpha_umi.errors import InputError
from alpha_umi.nodes.approval import make_id
from alpha_umi.nodes.approval_gate import find_decided, get_calling
from alpha_umi.nodes.durability.checkpointers import can_store, replace_foreign
from alpha_umi.nodes.durability.effects import find_recorded_call
from alpha_umi.nodes.redaction import find_live
from alpha_umi.nodes.role import Update
from alpha_umi.nodes.state import Outcome, ToolTask, UmiState
from alpha_umi.tools.http.redaction import hiding
from alpha_umi.tools.pii import Mask, Redaction, masking, reveal
from alpha_umi.tools.toolbox import NOT_BEGUN, Toolbox

logger = logging.getLogger(__name__)

DROPPED = "artifact_dropped"
"""Key of a tool message's `additional_kwargs` that says why its artifact is not there."""
_READ = "__pregel_read"
"""One of LangGraph's private constants, with which its own node for tools reads the state."""


class ToolsNode(Runnable[ToolTask, Update]):
    """Graph node that runs one tool call and appends its observation.

    It runs only what `ApprovalGate` decided on: a `Send` or `Command` of anybody else can name this node too.

    A call of a tool with the effect ``once`` runs between two records, so that a resumed thread does not run it again.
    What it gave is kept for the turn, in which `ApprovalGate` lets no equal call run.

    Args:
        toolbox: Runs the call; never raises for a tool's or a model's mistake.
        redaction: What the observation must not show; the tool is given what texts in the call stand for.
    """

    def __init__(self, toolbox: Toolbox, redaction: Redaction | None = None) -> None:
        """Remember the toolbox."""
        self.name = "tools"
        self._toolbox = toolbox
        self._redaction = redaction

    def invoke(self, input: ToolTask, config: RunnableConfig | None = None, **_: Any) -> Update:
        """Run the call, unless it ran before, and return its tool message.

        Raises:
            InputError: If the gate has not let exactly this call run.
        """
        input = _find_decided(input, config)
        mask = self._make_mask(input, config)
        with _asking_storably(config), _concealing(mask):
            return self._note(input, self._run(input, config, mask), config, mask)

    def _run(self, input: ToolTask, config: RunnableConfig | None, mask: Mask | None) -> ToolMessage:
        call = (input["name"], input["arguments"], input["id"], config, self._make_runtime(input, config))
        record = find_recorded_call(self._toolbox, input, config)
        if record is None:
            return self._toolbox.execute(*call)
        record.wait_until_decided()
        message = record.begin()
        if message is not None:
            return _conceal(message, mask)
        try:
            message = self._toolbox.execute(*call)
        except GraphBubbleUp:
            record.forget()
            raise
        record.finish(_reveal(message, mask))
        return message

    async def ainvoke(self, input: ToolTask, config: RunnableConfig | None = None, **_: Any) -> Update:
        """Do what `invoke` does without blocking the event loop."""
        input = _find_decided(input, config)
        mask = self._make_mask(input, config)
        with _asking_storably(config), _concealing(mask):
            return self._note(input, await self._arun(input, config, mask), config, mask)

    async def _arun(self, input: ToolTask, config: RunnableConfig | None, mask: Mask | None) -> ToolMessage:
        call = (input["name"], input["arguments"], input["id"], config, self._make_runtime(input, config))
        record = find_recorded_call(self._toolbox, input, config)
        if record is None:
            return await self._toolbox.aexecute(*call)
        await record.await_decided()
        message = await asyncio.to_thread(record.begin)
        if message is not None:
            return _conceal(message, mask)
        try:
            message = await self._toolbox.aexecute(*call)
        except GraphBubbleUp:
            await asyncio.to_thread(record.forget)
            raise
        await asyncio.to_thread(record.finish, _reveal(message, mask))
        return message

    def _make_mask(self, task: ToolTask, config: RunnableConfig | None) -> Mask | None:
        """Return what conceals this call; those of one step make texts at the same time."""
        if self._redaction is None:
            return None
        state: Any = _read(config, {"messages", "originals"})
        ids = [call["id"] for call in get_calling(state).tool_calls]
        return Mask(self._redaction, state.get("originals") or {}, ids.index(task["id"]) + 1, len(ids))

    def _make_runtime(self, task: ToolTask, config: RunnableConfig | None) -> ToolRuntime[Any, Any] | None:
        """Return what a tool may take from the graph; a task holds one call and not the state."""
        if not self._toolbox.needs_runtime(task["name"]):
            return None
        runtime, config = get_runtime(), config or {}
        state = _read(config, UmiState.__required_keys__ | UmiState.__optional_keys__)
        originals = state.pop("originals", None) or {}
        return ToolRuntime(
            state=reveal({key: copy(value) for key, value in state.items()}, originals),
            context=runtime.context,
            config=config,
            stream_writer=runtime.stream_writer,
            tool_call_id=task["id"],
            store=runtime.store,
            execution_info=runtime.execution_info,
        )

    def _note(self, task: ToolTask, message: ToolMessage, config: RunnableConfig | None, mask: Mask | None) -> Update:
        name, arguments = task["name"], task["arguments"]
        update: Update = {"messages": [_drop_what_cannot_be_stored(message, config)]}
        if mask and mask.new:
            find_live(config).update(mask.new)
            update["originals"] = mask.new
        if self._toolbox.runs_once(name) and NOT_BEGUN not in message.additional_kwargs:
            outcome = Outcome(text=message.text, is_error=message.status == "error")
            update["ran"] = {make_id(name, arguments): outcome}
        return update


@contextmanager
def _concealing(mask: Mask | None) -> Iterator[None]:
    """Have the tool that is run take and give what the mask conceals, and hide in logs what it reveals."""
    values = [original.get_secret_value() for original in mask.known.values()] if mask else []
    with masking(mask), hiding(values) if values else nullcontext():
        yield


def _conceal(message: ToolMessage, mask: Mask | None) -> ToolMessage:
    """Return an observation of the ledger, which has the values, as the model reads it."""
    concealed: ToolMessage = mask.conceal(message) if mask else message
    return concealed


def _reveal(message: ToolMessage, mask: Mask | None) -> ToolMessage:
    revealed: ToolMessage = mask.reveal(message) if mask else message
    return revealed


def _find_decided(task: ToolTask, config: RunnableConfig | None) -> ToolTask:
    state: Any = _read(config, {"messages", "gate"})
    if decided := find_decided(state, task):
        return decided
    raise InputError(
        "A call was sent to the tools that nobody decided on, so it did not run. Calls come from the caller and pass "
        "the approval: put a question to the agent instead."
    )


def _read(config: RunnableConfig | None, keys: Iterable[str]) -> dict[str, Any]:
    state: dict[str, Any] = (config or {}).get("configurable", {})[_READ](sorted(keys))
    return state


def _drop_what_cannot_be_stored(message: ToolMessage, config: RunnableConfig | None) -> ToolMessage:
    """Take off an artifact that no checkpoint can hold, and say so: it must not end the thread."""
    saver = _get_saver(config)
    if message.artifact is None or saver is None or can_store(message, saver.serde):
        return message
    why = (
        f"The artifact of {message.name}, a {type(message.artifact).__name__}, was dropped: it cannot be stored in "
        "a checkpoint. Let the tool return plain data, or keep the object elsewhere."
    )
    logger.warning(why)
    return message.model_copy(update={"artifact": None, "additional_kwargs": {DROPPED: why}})


@contextmanager
def _asking_storably(config: RunnableConfig | None) -> Iterator[None]:
    """Let what a tool asks a person be stored; the question must not end the thread."""
    saver = _get_saver(config)
    try:
        yield
    except GraphInterrupt as asked:
        if saver is None or can_store(asked.args[0], saver.serde):
            raise
        raise GraphInterrupt(replace_foreign(asked.args[0], saver.serde)) from asked


def _get_saver(config: RunnableConfig | None) -> BaseCheckpointSaver[Any] | None:
    saver = (config or {}).get("configurable", {}).get(CONFIG_KEY_CHECKPOINTER)
    return saver if isinstance(saver, BaseCheckpointSaver) else None
