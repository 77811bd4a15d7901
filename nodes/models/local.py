"""Weights on this machine as a LangChain chat model.

Sync and async calls read from a queue that the engine's thread fills. So the event loop never waits for a file or a
forward pass, a slow reader never holds the model, and leaving early frees it within a layer's time.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ConfigDict, Field

from alpha_umi.errors import ConfigError, ContextOverflow
from alpha_umi.nodes.format.escaping import Style
from alpha_umi.nodes.format.trajectory import Role, Trajectory
from alpha_umi.nodes.format.zero_shot import render_zero_shot
from alpha_umi.nodes.models.engine import DEFAULT_TOKENS_PER_BATCH, MAX_SEQUENCES, EngineName, GenerationRequest
from alpha_umi.nodes.models.request import PromptSize, RoleAwareChatModel, RoleRequest
from alpha_umi.tools.spec import ToolSpec

if TYPE_CHECKING:
    from alpha_umi.nodes.models.engine.scheduler import Engine

Prompts: TypeAlias = Literal["roles", "general"]
StreamItem: TypeAlias = ChatGenerationChunk | BaseException | None
"""A chunk of the reply, what went wrong, or the end."""

# By place and role; finding one reads the disk, which an event loop must not wait for.
_found: dict[tuple[tuple[str, str, str, EngineName], Role | None], Engine] = {}


class LocalChatModel(RoleAwareChatModel):
    """A model in this process, for the roles and for any LangChain chain.

    Takes the role messages of `render_messages` with ``role`` and ``tools`` as keyword arguments. Standard messages
    work too: they are read as a trajectory and answered by the summarizer, or, with tools bound, by the caller, whose
    reply then carries `tool_calls`. Any number of these share the weights of one folder.

    Args:
        model: Folder, short name such as ``smollm2-135m``, or Hugging Face id.
        adapter: LoRA adapter: a folder inside the model's, or any path.
        role: Used where a call names no role.
        prompts: ``roles`` for weights that were trained for them, ``general`` for other instruct models: a system
            message explains the role, in the model's own chat template. A role spec sees to it.
        style: Chat template the weights were trained with.
        constrained: Keep planner and caller to their grammars.
        guard_names: Where a constrained planner writes "I call", let only the name of an offered tool follow.
        copy_values: Let a constrained caller take texts and numbers only from the conversation, where that is possible.
        prompt_lookup: Try what followed the same words earlier in the prompt; faster, and the text is the same but for
            rounding.
        max_tokens: The most tokens of a reply.
        max_rationale_tokens: Where the planner is made to decide.
        temperature: 0 decodes greedily.
        top_p: Sample among the most likely tokens that together have this probability.
        seed: Makes sampling reproducible.
        device: ``auto``, ``cpu``, ``cuda`` …, or ``balanced`` to spread the layers over all GPUs.
        dtype: ``auto``, ``float32``, ``bfloat16`` or ``float16``; with llama.cpp ``auto``, ``q8_0``, ``q4_0``, ``f16``.
        engine: What computes: ``torch``, ``llamacpp``, or ``auto``: llama.cpp for a trained checkpoint where it is
            installed, there is no GPU, and device and type are left open.

    Raises:
        ModelNotAvailable: At the first call, if the weights are not on this machine.
        ConfigError: At a call, if model, adapter or settings cannot be used.
        ContextOverflow: At a call whose prompt does not fit the window.
    """

    model_config = ConfigDict(extra="forbid")

    model: str
    adapter: str | None = None
    role: Role | None = None
    prompts: Prompts = "roles"
    style: Style = "umi"
    constrained: bool = True
    guard_names: bool = True
    copy_values: bool = False
    prompt_lookup: bool = True
    max_tokens: int = Field(default=256, ge=1)
    max_rationale_tokens: int = Field(default=128, ge=1)
    temperature: float = Field(default=0.0, ge=0.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    seed: int | None = None
    device: str = "auto"
    dtype: str = "auto"
    engine: EngineName = "auto"

    @property
    def role_aware(self) -> bool:  # type: ignore[override] # of its class, as long as all weights were trained
        """Whether it takes role messages."""
        return self.prompts == "roles"

    def constrain(self, role: Role, tools: Sequence[ToolSpec]) -> dict[str, Any]:
        """Return the arguments by which a call with general prompts is held to the grammar of a role."""
        return {} if self.role_aware else {"role": role, "tools": tools}

    def bind_tools(
        self, tools: Sequence[Any], *, tool_choice: str | None = None, **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Offer tools; whatever `tool_choice` says, the caller calls one."""
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def _make_generation_request(
        self, messages: Sequence[BaseMessage], stop: Sequence[str] | None, kwargs: Mapping[str, Any]
    ) -> GenerationRequest:
        given = {key: value for key, value in kwargs.items() if value is not None}
        tools = [each if isinstance(each, ToolSpec) else ToolSpec.from_openai(each) for each in given.get("tools", ())]
        role: Role | None = given.get("role", self.role)
        wanted = given.get("response_format")
        if not self.role_aware and "role" not in given and (tools or any(each.type == "tool" for each in messages)):
            trajectory = Trajectory.from_messages(messages, tools)
            plays = role or ("caller" if tools else "summarizer")
            messages = render_zero_shot(plays, trajectory, retry=False, hint="")
        return GenerationRequest(
            messages=tuple(messages),
            role=role or ("caller" if tools else "summarizer"),
            style=self.style,
            adapter=self.adapter,
            tools=tuple(tools),
            stop=(stop,) if isinstance(stop, str) else tuple(stop or ()),
            max_tokens=given.get("max_tokens", self.max_tokens),
            max_rationale_tokens=self.max_rationale_tokens,
            temperature=given.get("temperature", self.temperature),
            top_p=self.top_p,
            seed=given.get("seed", self.seed),
            constrained=given.get("constrained", self.constrained),
            guard_names=self.guard_names,
            copy_values=self.copy_values,
            prompt_lookup=self.prompt_lookup,
            wants_tool_calls=role is None and bool(tools),
            model_name=self._name_for(role),
            is_general=not self.role_aware,
            answer_schema=json.dumps(wanted["json_schema"]["schema"]) if wanted else None,
        )

    def _name_for(self, role: Role | None) -> str:
        part = Path(self.adapter).name if self.adapter else role
        return f"{Path(self.model).name}#{part}" if part else Path(self.model).name

    @property
    def _place(self) -> tuple[str, str, str, EngineName]:
        return self.model, self.device, self.dtype, self.engine

    def _find_engine(self, role: Role | None = None) -> Engine:
        from alpha_umi.nodes.models.engine.scheduler import get_engine  # noqa: PLC0415 - imports torch

        role = None if self.adapter else role
        engine = get_engine(self.model, self.device, self.dtype, engine=self.engine, role=role)
        _found[self._place, role] = engine
        return engine

    async def _afind_engine(self, role: Role) -> Engine:
        engine = _found.get((self._place, None if self.adapter else role))
        if engine is None or engine.is_closed:
            engine = await asyncio.to_thread(self._find_engine, role)
        return engine

    def _stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        items: SimpleQueue[StreamItem] = SimpleQueue()
        request = self._make_generation_request(messages, stop, kwargs)
        with _cancelling() as cancelled:
            self._find_engine(request.role).generate(request, items.put, cancelled)
            while (chunk := _take(items.get())) is not None:
                yield chunk

    async def _astream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        items: asyncio.Queue[StreamItem] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def emit(item: StreamItem) -> None:
            with suppress(RuntimeError):  # the loop was closed before the model noticed
                loop.call_soon_threadsafe(items.put_nowait, item)

        request = self._make_generation_request(messages, stop, kwargs)
        engine = await self._afind_engine(request.role)
        with _cancelling() as cancelled:
            engine.generate(request, emit, cancelled)
            while (chunk := _take(await items.get())) is not None:
                yield chunk

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        request = self._make_generation_request(messages, stop, kwargs)
        with _cancelling() as cancelled:
            message = _collect(self._find_engine(request.role), request, cancelled).result()
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        request = self._make_generation_request(messages, stop, kwargs)
        engine = await self._afind_engine(request.role)
        with _cancelling() as cancelled:
            message = await asyncio.wrap_future(_collect(engine, request, cancelled))
        return ChatResult(generations=[ChatGeneration(message=message)])

    def generate_many(
        self,
        requests: Sequence[RoleRequest],
        *,
        on_progress: Callable[[int], None] | None = None,
        tokens_per_batch: int = DEFAULT_TOKENS_PER_BATCH,
    ) -> list[AIMessage | ContextOverflow]:
        """Answer many requests, as many at once as the batch has room for; for evaluation, so without callbacks.

        Roles and adapters may be mixed. Prompts that begin alike are answered one after the other, so what they share
        is computed once. Other runs on the same weights continue meanwhile. `on_progress` is told, in this thread, how
        many are answered so far; `tokens_per_batch` bounds prompts in memory, with `max_tokens` for each reply.

        Returns:
            One reply per request, in their order; where a prompt does not fit the window, what `invoke` would raise.

        Raises:
            ConfigError: As at any call; the other replies are lost then.
        """
        given = [
            self._make_generation_request(each.messages, each.kwargs.get("stop"), each.kwargs) for each in requests
        ]
        order = sorted(range(len(given)), key=lambda i: [message.text for message in given[i].messages])
        replies: dict[int, AIMessage | ContextOverflow] = {}
        waiting: dict[Future[AIMessage], int] = {}

        def take() -> None:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                error = future.exception()
                replies[waiting.pop(future)] = error if isinstance(error, ContextOverflow) else future.result()
                if on_progress is not None:
                    on_progress(len(replies))

        with _cancelling() as cancelled:
            for i in order:
                engine = self._find_engine(given[i].role)
                waiting[_collect(engine, given[i], cancelled, tokens_per_batch=tokens_per_batch)] = i
                if len(waiting) > MAX_SEQUENCES:  # the rest is queued later, so that other runs get their turn
                    take()
            while waiting:
                take()
        return [replies[i] for i in range(len(given))]

    def reload(self, role: Role | None = None) -> None:
        """Let new runs use what the folder of a role's adapter holds now, such as after training it again.

        By default the role is the model's own. Runs that are on their way finish on the old one, which is forgotten
        then. Other roles, and what is cached for them, stay. It holds for all models of this process with the same
        folder, device and type. Waits for the forward pass that runs, so call it in a thread where an event loop must
        not wait.

        Raises:
            ConfigError: If what the folder holds cannot be used; the old one is used further.
        """
        from alpha_umi.nodes.models.engine.scheduler import reload_role  # noqa: PLC0415 - imports torch

        if (role := role or self.role) is None:
            raise ConfigError("This model plays no role of its own; say which one to reload: 'planner', 'caller' …")
        reload_role(self.model, self.adapter, role, self.device, self.dtype, engine=self.engine)
        _found.clear()  # a role that had an adapter may have a full model now

    def measure(self, request: RoleRequest) -> PromptSize:
        """Return the size of a prompt, and what the window leaves for it beside `max_tokens`; loads the model."""
        from alpha_umi.nodes.models.engine.reply import measure_prompt  # noqa: PLC0415 - imports torch

        generation = self._make_generation_request(request.messages, None, request.kwargs)
        return PromptSize(*self._find_engine(generation.role).submit(partial(measure_prompt, generation)).result())

    def get_token_ids(self, text: str) -> list[int]:
        """Return the model's token ids of a text, which LangChain counts tokens by; loads the model."""
        engine = self._find_engine()
        return engine.submit(lambda backbone: list(backbone.tokenizer.encode(text, add_special_tokens=False))).result()

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        settings: dict[str, Any] = {"role": self.role, "temperature": self.temperature, "max_tokens": self.max_tokens}
        settings |= {key: value for key, value in kwargs.items() if value is not None}
        params = LangSmithParams(
            ls_provider="alpha_umi",
            ls_model_name=self._name_for(settings["role"]),
            ls_model_type="chat",
            ls_temperature=settings["temperature"],
            ls_max_tokens=settings["max_tokens"],
        )
        if stop:
            params["ls_stop"] = [stop] if isinstance(stop, str) else list(stop)
        return params

    @property
    def _identifying_params(self) -> dict[str, Any]:
        names = LocalChatModel.model_fields.keys() - BaseChatModel.model_fields.keys()
        return {name: getattr(self, name) for name in sorted(names)}

    @property
    def _llm_type(self) -> str:
        return "alpha-umi-local"


