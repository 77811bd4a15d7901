"""Models that are not ours: servers by URL, hosted models, and any LangChain object that can write text."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from langchain_core.language_models import BaseChatModel, BaseLLM
from langchain_core.messages import AIMessage, BaseMessage, convert_to_openai_messages, get_buffer_string
from langchain_core.outputs import ChatGeneration, ChatResult

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.trajectory import Role
from alpha_umi.tools.http.breaker import DEFAULT_REMOTE

SERVER_KEY_VARIABLE = "ALPHA_UMI_SERVER_API_KEY"
"""Key for the servers of `umi-server:MODEL@URL`."""
_SAMPLING = ("temperature", "max_tokens", "top_p", "seed")


def make_openai(model: str, options: Mapping[str, Any], *, base_url: str | None = None) -> BaseChatModel:
    """Build `ChatOpenAI` for OpenAI or any server that speaks its protocol; used 0-shot.

    The server is at `base_url`, else at ``OPENAI_BASE_URL``, else OpenAI itself. Of the options those of local models
    are ignored; ``remote`` is `RemoteSettings`.

    Raises:
        ConfigError: If langchain-openai is not installed or no key is set for OpenAI itself.
    """
    server = _import_extra("alpha_umi.nodes.models.server", "openai")
    chat_openai = server.GuardedChatOpenAI
    api_key = os.environ.get("OPENAI_API_KEY")
    own_server = base_url or os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_BASE")
    if not api_key and not own_server:
        raise ConfigError(
            f"The model 'openai:{model}' needs a key: set OPENAI_API_KEY, or name your own server with "
            f"'openai:{model}@http://localhost:8000/v1' or OPENAI_BASE_URL."
        )
    fields = _pick_sampling(options) | {"model": model, "api_key": api_key or "none"}
    fields |= server.make_clients(own_server, options.get("remote", DEFAULT_REMOTE))
    fields["constrained"] = options.get("constrained") is not False
    chat: BaseChatModel = chat_openai(**fields, stream_usage=True)
    if (chat.profile or {}).get("temperature", True):
        return chat
    fields.pop("temperature", None)  # a reasoning model refuses requests that name one
    return chat_openai(**fields, stream_usage=True)  # type: ignore[no-any-return]


def make_umi_server(model: str, role: Role, options: Mapping[str, Any], *, base_url: str) -> BaseChatModel:
    """Build the role-aware client of a server, at an address with its ``/v1``, that serves one of our checkpoints.

    `model` may also name its LoRA module for the role; options are as for `make_openai`. A key is read from
    ``ALPHA_UMI_SERVER_API_KEY``; the one for OpenAI is never sent there.
    """
    server = _import_extra("alpha_umi.nodes.models.server", "openai")
    chat: BaseChatModel = server.UmiServerChatModel(
        model=model,
        role=role,
        api_key=os.environ.get(SERVER_KEY_VARIABLE) or "none",
        stream_usage=True,
        use_responses_api=False,
        constrained=options.get("constrained") is not False,
        **server.make_clients(base_url, options.get("remote", DEFAULT_REMOTE)),
        **_pick_sampling(options),
    )
    return chat


def make_hub_endpoint(model: str, options: Mapping[str, Any]) -> BaseChatModel:
    """Build `ChatHuggingFace` over the Hugging Face inference providers; used 0-shot.

    Raises:
        ConfigError: If the extra or a key is missing.
    """
    package = _import_extra("langchain_huggingface", "huggingface")
    from huggingface_hub import get_token  # noqa: PLC0415 - takes 0.3 s

    if not (os.environ.get("HUGGINGFACEHUB_API_TOKEN") or get_token()):
        raise ConfigError(f"hub-endpoint:{model} needs a key: set HF_TOKEN, or run 'hf auth login' once.")
    chat: BaseChatModel = package.ChatHuggingFace(
        llm=package.HuggingFaceEndpoint(repo_id=model), **_pick_sampling(options)
    )
    return chat


def as_chat_model(model: object) -> BaseChatModel:
    """Return a chat model whose `invoke` and `ainvoke` both work.

    Chat models are returned as they are, except `ChatHuggingFace` over a local pipeline: its async methods raise and
    its reply repeats the prompt, so it and a bare `HuggingFacePipeline` are called through `CompletionChatModel`.

    Raises:
        ConfigError: If `model` is neither a chat model nor a text-completion model of LangChain.
    """
    llm = getattr(model, "llm", None)
    if isinstance(model, BaseChatModel):
        if isinstance(model, CompletionChatModel) or not (hasattr(llm, "pipeline") and isinstance(llm, BaseLLM)):
            return model
        return CompletionChatModel(llm=llm, tokenizer=getattr(model, "tokenizer", None))
    if isinstance(model, BaseLLM):
        return CompletionChatModel(llm=model, tokenizer=getattr(getattr(model, "pipeline", None), "tokenizer", None))
    raise ConfigError(
        f"A {type(model).__name__} cannot play a role: pass a LangChain chat model (ChatOpenAI, ChatHuggingFace, …), a "
        "HuggingFacePipeline, or a role spec such as 'hf:smollm2-135m'."
    )


class CompletionChatModel(BaseChatModel):
    r"""A text-completion LLM as a chat model, for 0-shot use.

    Does not stream, and a cancelled `ainvoke` returns at once while the LLM computes on in its thread; `hf:PATH` does
    both properly. Stop strings work where the LLM supports them, which `HuggingFacePipeline` does not.

    Args:
        llm: Completes the prompt.
        tokenizer: Its chat template makes the prompt; without one the prompt is ``System: …\nHuman: …\nAI:``.
    """

    llm: BaseLLM
    tokenizer: Any = None

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        if hasattr(self.llm, "pipeline"):
            # the defaults repeat the prompt in the reply and begin it with a second BOS token
            kwargs["pipeline_kwargs"] = {"return_full_text": False, "add_special_tokens": not self._has_template}
        result = self.llm._generate([self._make_prompt(messages)], stop=stop, **kwargs)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(result.generations[0][0].text))])

    @property
    def _has_template(self) -> bool:
        return bool(getattr(self.tokenizer, "chat_template", None))

    def _make_prompt(self, messages: list[BaseMessage]) -> str:
        if not self._has_template:
            return get_buffer_string(messages) + "\nAI:"
        conversation = convert_to_openai_messages(messages)
        return str(self.tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True))

    @property
    def _llm_type(self) -> str:
        return f"chat-over-{self.llm._llm_type}"


def _pick_sampling(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in _SAMPLING if options.get(name) is not None}


def _import_extra(module: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is not installed; run: pip install 'alpha-umi[{extra}]'") from error
