from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from alpha_umi.errors import ConfigError, ContextOverflow
from alpha_umi.nodes.format.trajectory import Role
from alpha_umi.nodes.models.request import RoleRequest
from alpha_umi.nodes.models.scripted import ScriptedChatModel
from alpha_umi.training.evaluation.static import generate_many


def make_requests(*texts: str) -> list[RoleRequest]:
    return [RoleRequest([HumanMessage(text)], {"role": "planner"}) for text in texts]


def test_replies_come_in_order_with_their_usage() -> None:
    model = ScriptedChatModel(script=lambda role, messages: f"{role} {messages[0].text}", delay_s=0.001)
    texts = [str(i) * i for i in range(1, 9)]
    replies = generate_many(model, make_requests(*texts))
    assert [reply.text for reply in replies] == [f"planner {text}" for text in texts]
    assert all(reply.usage.output_tokens > 0 for reply in replies)
    assert generate_many(model, []) == []


def test_a_prompt_that_does_not_fit_costs_the_others_nothing() -> None:
    def say(role: Role, messages: list[BaseMessage]) -> str:
        if "long" in messages[0].text:
            raise ContextOverflow("too long")
        return "fine"

    replies = generate_many(ScriptedChatModel(script=say), make_requests("short", "long", "short"))
    assert [(reply.text, reply.overflowed) for reply in replies] == [("fine", False), ("", True), ("fine", False)]


def test_other_errors_end_the_run() -> None:
    with pytest.raises(ConfigError, match="no output left"):
        generate_many(ScriptedChatModel(script={"planner": ["one"]}), make_requests("a", "b"))


class BatchedModel(ScriptedChatModel):
    """Answers all at once."""

    def generate_many(
        self, requests: Sequence[RoleRequest], *, on_progress: Callable[[int], None] | None = None
    ) -> list[AIMessage | ContextOverflow]:
        if on_progress:
            on_progress(len(requests))
        return [AIMessage(f"{i} of {len(requests)}") for i, _ in enumerate(requests)]


def test_a_model_with_batches_of_its_own_is_asked_once() -> None:
    done: list[int] = []
    replies = generate_many(BatchedModel(script=()), make_requests("a", "b"), on_progress=done.append)
    assert done == [2]
    assert [reply.text for reply in replies] == ["0 of 2", "1 of 2"]
