"""What training writes, the agent runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from alpha_umi import Trajectory, UmiContext, create_umi_agent
from alpha_umi.nodes.format.render import encode_messages, load_template, render_messages, template_kwargs
from alpha_umi.nodes.format.trajectory import ROLES, Role, Turn
from alpha_umi.nodes.models.engine.checkpoint import load_backbone, quiet_peft, read_checkpoint
from alpha_umi.nodes.models.engine.scheduler import close_engines
from alpha_umi.nodes.models.local import LocalChatModel
from alpha_umi.training.config import TrainConfig

Trained = Callable[..., tuple[Path, TrainConfig, list[Any]]]
QUESTION: Any = {"messages": [("user", "What is 1 and more?")]}


def add(a: int) -> str:
    """Adds."""
    return f"It is {a + 7}."


@pytest.fixture(autouse=True)
def _engines() -> Iterator[None]:
    yield
    close_engines()


@pytest.mark.parametrize(
    ("method", "backbone", "roles"),
    [
        ("umi", "lora", "alora"),
        ("umi", "full", "lora"),
        ("multi-one-stage", "none", "full"),
        ("single-multitask", "lora", "none"),
        ("single", "full", "none"),
    ],
)
def test_checkpoint_of_every_method_answers_through_the_agent(
    method: str, backbone: str, roles: str, trained: Trained
) -> None:
    out, _, _ = trained(method, backbone, roles)
    models: Any = {
        role: LocalChatModel(model=str(out), role=role, dtype="float32", max_tokens=40, max_rationale_tokens=16)
        for role in ROLES
    }
    result = create_umi_agent(models, [add]).invoke(QUESTION, context=UmiContext(max_steps=2))
    assert result["finish"] in ("answer", "give up", "step limit")
    trajectory = Trajectory.from_messages(result["messages"])
    for step in trajectory.turns[0].steps:
        assert all(call.name == "add" and isinstance(call.arguments, dict) for call in step.calls)


@pytest.mark.parametrize("kinds", [("none", "full"), ("lora", "alora"), ("lora", "lora")])
def test_each_role_is_played_by_its_own_weights(kinds: tuple[str, str], trained: Trained) -> None:
    out, _, _ = trained("multi-one-stage" if kinds[0] == "none" else "umi", *kinds)
    replies = {
        role: LocalChatModel(model=str(out), dtype="float32", max_tokens=24, constrained=False)
        .invoke([("user", "What is 1 and more?")], role=role)
        .text
        for role in ROLES
    }
    expected = {role: _generate_by_hand(out, role) for role in ROLES}
    assert replies == expected


def _generate_by_hand(out: Path, role: Role) -> str:
    """Load the role's weights with transformers and PEFT alone, and generate without any cache of ours."""
    checkpoint = read_checkpoint(out)
    part = checkpoint.roles[role]
    if part.kind == "full":
        model: Any = AutoModelForCausalLM.from_pretrained(str(part.path), dtype=torch.float32)
    else:
        with quiet_peft():
            model = PeftModel.from_pretrained(load_backbone(checkpoint, dtype=torch.float32), str(part.path))
    tokenizer: Any = AutoTokenizer.from_pretrained(out)
    messages = render_messages(Trajectory((), (Turn("What is 1 and more?"),)))
    prompt = encode_messages(
        messages, tokenizer, load_template("umi"), add_generation_prompt=True, **template_kwargs(role, ())
    )
    ids = torch.tensor([prompt])
    output = model.eval().generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=24,
        do_sample=False,
        eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
        pad_token_id=0,
    )
    return str(tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True))


def test_checkpoint_with_activated_adapters_shares_one_cache(trained: Trained) -> None:
    out, _, _ = trained()
    history = [("user", "What is 1 and more? " * 5)]
    reads = []
    for role in ROLES:
        model = LocalChatModel(model=str(out), role=role, dtype="float32", max_tokens=4, constrained=False)
        reply = model.invoke(history, role=role)
        assert reply.usage_metadata is not None
        reads.append(reply.usage_metadata["input_token_details"]["cache_read"])
    assert reads[0] == 0
    assert reads[1] == reads[2] > 20