@contextmanager
def _cancelling() -> Iterator[threading.Event]:
    """Give an event that is set in the end, so that the engine leaves what nobody waits for."""
    cancelled = threading.Event()
    try:
        yield cancelled
    finally:
        cancelled.set()


def _collect(
    engine: Engine, request: GenerationRequest, cancelled: threading.Event, **limits: int
) -> Future[AIMessage]:
    """Have a request answered in one message; nothing is set once `cancelled` is."""
    chunks: list[ChatGenerationChunk] = []
    reply: Future[AIMessage] = Future()
    reply.set_running_or_notify_cancel()  # from here on a task that is cancelled leaves it to the engine

    def emit(item: StreamItem) -> None:
        if isinstance(item, ChatGenerationChunk):
            chunks.append(item)
        elif isinstance(item, BaseException):
            reply.set_exception(item)
        elif not cancelled.is_set():
            reply.set_result(_join(chunks))

    engine.generate(request, emit, cancelled, **limits)
    return reply


def _take(item: StreamItem) -> ChatGenerationChunk | None:
    if isinstance(item, BaseException):
        raise item
    return item


def _join(chunks: Sequence[ChatGenerationChunk]) -> AIMessage:
    last = cast(AIMessageChunk, chunks[-1].message)
    return AIMessage(
        "".join(chunk.text for chunk in chunks),
        tool_calls=last.tool_calls,
        invalid_tool_calls=last.invalid_tool_calls,
        usage_metadata=last.usage_metadata,
        response_metadata=last.response_metadata,
    )
