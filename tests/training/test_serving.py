"""What training writes, the agent runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from alpha_umi import Trajectory, UmiContext, create_umi_agent
from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.render import encode_messages, load_template, render_messages, template_kwargs
from alpha_umi.nodes.format.trajectory import ROLES, Role, Turn
from alpha_umi.nodes.models.engine.checkpoint import load_backbone, read_checkpoint
from alpha_umi.nodes.models.engine.fit import quiet_peft
from alpha_umi.nodes.models.engine.scheduler import close_engines
from alpha_umi.nodes.models.local import LocalChatModel
from alpha_umi.training.config import TrainConfig
from alpha_umi.training.glpft import train

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


CHATML, GEMMA, LLAMA = (
    ("<|im_start|>", "<|im_end|>"),
    ("<start_of_turn>", "<end_of_turn>"),
    ("<|start_header_id|>", "<|eot_id|>"),
)
GRANITE, MISTRAL = ("<|start_of_role|>", "<|end_of_text|>"), ("[INST]", "</s>")
WINDOW = {"sliding_window": 48, "layer_types": ["sliding_attention", "full_attention"]}
CAPPED = {**WINDOW, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 2.0}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
GRANITE_SIZES = {"num_local_experts": 0, "num_experts_per_tok": 0, "shared_intermediate_size": 64, "mamba_n_heads": 4}


@pytest.fixture
def make_twin(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes a tiny random model of a family, with the tests' tokens named as the family's."""

    def make(family: str, turn_tokens: tuple[str, str], **settings: Any) -> Path:
        torch.manual_seed(0)
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "max_position_embeddings": 2048}
        heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "initializer_range": 0.2}
        ids = {"vocab_size": len(tokenizer), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
        config: Any = AutoConfig.for_model(family, **sizes, **heads, **ids, **settings)
        model: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
        model.save_pretrained(tmp_path / family)
        text = tokenizer.backend_tokenizer.to_str()
        for name, token in zip(CHATML, turn_tokens, strict=True):
            text = text.replace(name, token)
        own = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
            tokenizer_object=type(tokenizer.backend_tokenizer).from_str(text), eos_token=turn_tokens[1]
        )
        own.save_pretrained(tmp_path / family)
        return tmp_path / family

    return make


def test_conversations_are_joined_where_layers_have_a_window_as_well(
    make_twin: Callable[..., Path], make_config: Callable[..., TrainConfig], data: Path, tmp_path: Path
) -> None:
    n_tokens = []
    for window in (None, 48):
        base = make_twin("mistral", MISTRAL, sliding_window=window)
        config = make_config("single-multitask").model_copy(update={"base": str(base)})
        (report,) = train(config, data, tmp_path / "out", dry_run=True)
        n_tokens.append(report.n_tokens)
    assert n_tokens[0] == n_tokens[1]


@pytest.mark.parametrize(
    ("family", "turn_tokens", "roles", "settings"),
    [
        ("llama", LLAMA, "alora", {}),
        ("gemma3_text", GEMMA, "lora", WINDOW),
        ("gemma3_text", GEMMA, "alora", WINDOW),
        ("qwen3_moe", CHATML, "alora", EXPERTS),
        pytest.param("qwen3_moe", CHATML, "lora", EXPERTS, marks=pytest.mark.slow),
        pytest.param("qwen3_moe", CHATML, "full", EXPERTS, marks=pytest.mark.slow),
        ("gemma2", GEMMA, "alora", CAPPED),
        pytest.param("gemma2", GEMMA, "lora", CAPPED, marks=pytest.mark.slow),
        pytest.param("gemma2", GEMMA, "full", CAPPED, marks=pytest.mark.slow),
        pytest.param("gemma3_text", GEMMA, "full", WINDOW, marks=pytest.mark.slow),
        pytest.param("mistral", MISTRAL, "full", {"sliding_window": 48}, marks=pytest.mark.slow),
        ("mistral", MISTRAL, "alora", {"sliding_window": 48}),
        pytest.param("gemma3_text", GEMMA, "alora", {**WINDOW, "sliding_window": 4096}, marks=pytest.mark.slow),
        pytest.param("qwen2", CHATML, "alora", {}, marks=pytest.mark.slow),
        pytest.param("qwen3", CHATML, "alora", {}, marks=pytest.mark.slow),
        pytest.param("mistral", MISTRAL, "alora", {"sliding_window": None}, marks=pytest.mark.slow),
        pytest.param("mistral", MISTRAL, "lora", {"sliding_window": 48}, marks=pytest.mark.slow),
        pytest.param("granite", GRANITE, "alora", {}, marks=pytest.mark.slow),
        pytest.param(
            "granitemoehybrid",
            GRANITE,
            "alora",
            {**GRANITE_SIZES, "layer_types": ["attention"] * 2},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_twin_of_each_family_is_trained_and_asked(
    family: str,
    turn_tokens: tuple[str, str],
    roles: str,
    settings: dict[str, Any],
    make_twin: Callable[..., Path],
    make_config: Callable[..., TrainConfig],
    data: Path,
    tmp_path: Path,
) -> None:
    base = make_twin(family, turn_tokens, **settings)
    config = make_config(roles=roles, max_steps=2, max_tokens=2048).model_copy(update={"base": str(base)})
    train(config, data, tmp_path / "out")
    for role in ROLES:
        model = LocalChatModel(model=str(tmp_path / "out"), dtype="float32", max_tokens=24, constrained=False)
        reply = model.invoke([("user", "What is 1 and more?")], role=role).text
        # the last token may be half a character
        assert reply.rstrip("\ufffd") == _generate_by_hand(tmp_path / "out", role).rstrip("\ufffd")


@pytest.mark.parametrize(
    ("family", "settings", "message"),
    [
        ("lfm2", {"layer_types": ["conv", "full_attention"]}, "layers of kind conv, which cannot .* such as Llama"),
        ("mamba", {}, "layers of kind mamba, which cannot"),
        ("deepseek_v2", {"kv_lora_rank": 8, "n_routed_experts": 4}, "layers of kind deepseek_v2, which cannot"),
        ("diffllama", {}, "layers of kind diffllama, which cannot"),
        ("doge", {}, "layers of kind doge, which cannot"),
        ("gpt_oss", {"num_local_experts": 2, "sliding_window": 48}, "layers of kind gpt_oss, which cannot"),
        (
            "granitemoehybrid",
            {**GRANITE_SIZES, "layer_types": ["mamba", "attention"]},
            "layers of kind .*, which cannot",
        ),
    ],
)
def test_what_would_come_out_wrong_is_refused(
    family: str,
    settings: dict[str, Any],
    message: str,
    make_twin: Callable[..., Path],
    make_config: Callable[..., TrainConfig],
    data: Path,
    tmp_path: Path,
) -> None:
    base = make_twin(family, GEMMA, **settings)
    config = make_config().model_copy(update={"base": str(base)})
    with pytest.raises(ConfigError, match=message):
        train(config, data, tmp_path / "out", dry_run=True)
    assert not (tmp_path / "out").exists()
