"""A chat model that replays given outputs: for tests, documentation and dry runs without weights."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

from langchain_core.language_models import LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ChatMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import PrivateAttr

from alpha_umi.documents import read_document
from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.trajectory import Role
from alpha_umi.nodes.models.request import RoleAwareChatModel, RoleRequest

Outputs: TypeAlias = Mapping[Role, Sequence[str]]
Script: TypeAlias = Outputs | Sequence[str] | Callable[[Role, list[BaseMessage]], str]

CHARACTERS_PER_TOKEN = 4
MAX_REQUESTS = 1_000


class ScriptedChatModel(RoleAwareChatModel):
    """Says what the script says, in streamed chunks, and remembers what it was asked.

    Args:
        script: One sequence for all roles or one per role, each consumed in order by all threads together; or a
            function of role and messages, which keeps no state.
        role: Used where a call names no role.
        delay_s: Pause before each chunk, in seconds.
        model_name: Its name in traces.

    Raises:
        ConfigError: At a call the script has no output for.

    Example:
        >>> ScriptedChatModel(script={"planner": ["Easy. Next: conclusion."]}).invoke("Hi", role="planner").text
        'Easy. Next: conclusion.'
    """

    script: Script
    role: Role | None = None
    delay_s: float = 0.0
    model_name: str = "scripted"

    _positions: dict[str, Iterator[int]] = PrivateAttr(default_factory=dict)
    _requests: deque[RoleRequest] = PrivateAttr(default_factory=lambda: deque(maxlen=MAX_REQUESTS))

    @classmethod
    def from_file(cls, path: str | Path, **fields: Any) -> ScriptedChatModel:
        """Replay a YAML or JSON file ``{planner: [...], caller: [...], summarizer: [...]}``.

        The output is chosen by position alone: the k-th message of the role after the last user message gets the k-th
        output, wrapping around. So any number of threads and resumed runs can share the model.

        Raises:
            ConfigError: If the file cannot be read or has another shape.
        """
        return cls(script=replay(_read_outputs(Path(path))), model_name=Path(path).stem, **fields)

    @property
    def requests(self) -> list[RoleRequest]:
        """The last requests, oldest first."""
        return list(self._requests)

    def _choose(self, messages: list[BaseMessage], stop: list[str] | None, kwargs: Mapping[str, Any]) -> str:
        role: Role | None = kwargs.get("role", self.role)
        self._requests.append(RoleRequest(messages, dict(kwargs)))
        if callable(self.script):
            text = self.script(_require(role), messages)
        elif isinstance(self.script, Mapping):
            text = self._take(_require(role), self.script.get(_require(role), ()))
        else:
            text = self._take("model", self.script)
        ends = [text.find(string) for string in stop or () if string in text]
        return text[: min(ends)] if ends else text

    def _take(self, who: str, outputs: Sequence[str]) -> str:
        # setdefault and next are atomic: no lock that an event loop could wait for
        position = next(self._positions.setdefault(who, count()))
        if position >= len(outputs):
            raise ConfigError(
                f"The script has no output left for the {who}: all {len(outputs)} were used. Add some to the script, "
                "or give a function of (role, messages)."
            )
        return outputs[position]

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        text = self._choose(messages, stop, kwargs)
        if self.delay_s:  # even sleep(0) gives up the processor
            time.sleep(self.delay_s * count_tokens(text))
        return self._make_result(messages, text)

    async def _agenerate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        text = self._choose(messages, stop, kwargs)
        await asyncio.sleep(self.delay_s * count_tokens(text))
        return self._make_result(messages, text)

    def _stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in self._make_chunks(messages, self._choose(messages, stop, kwargs)):
            if self.delay_s:
                time.sleep(self.delay_s)
            yield chunk

    async def _astream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._make_chunks(messages, self._choose(messages, stop, kwargs)):
            await asyncio.sleep(self.delay_s)
            yield chunk

    def _make_result(self, messages: list[BaseMessage], text: str) -> ChatResult:
        metadata = {"model_name": self.model_name, "finish_reason": "stop"}
        message = AIMessage(text, usage_metadata=_make_usage(messages, text), response_metadata=metadata)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _make_chunks(self, messages: list[BaseMessage], text: str) -> Iterator[ChatGenerationChunk]:
        for start in range(0, len(text), CHARACTERS_PER_TOKEN):
            yield ChatGenerationChunk(message=AIMessageChunk(content=text[start : start + CHARACTERS_PER_TOKEN]))
        last = AIMessageChunk(
            content="",
            usage_metadata=_make_usage(messages, text),
            response_metadata={"model_name": self.model_name, "finish_reason": "stop"},
            chunk_position="last",
        )
        yield ChatGenerationChunk(message=last)

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return LangSmithParams(
            ls_provider="alpha_umi",
            ls_model_name=self.model_name,
            ls_model_type="chat",
            ls_temperature=kwargs.get("temperature"),
        )

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name, "style": self.style}

    @property
    def _llm_type(self) -> str:
        return "alpha-umi-scripted"


def replay(outputs: Outputs) -> Callable[[Role, list[BaseMessage]], str]:
    """Return a stateless script: the k-th turn of a role after the last user message says ``outputs[role][k]``."""

    def choose(role: Role, messages: list[BaseMessage]) -> str:
        texts = outputs.get(role, ())
        if not texts:
            raise ConfigError(f"The script has no output for the {role}: add '{role}: [\"…\"]' to it.")
        roles = [_role_of(message) for message in messages]
        start = max((i for i, name in enumerate(roles) if name == "user"), default=-1)
        return texts[roles[start + 1 :].count(role) % len(texts)]

    return choose


def count_tokens(text: str) -> int:
    """Approximate a token count: one per four characters begun; what usage and the chunks go by."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def _make_usage(messages: list[BaseMessage], text: str) -> UsageMetadata:
    n_input, n_output = sum(count_tokens(message.text) for message in messages), count_tokens(text)
    return UsageMetadata(input_tokens=n_input, output_tokens=n_output, total_tokens=n_input + n_output)


def _role_of(message: BaseMessage) -> str:
    if isinstance(message, ChatMessage):
        return "hint" if message.additional_kwargs.get("hint") else message.role
    return "user" if message.type == "human" else message.type


def _require(role: Role | None) -> Role:
    if role is None:
        raise ConfigError(
            "This script depends on the role: call the model with role='planner', 'caller' or 'summarizer'."
        )
    return role


def _read_outputs(path: Path) -> Outputs:
    shape = 'write {planner: ["…"], caller: ["…"], summarizer: ["…"]} as YAML or JSON'
    outputs: Outputs = read_document(path, shape, dict[Role, list[str]])
    return outputs
