"""What planner, caller and summarizer have in common: one chat model call between state and state.

Prompts are made in `alpha_umi.nodes.models.request`; what a reply means is in each role's own file.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, TypeAlias, cast
from weakref import finalize

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.exceptions import ContextOverflowError
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import add_usage
from langchain_core.messages.base import merge_content
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, LLMResult
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import patch_config
from langgraph.constants import TAG_NOSTREAM
from langgraph.graph.message import push_message

from alpha_umi.errors import ContextOverflow
from alpha_umi.nodes.format.certainty import CERTAINTY, read_certainty
from alpha_umi.nodes.format.reasoning import (
    THOUGHTS,
    SaidSoFar,
    map_texts,
    read_thoughts,
    set_thoughts_apart,
    split_reasoning,
)
from alpha_umi.nodes.format.response import ResponseFormat
from alpha_umi.nodes.format.shown import get_kind, set_apart
from alpha_umi.nodes.format.trajectory import Role, Step, Trajectory, make_message
from alpha_umi.nodes.models.request import (
    RETRY_TEMPERATURE,
    PromptSize,
    RoleModel,
    RoleRequest,
    make_request,
    measure_prompt,
)
from alpha_umi.nodes.role.shortening import Ask, Compute, Work, find_cut, read_thread, shorten
from alpha_umi.nodes.role.tool_selection import list_found, list_offered
from alpha_umi.nodes.role.unsure import should_escalate
from alpha_umi.nodes.state import UmiState
from alpha_umi.tools.spec import ToolSpec

Update: TypeAlias = dict[str, Any]
ReadReply: TypeAlias = Callable[[UmiState, AIMessage], Update]
GiveHint: TypeAlias = Callable[[UmiState], str]

_logger = logging.getLogger(__name__)
_begin_with_thoughts: set[int] = set()
"""Models, by `id`, whose chat template opens their thoughts, as what they have written shows."""


class RoleNode(Runnable[UmiState, Update]):
    """Graph node that asks one role's model once, or its next model as well.

    A `Runnable` and not a function, so that the node runs truly async under `ainvoke` and adds no extra run to a
    trace.

    Args:
        role: Which role the model plays.
        models: Any chat model, or several, for each role; what old turns are summed up by is the summarizer's.
        tools: The agent's tools; those that the state offers are described to the model.
        read_reply: Turns the state and the model's reply into a state update; pure.
        give_hint: What to add to the trajectory for this one call; pure, so that no other call can see it.
        response_format: What the model is held to.
    """

    def __init__(
        self,
        role: Role,
        models: Mapping[Role, RoleModel],
        tools: Sequence[ToolSpec],
        read_reply: ReadReply,
        give_hint: GiveHint = lambda state: "",
        response_format: ResponseFormat | None = None,
    ) -> None:
        """Remember the models; nothing is loaded yet."""
        self.name = role
        self._role: Role = role
        self._models, self._summarizers = (
            (model,) if isinstance(model, BaseChatModel) else tuple(model)
            for model in (models[role], models["summarizer"])
        )
        self._tools = {tool.name: tool for tool in tools}
        self._read_reply = read_reply
        self._give_hint = give_hint
        self._response_format = response_format

    def _make_request(self, model: BaseChatModel, state: UmiState, trajectory: Trajectory | None = None) -> RoleRequest:
        return make_request(
            model,
            self._role,
            trajectory or self._read_thread(state),
            temperature=self._choose_temperature(state),
            retry=state["n_bad_plans"] > 0,
            hint=self._give_hint(state),
            found=list_found(state, self._tools),
            logprobs=self._role == "planner" and bool(state["settings"].get("unsure")),
            response_format=self._response_format,
        )

    def _read_thread(self, state: UmiState) -> Trajectory:
        return read_thread(state, list_offered(state, self._tools))

    def _choose_temperature(self, state: UmiState) -> float:
        temperature = float(state["settings"]["temperature"])
        # a chain that is begun again greedily would end where the last one did
        is_new_chain = self._role == "planner" and state["n_restarts"] > 0
        return max(temperature, RETRY_TEMPERATURE) if is_new_chain else temperature

    def _make_update(self, state: UmiState, reply: AIMessage) -> Update:
        update = self._read_reply(state, reply)
        thoughts = read_thoughts(reply)
        for message in update.get("messages", ()):
            if thoughts and isinstance(message, AIMessage):
                kwargs = message.additional_kwargs
                kwargs[THOUGHTS] = "\n".join(filter(None, [kwargs.get(THOUGHTS), thoughts]))
        usage = add_usage(state.get("usage"), reply.usage_metadata)
        return {**update, "n_queries": state["n_queries"] + 1, "usage": usage}

    def _watch(
        self, model: BaseChatModel, state: UmiState, config: RunnableConfig | None
    ) -> tuple[RunnableConfig, _Watcher]:
        """Name the run of the model, and what it writes after the message that this becomes part of."""
        message_id = state.get("plan_id") if self._role == "planner" else get_pending(state).id
        named = patch_config(config, run_name=f"{self._role}_model")
        watcher = _Watcher(
            self._role,
            message_id,
            begins_with_thoughts=id(model) in _begin_with_thoughts,
            is_shown=TAG_NOSTREAM not in {*(model.tags or ()), *(named.get("tags") or ())},
        )
        given = named.get("callbacks")
        if isinstance(given, BaseCallbackManager):
            given = given.copy()
            given.handlers.insert(0, watcher)
            given.inheritable_handlers.insert(0, watcher)
            return {**named, "callbacks": given}, watcher
        return {**named, "callbacks": [watcher, *(given or ())]}, watcher

    def _finish(
        self, model: BaseChatModel, state: UmiState, reply: AIMessage, watcher: _Watcher, config: RunnableConfig
    ) -> Update:
        if watcher.said.begins_with_thoughts and id(model) not in _begin_with_thoughts:
            _begin_with_thoughts.add(id(model))
            finalize(model, _begin_with_thoughts.discard, id(model))
        if watcher.message_id is not None:
            reply.id = watcher.message_id
        if self._role == "planner" and (certainty := read_certainty(reply.response_metadata, self._tools)):
            reply.response_metadata[CERTAINTY] = certainty
        return self._make_update(state, reply)

    def _work(self, state: UmiState, config: RunnableConfig | None) -> Work[Update]:
        """Say which model to ask what, take its reply or error, and return the update of the one that counts."""
        usage, before = None, state.get("shortened")
        for model in self._models:
            named, watcher = self._watch(model, state, config)
            is_last = model is self._models[-1]
            try:
                state, reply = yield from self._ask(model, state, named, config)
            except Exception as error:
                if is_last:
                    raise
                _logger.warning("The %s's model failed and the next one is asked: %r", self._role, error)
                continue
            reply.usage_metadata = usage = add_usage(usage, reply.usage_metadata)
            update = self._finish(model, state, reply, watcher, named)
            if is_last or not should_escalate(state, update):
                is_same = state.get("shortened") == before
                return update if is_same else {**update, "shortened": state["shortened"]}
            state = {**state, "n_queries": update["n_queries"], "plan_id": reply.id}
        raise AssertionError("The last model's reply counts.")

    def _ask(
        self, model: BaseChatModel, state: UmiState, named: RunnableConfig, config: RunnableConfig | None
    ) -> Work[tuple[UmiState, AIMessage]]:
        """Ask a model; a prompt that is too long, or is refused as that, loses old turns first."""
        state = yield from self._shorten(model, state, config)
        while True:
            try:
                reply = yield Ask(model, self._make_request(model, state), named)
            except (ContextOverflow, ContextOverflowError):
                shorter = yield from self._shorten(model, state, config, is_refused=True)
                if shorter is state:
                    raise
                state = shorter
            else:
                return state, reply

    def _shorten(
        self, model: BaseChatModel, state: UmiState, config: RunnableConfig | None, *, is_refused: bool = False
    ) -> Work[UmiState]:
        trajectory = self._read_thread(state)
        if len(trajectory.turns) < 2 or not state["settings"].get("history"):
            return state

        def measure(part: Trajectory) -> PromptSize:
            return measure_prompt(model, self._make_request(model, state, part))

        cut = yield Compute(partial(find_cut, state, trajectory, measure, self._role, is_refused=is_refused))
        return (yield from shorten(state, cut, self._summarizers, trajectory, config)) if cut else state

    def invoke(self, input: UmiState, config: RunnableConfig | None = None, **_: Any) -> Update:
        """Call the model and return the state update."""
        work = self._work(input, config)
        step = next(work)
        while True:
            try:
                value = step.run()
            except Exception as error:
                step = work.throw(error)
                continue
            try:
                step = work.send(value)
            except StopIteration as done:
                return cast("Update", done.value)

    async def ainvoke(self, input: UmiState, config: RunnableConfig | None = None, **_: Any) -> Update:
        """Call the model without blocking the event loop and return the state update."""
        work = self._work(input, config)
        step = next(work)
        while True:
            try:
                value = await step.arun()
            except Exception as error:
                step = work.throw(error)
                continue
            try:
                step = work.send(value)
            except StopIteration as done:
                return cast("Update", done.value)


class _Watcher(BaseCallbackHandler):
    """Gives what a model writes the id of the message that it ends up in, and takes its thoughts out of the text.

    Other handlers come after it, so they see what it leaves: while it is written only the answer as text, in the end
    the text of any role.
    """

    run_inline = True

    def __init__(self, role: Role, message_id: str | None, *, begins_with_thoughts: bool, is_shown: bool) -> None:
        self.message_id = message_id
        self._role: Role = role
        self._is_shown = is_shown
        self._content: Any = ""
        self.said = SaidSoFar(begins_with_thoughts=begins_with_thoughts)
        self.has_streamed = False

    def on_llm_new_token(self, token: object, *, chunk: object = None, **_: Any) -> None:
        if isinstance(chunk, ChatGenerationChunk):
            self.has_streamed = True
            message = chunk.message
            message.id = self.message_id or message.id
            is_last = isinstance(message, AIMessageChunk) and message.chunk_position == "last"
            said = map_texts(message.content, partial(self.said.feed, is_last=is_last))
            self._content = merge_content(self._content, said)
            message.content = set_apart(said, self._role)

    def on_stream_event(self, event: Any, **_: Any) -> None:
        self.has_streamed = True
        match event:
            case {"event": "message-start"} if self.message_id is not None:
                event["id"] = self.message_id
            case {"event": "content-block-delta", "delta": {"type": "text-delta", "text": str(text)}}:
                event["delta"] = self._show_block("text-delta", self.said.feed(text))
            case {"event": "content-block-finish", "content": {"type": "text", "text": str(text)}}:
                event["content"] = self._show_block("text", split_reasoning(text)[1])
            case {"event": "content-block-start", "content": {"type": "text"}}:
                event["content"] = self._show_block("text", "")

    def _show_block(self, kind: str, text: str) -> dict[str, str]:
        shown = get_kind(self._role)
        return {"type": kind.replace("text", shown), shown: text}

    def on_llm_end(self, response: LLMResult, **_: Any) -> None:
        for generation in chain.from_iterable(response.generations):
            if isinstance(generation, ChatGeneration) and isinstance(message := generation.message, AIMessage):
                message.id = self.message_id or message.id
                if self._content:
                    message.content = self._content
                if not self.said.text:
                    self.said.feed(str(message.text), is_last=True)
                set_thoughts_apart(message, self.said.text)
                if self._is_shown and not self.has_streamed:  # before LangGraph does, as text
                    shown = set_apart(message.content, self._role)
                    push_message(AIMessageChunk(content=shown, id=message.id), state_key=None)


def get_pending(state: UmiState) -> AIMessage:
    """Return the planner's last message, which caller and summarizer complete."""
    message = state["messages"][-1]
    if not isinstance(message, AIMessage):
        raise TypeError(f"Expected the planner's message last, found {message.type!r}.")
    return message


def complete(pending: AIMessage, step: Step, reply: AIMessage) -> AIMessage:
    """Return `pending` with the rest of its step filled in; the same id makes LangGraph replace it."""
    message = make_message(step)
    message.id = pending.id
    message.additional_kwargs = {**pending.additional_kwargs, **message.additional_kwargs}
    message.response_metadata = {**pending.response_metadata}
    message.usage_metadata = add_usage(pending.usage_metadata, reply.usage_metadata)
    return message
