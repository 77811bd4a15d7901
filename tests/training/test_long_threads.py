"""A conversation that is longer than `max_tokens` is trained on as its prompts hold it where it is served."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest
from langchain_core.messages import BaseMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from transformers import PreTrainedTokenizerFast

from alpha_umi import UmiContext, create_umi_agent
from alpha_umi.nodes.format.render import encode_messages, encode_prompt, load_template, render_messages
from alpha_umi.nodes.format.trajectory import ROLES, Role, Trajectory
from alpha_umi.nodes.models.request import PromptSize, RoleRequest
from alpha_umi.nodes.models.scripted import ScriptedChatModel, replay
from alpha_umi.nodes.state import History
from alpha_umi.tools.convert import make_tool
from alpha_umi.training.batches import Corpus, TrainingItem, make_stage_samples
from alpha_umi.training.config import TrainConfig
from tests.training.conftest import ADD, CITY

MAX_TOKENS = 900
MakeConfig = Callable[..., TrainConfig]


class Counting(ScriptedChatModel):
    """Measures prompts by a tokenizer, as weights in this process do."""

    tokenizer: Any

    def measure(self, request: RoleRequest) -> PromptSize:
        return PromptSize(len(encode(request, self.tokenizer)), MAX_TOKENS)


def encode(request: RoleRequest, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    messages: Any = request.messages
    return encode_prompt(messages, tokenizer, load_template("umi"), request.kwargs["role"], request.kwargs["tools"])


def serve(
    tokenizer: PreTrainedTokenizerFast, role: Role, then: Literal["drop", "summarize"] = "drop"
) -> tuple[Trajectory, list[list[int]]]:
    """Return a long thread, and the prompts that a role was asked with."""
    script = replay(
        {
            "planner": ["I need the sum.\nNext: caller.", "It is known.\nNext: conclusion."],
            "caller": ['Action: add\nAction Input: {"a": 1}'],
            "summarizer": ["That makes two."],
        }
    )

    def say(role: Role, messages: list[BaseMessage]) -> str:
        outcomes = [message.text for message in messages if getattr(message, "role", "") == "observation"]
        is_summary = any(message.text.startswith("Summarize what I asked") for message in messages)
        return " ".join(outcomes) if is_summary else script(role, messages)

    model = Counting(script=say, tokenizer=tokenizer)
    tools = [make_tool(spec, lambda **_: "two") for spec in (ADD, CITY)]
    defaults = UmiContext(history=History(then=then))
    agent = create_umi_agent(model, tools, defaults=defaults, approvals=False, checkpointer=InMemorySaver())
    for i in range(12):
        question = HumanMessage(f"What is {i} and more?" * (1 + i % 3))
        result = agent.invoke({"messages": [question]}, {"configurable": {"thread_id": "1"}})
    prompts = [
        encode(request, tokenizer)
        for request in model.requests
        if request.kwargs["role"] == role and "Summarize what I asked" not in request.messages[1].text
    ]
    return Trajectory.from_messages(result["messages"], (ADD, CITY)), prompts


def make_items(
    trajectory: Trajectory, config: TrainConfig, role: Role, tokenizer: PreTrainedTokenizerFast
) -> list[TrainingItem]:
    samples = make_stage_samples(Corpus({"long": trajectory}, ""), config, role, tokenizer)
    assert samples.n_too_long == 0
    return samples.items


@pytest.mark.parametrize("then", ["drop", "summarize"])
@pytest.mark.parametrize("role", ROLES)
def test_training_reads_the_prompts_that_are_served(
    make_config: MakeConfig, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch, role: Role, then: Any
) -> None:
    monkeypatch.setattr("alpha_umi.training.batches.share_tools", lambda items, max_tokens: list(items))
    trajectory, prompts = serve(tokenizer, role, then)
    config = make_config(max_tokens=MAX_TOKENS, history=History(then=then))
    items = make_items(trajectory, config, role, tokenizer)
    assert len(items) > 2
    assert all(len(item) <= MAX_TOKENS for item in items)
    assert [item.input_ids[: turn.start].tolist() for item in items for turn in item.turns] == prompts


def test_what_fits_is_one_sample(make_config: MakeConfig, tokenizer: PreTrainedTokenizerFast) -> None:
    trajectory, _ = serve(tokenizer, "planner")
    whole = encode_messages(render_messages(trajectory), tokenizer, load_template("umi"))
    (item,) = make_items(trajectory, make_config(max_tokens=len(whole)), "planner", tokenizer)
    assert item.input_ids.tolist() == whole
