"""Remote models: any behind OpenAI's protocol, and those that serve our own chat template.

The latter run on vLLM with one LoRA module per role, or on `transformers serve`. OpenAI's client itself tries again,
with growing pauses and as the server's Retry-After says; here a breaker is put around it.

Imports langchain-openai, which is optional: reach it through `alpha_umi.nodes.models.openai`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar
from urllib.parse import urlsplit

import openai
from langchain_core.language_models import LanguageModelInput
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import PrivateAttr

from alpha_umi.errors import AlphaUmiError, ModelFault
from alpha_umi.nodes.format.reasoning import THOUGHTS
from alpha_umi.nodes.format.render import template_kwargs
from alpha_umi.nodes.format.trajectory import Role
from alpha_umi.nodes.models.bounded_client import get_clients, httpx
from alpha_umi.nodes.models.constraints import GRAMMAR_FIELDS, Kind, ask_kind, choose_adapter, thinks, write_grammar
from alpha_umi.nodes.models.gbnf import role_gbnf
from alpha_umi.nodes.models.request import RoleAwareChatModel
from alpha_umi.nodes.models.system_role import AdaptingChatOpenAI
from alpha_umi.tools.http.addresses import split_login
from alpha_umi.tools.http.breaker import BreakerOpen, RemoteSettings, get_breaker
from alpha_umi.tools.spec import ToolSpec

_CONNECT_S = 5.0
_OPENAI = "api.openai.com"
# Arguments of a call: a grammar, and the fields of the request that it becomes.
_GBNF, _FIELDS = "gbnf", "fields"
_ADVICE = "Start the server, wait for it or name another model; then ask again, or resume the thread."
# What LangChain and OpenAI's client raise where a field is missing, null or of another type.
_GARBLED = (openai.APIResponseValidationError, TypeError, ValueError, LookupError, AttributeError)


def make_clients(url: str | None, remote: RemoteSettings) -> dict[str, Any]:
    """Return the fields that reach the server at an address; what it holds of a login shows in none of them.

    Raises:
        ConfigError: If that is no address.
    """
    bare, login = split_login(url, "a model server") if url else (None, None)
    proxy, total_s = os.environ.get("OPENAI_PROXY"), remote.model_timeout_s
    return {
        **({"base_url": bare} if bare else {}),
        **get_clients(total_s, auth=login, proxy=proxy),
        "openai_proxy": None,  # which LangChain reads from the environment, and refuses beside clients
        "timeout": httpx.Timeout(total_s, connect=_CONNECT_S),
        "remote": remote,
        "max_retries": remote.retries,
    }


class GuardedChatOpenAI(AdaptingChatOpenAI):
    """`ChatOpenAI` that leaves a failing server alone for a while, and says so.

    Args:
        remote: When it is left alone.
        constrained: Send planner's and caller's grammars to servers that take some.

    Raises:
        ModelFault: At a call, if the server is away, is left alone, or answers what is no chat completion.
    """

    may_omit: ClassVar[bool] = False

    remote: RemoteSettings = RemoteSettings()
    constrained: bool = True
    _kind: Kind | None = PrivateAttr(default=None)

    def constrain(self, role: Role, tools: Sequence[ToolSpec]) -> dict[str, Any]:
        """Return the arguments by which a call is held to the grammar of a role, if the server takes one."""
        is_own = self.openai_api_base and urlsplit(self.openai_api_base).hostname != _OPENAI
        gbnf = role_gbnf(role, tools, may_omit=self.may_omit) if self.constrained and is_own else None
        return {_GBNF: gbnf} if gbnf else {}

    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        return super()._get_invocation_params(stop, **{key: kwargs[key] for key in kwargs if key != _GBNF})

    def _add_fields(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call with the fields for this kind of server, which may be asked what it is."""
        gbnf = kwargs.get(_GBNF)
        fields = write_grammar(kind, gbnf) if gbnf and (kind := self._find_kind()) else {}
        return {**{key: kwargs[key] for key in kwargs if key != _GBNF}, _FIELDS: fields}

    def _find_kind(self) -> Kind | None:
        if self._kind is None and (kind := ask_kind(self.root_client)):
            self._kind = "other" if kind == "llama.cpp" and thinks(self.root_client) else kind
        return self._kind

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        with self._guarded():
            result = super()._generate(*args, **self._add_fields(kwargs))
            _require(result.generations)
            return result

    async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
        with self._guarded():
            result = await super()._agenerate(*args, **await asyncio.to_thread(self._add_fields, kwargs))
            _require(result.generations)
            return result

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        with self._guarded():
            chunk: ChatGenerationChunk | None = None
            for chunk in super()._stream(*args, **self._add_fields(kwargs)):
                yield chunk
            _require(chunk)

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        with self._guarded():
            chunk: ChatGenerationChunk | None = None
            kwargs = await asyncio.to_thread(self._add_fields, kwargs)
            async for chunk in super()._astream(*args, **kwargs):
                yield chunk
            _require(chunk)

    def _create_chat_result(self, response: Any, generation_info: dict[str, Any] | None = None) -> ChatResult:
        result = super()._create_chat_result(response, generation_info)
        answered = response if isinstance(response, dict) else response.model_dump(warnings=False)
        for choice, generation in zip(answered["choices"], result.generations, strict=True):
            _keep_thoughts(choice.get("message"), generation)
        return result

    def _convert_chunk_to_generation_chunk(self, chunk: dict[str, Any], *args: Any) -> ChatGenerationChunk | None:
        generation = super()._convert_chunk_to_generation_chunk(chunk, *args)
        if generation and (choices := chunk.get("choices")):
            _keep_thoughts(choices[0].get("delta"), generation)
        return generation

    def _get_request_payload(
        self, input_: LanguageModelInput, *, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        fields = kwargs.pop(_FIELDS, {})
        payload = super()._get_request_payload(input_, stop=stop, **kwargs)
        if self._refuses_grammars:
            fields = {key: fields[key] for key in fields if key not in GRAMMAR_FIELDS}
        if fields:
            payload["extra_body"] = {**fields, **(payload.get("extra_body") or {})}
        if held_to := payload.pop("response_format", None):  # else OpenAI's client raises where a reply is cut off
            payload["extra_body"] = {**(payload.get("extra_body") or {}), "response_format": held_to}
        return payload

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        server = urlsplit(self.openai_api_base or "https://api.openai.com").netloc
        try:
            with get_breaker(server, self.remote).guard(_is_server_fault):
                yield
        except AlphaUmiError:
            raise  # the request could not be made; some of these are ValueErrors
        except BreakerOpen as error:
            raise ModelFault(f"{error} {_ADVICE}") from None
        except _GARBLED as error:
            raise ModelFault(
                f"The model server {server} answered what is no chat completion ({type(error).__name__}: {error}). "
                "Check that the address ends in /v1 and that the server speaks OpenAI's protocol."
            ) from error
        except openai.APIError as error:
            if not _is_server_fault(error):
                raise
            raise ModelFault(f"The model server {server} cannot answer: {error} {_ADVICE}") from error


def _keep_thoughts(written: Mapping[str, Any] | None, generation: ChatGeneration) -> None:
    """Keep what a server that parses the thoughts of a reasoning model sends of them; LangChain drops it."""
    for key in (THOUGHTS, "reasoning"):
        if isinstance(thoughts := (written or {}).get(key), str) and thoughts:
            generation.message.additional_kwargs[THOUGHTS] = thoughts
            return


def _is_server_fault(error: Exception) -> bool:
    if type(error) is openai.APIError:  # what a server says of itself in the middle of a stream
        return True
    return isinstance(error, openai.APIConnectionError | openai.InternalServerError | openai.RateLimitError | _Empty)


class _Empty(ValueError):
    """There is no reply in the answer."""


def _require(reply: ChatGenerationChunk | Sequence[object] | None) -> None:
    if not reply:
        raise _Empty("it holds no choice")


class UmiServerChatModel(RoleAwareChatModel, GuardedChatOpenAI):
    """Role-aware `ChatOpenAI`: role messages go out as they are, the role itself as a chat template argument.

    The server needs a checkpoint of ours, because the template stored in its tokenizer turns both into the prompt.
    With llama.cpp's server each request names the adapter of the model's name.

    Args:
        role: Used where a call names no role.
    """

    may_omit: ClassVar[bool] = True  # a server does not say how its checkpoint was trained

    role: Role = "planner"

    def _add_fields(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        added = super()._add_fields(kwargs)
        if self._find_kind() == "llama.cpp":
            added[_FIELDS] |= choose_adapter(self.root_client, self.model_name)
        return added

    def _get_request_payload(
        self, input_: LanguageModelInput, *, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        tools = [each if isinstance(each, ToolSpec) else ToolSpec.from_openai(each) for each in kwargs.pop("tools", ())]
        arguments = template_kwargs(kwargs.pop("role", self.role), tools)
        body = {**(self.extra_body or {}), "chat_template_kwargs": arguments}
        return super()._get_request_payload(input_, stop=stop, extra_body=body, **kwargs)
