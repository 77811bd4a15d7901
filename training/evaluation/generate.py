"""Many requests to one model at once; the only place of the evaluation that calls a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda

from alpha_umi.errors import ContextOverflow
from alpha_umi.nodes.models.request import RoleRequest
from alpha_umi.training.evaluation.records import Usage


@runtime_checkable
class BatchModel(Protocol):
    """A chat model that answers several requests in one forward pass per token, such as `LocalChatModel`."""

    def generate_many(
        self, requests: Sequence[RoleRequest], *, on_progress: Callable[[int], None] | None = None
    ) -> list[AIMessage | ContextOverflow]:
        """Return one reply per request; a prompt that does not fit must not cost the others theirs.

        Args:
            requests: What to answer.
            on_progress: Is told how many are answered so far.
        """
        ...


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model wrote; ``""`` where the prompt did not fit its window."""

    text: str
    usage: Usage
    overflowed: bool = False


def generate_many(
    model: BaseChatModel,
    requests: Sequence[RoleRequest],
    *,
    n_workers: int = 8,
    on_progress: Callable[[int], None] | None = None,
) -> list[Reply]:
    """Return one reply per request, in order.

    Args:
        model: One with batches of its own gets all requests at once.
        requests: What to answer.
        n_workers: From so many threads any other model is asked.
        on_progress: Is told how many are answered so far, by a model with batches.

    Raises:
        Exception: Whatever the model raises, but for prompts that do not fit.
    """
    if isinstance(model, BatchModel):
        return [_make_reply(reply) for reply in model.generate_many(requests, on_progress=on_progress)]

    def ask(request: RoleRequest) -> AIMessage:
        return model.invoke(request.messages, **request.kwargs)

    replies = RunnableLambda(ask).batch(list(requests), {"max_concurrency": n_workers}, return_exceptions=True)
    return [_make_reply(reply) for reply in replies]


def _make_reply(reply: AIMessage | Exception) -> Reply:
    if isinstance(reply, ContextOverflow):
        return Reply("", Usage(), overflowed=True)
    if isinstance(reply, Exception):
        raise reply
    return Reply(str(reply.text), Usage.from_metadata(reply.usage_metadata))
