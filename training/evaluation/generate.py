"""Many requests to one model at once; the only place of the evaluation that calls a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda

from alpha_umi.errors import ContextOverflow
from alpha_umi.nodes.models.request import Request
from alpha_umi.training.evaluation.records import Usage


@runtime_checkable
class BatchModel(Protocol):
    """A chat model that answers several requests in one forward pass per token."""

    def generate_many(self, requests: Sequence[Request]) -> list[AIMessage | ContextOverflow]:
        """Return one reply per request; a prompt that does not fit must not cost the others theirs."""
        ...


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model wrote; ``""`` where the prompt did not fit its window."""

    text: str
    usage: Usage
    overflowed: bool = False


def generate_many(model: BaseChatModel, requests: Sequence[Request]) -> list[Reply]:
    """Return one reply per request, in order.

    A model without batches of its own is asked from as many threads as there are requests.

    Raises:
        Exception: Whatever the model raises, but for prompts that do not fit.
    """
    if isinstance(model, BatchModel):
        return [_make_reply(reply) for reply in model.generate_many(requests)]

    def ask(request: Request) -> AIMessage:
        return model.invoke(request.messages, **request.kwargs)

    return [_make_reply(reply) for reply in RunnableLambda(ask).batch(list(requests), return_exceptions=True)]


def _make_reply(reply: AIMessage | Exception) -> Reply:
    if isinstance(reply, ContextOverflow):
        return Reply("", Usage(), overflowed=True)
    if isinstance(reply, Exception):
        raise reply
    return Reply(str(reply.text), Usage.from_metadata(reply.usage_metadata))
