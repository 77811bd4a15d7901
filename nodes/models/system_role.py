"""Servers that refuse something: a system role, which is then said at the head of the user's first message; a grammar.

Imports langchain-openai, which is optional.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
from langchain_core.language_models import LanguageModelInput
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_openai import ChatOpenAI
from pydantic import PrivateAttr

from alpha_umi.nodes.format.zero_shot import join_system

_logger = logging.getLogger(__name__)
# In the words of the chat templates of Gemma and Mistral, and of servers.
_REFUSAL = re.compile(r"system|developer (?:role|instruction)|roles? must alternate|only user", re.IGNORECASE)
_NO_GRAMMAR = re.compile(r"grammar|structured.?output", re.IGNORECASE)
# llama.cpp answers with 500 where a template raises.
_RAISED = re.compile(r"system (?:role|message|prompt)|roles? must alternate|only user", re.IGNORECASE)


class AdaptingChatOpenAI(ChatOpenAI):
    """`ChatOpenAI` that asks once more, without what a server refuses, and remembers it."""

    _joins_system: bool = PrivateAttr(default=False)
    _refuses_grammars: bool = PrivateAttr(default=False)

    def _get_request_payload(
        self, input_: LanguageModelInput, *, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        payload: dict[str, Any] = super()._get_request_payload(input_, stop=stop, **kwargs)
        if self._joins_system and "messages" in payload:
            payload["messages"] = join_system(payload["messages"])
        return payload

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        while True:
            try:
                return super()._generate(*args, **kwargs)
            except openai.APIStatusError as error:
                self._adapt(error)

    async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
        while True:
            try:
                return await super()._agenerate(*args, **kwargs)
            except openai.APIStatusError as error:
                self._adapt(error)

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        while True:
            try:
                yield from super()._stream(*args, **kwargs)
                return
            except openai.APIStatusError as error:
                self._adapt(error)

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        while True:
            try:
                async for chunk in super()._astream(*args, **kwargs):
                    yield chunk
                return
            except openai.APIStatusError as error:
                self._adapt(error)

    def _adapt(self, error: openai.APIStatusError) -> None:
        """Note what the server refuses, or raise what it refuses besides."""
        if error.status_code in (400, 422) and not self._refuses_grammars and _NO_GRAMMAR.search(str(error)):
            _logger.warning("The server refuses a grammar, so replies are only checked from now on: %s", error)
            self._refuses_grammars = True
            return
        words = {400: _REFUSAL, 422: _REFUSAL, 500: _RAISED}.get(error.status_code)
        is_about_role = words is not None and words.search(str(error))
        if self._joins_system or not is_about_role:
            raise error
        self._joins_system = True
