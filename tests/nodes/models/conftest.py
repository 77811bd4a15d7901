"""Tiny random models on disk; every test of the local model runs on them."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LogitsProcessorList,
    PreTrainedTokenizerFast,
    StoppingCriteriaList,
)

from alpha_umi.nodes.models.engine import EngineName
from alpha_umi.nodes.models.engine.backbone import Backbone
from alpha_umi.nodes.models.engine.checkpoint import hash_weights
from alpha_umi.nodes.models.engine.decode import Decoding, Sampler, decode_tokens, make_sampler, open_sequence
from alpha_umi.nodes.models.engine.fit import quiet_peft
from alpha_umi.nodes.models.engine.grammar import Grammar, TokenMask
from alpha_umi.nodes.models.engine.llamacpp.backbone import LlamaCppBackbone
from alpha_umi.nodes.models.engine.pytorch.backbone import TorchBackbone
from alpha_umi.nodes.models.engine.scheduler import ContinuousBatch, GenerationJob, close_engines
from alpha_umi.nodes.models.engine.spans import Logits, Span

ADAPTERS: dict[str, list[int] | None] = {"one": None, "two": None, "planner": [5, 6, 7], "caller": [5, 8, 7]}
"""Adapters and their invocation tokens; None for a plain LoRA."""
WINDOW_TOKENS = 65_536


def make_llama(n_vocab: int, seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=n_vocab,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=WINDOW_TOKENS,
        initializer_range=0.3,
        eos_token_id=2,
        bos_token_id=1,
        pad_token_id=2,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config)


def save_adapter(folder: Path, n_vocab: int, seed: int, invocation: list[int] | None) -> None:
    """Save a LoRA adapter that changes what the model says."""
    config = LoraConfig(
        r=4,
        target_modules=["q_proj", "v_proj", "down_proj"],
        task_type="CAUSAL_LM",
        alora_invocation_tokens=invocation,
    )
    with quiet_peft():
        adapted = get_peft_model(make_llama(n_vocab), config)
    torch.manual_seed(seed)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    adapted.save_pretrained(str(folder))


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Path:
    """A tiny Llama with tokenizer, and the adapters of `ADAPTERS` in folders of their own."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_llama(len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for seed, (name, invocation) in enumerate(ADAPTERS.items(), start=1):
        save_adapter(folder / name, len(tokenizer), seed, invocation)
    return folder


@pytest.fixture(scope="session")
def trained_folder(
    model_folder: Path, tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A checkpoint as a training leaves it: a LoRA for planner and caller, on the tiny model."""
    folder = tmp_path_factory.mktemp("checkpoints") / "trained"
    tokenizer.save_pretrained(folder)
    roles: dict[str, dict[str, str]] = {"summarizer": {"kind": "none"}}
    for role, adapter in (("planner", "one"), ("caller", "two")):
        shutil.copytree(model_folder / adapter, folder / role)
        roles[role] = {"kind": "lora", "path": role, "sha256": hash_weights(folder / role)}
    template = (folder / "chat_template.jinja").read_bytes()
    card = {
        "format": 1,
        "base": {"name": str(model_folder), "sha256": hash_weights(model_folder)},
        "template": {"style": "umi", "sha256": hashlib.sha256(template).hexdigest()},
        "backbone": {"kind": "none"},
        "roles": roles,
    }
    (folder / "umi.json").write_text(json.dumps(card))
    return folder


@pytest.fixture
def backbone(model_folder: Path) -> TorchBackbone:
    """The tiny model, loaded for one test; no thread."""
    return TorchBackbone(model_folder, torch.device("cpu"), torch.float32)


@dataclass
class Written:
    """What to write behind a prompt, and what was written."""

    prompt: list[int]
    adapter: str | None = None
    n: int = 8
    grammar: Grammar | None = None
    grammar_tokens: int | None = None
    cancel_after: int | None = None
    sampler: Sampler = field(default_factory=make_sampler)
    eos_ids: Collection[int] = ()
    prompt_lookup: bool = True
    ids: list[int] = field(default_factory=list)
    n_cached: int = 0
    n_evicted: int = 0
    is_finished: bool | None = None
    error: BaseException | None = None


Write: TypeAlias = Callable[[Backbone, Sequence[Written]], None]


@pytest.fixture(params=["torch", "llamacpp"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineName]:
    """Both engines, one after the other; what llama.cpp keeps stays away from the user's cache."""
    found: EngineName = request.param
    with pytest.MonkeyPatch.context() as patch:
        if found == "llamacpp":
            pytest.importorskip("xllamacpp", reason="needs the extra llamacpp")
            patch.setenv("ALPHA_UMI_CACHE", str(tmp_path_factory.getbasetemp() / "gguf"))
        yield found


@pytest.fixture
def n_computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the passes that begin, in any thread."""
    count = [0]

    def add_counting(kind: type[Backbone]) -> None:
        compute = kind.compute

        def count_and_compute(self: Backbone, spans: Sequence[Span]) -> list[Logits]:
            count[0] += 1
            return compute(self, spans)

        monkeypatch.setattr(kind, "compute", count_and_compute)

    add_counting(TorchBackbone)
    add_counting(LlamaCppBackbone)
    return count


@pytest.fixture
def write() -> Write:
    """Write texts in one batch."""

    def make_job(order: Written) -> GenerationJob:
        cancelled = threading.Event()

        def accept(token: int) -> bool:
            order.ids.append(token)
            if len(order.ids) == order.cancel_after:
                cancelled.set()
            return True

        def begin(backbone: Backbone) -> Decoding:
            adapter = backbone.find_adapter(order.adapter, "planner") if order.adapter else None
            mask = (
                backbone.grammars.make_mask(order.grammar, order.grammar_tokens or order.n) if order.grammar else None
            )
            with open_sequence(backbone, adapter, order.prompt) as sequence:
                order.n_cached = sequence.n_cached
                yield from decode_tokens(
                    sequence,
                    cancelled,
                    sampler=order.sampler,
                    max_new_tokens=order.n,
                    eos_ids=order.eos_ids,
                    constraint=mask,
                    accept=accept,
                    prompt_lookup=order.prompt_lookup,
                )
            order.n_evicted = sequence.n_evicted
            order.is_finished = mask.finished if mask else None

        if order.cancel_after == 0:
            cancelled.set()
        return GenerationJob(begin, cancelled, partial(setattr, order, "error"), order.n)

    def write_all(backbone: Backbone, orders: Sequence[Written]) -> None:
        batch = ContinuousBatch(backbone)
        for order in orders:
            batch.add(make_job(order))
        while not batch.is_empty:
            batch.step()
        for order in orders:
            if order.error:
                raise order.error

    return write_all


def follow(backbone: TorchBackbone, grammar: Grammar, text: str) -> bool:
    """Tell whether the grammar lets exactly this text be written."""
    mask = backbone.grammars.make_mask(grammar, 1000)
    return follow_mask(
        mask, backbone.tokenizer.encode(text, add_special_tokens=False), backbone.model.config.vocab_size
    )


def follow_mask(mask: TokenMask, ids: Sequence[int], n_vocab: int) -> bool:
    """Tell whether a mask lets exactly these tokens be written."""
    for token in ids:
        if mask.finished:
            return False
        wanted = np.full(n_vocab, -1.0, np.float32)
        wanted[token] = 1.0
        if mask.choose(wanted, make_sampler()) != token:
            return False
    return mask.finished


def generate_reference(
    model: Any, prompt: list[int], n: int, *, mask: TokenMask | None = None, sampler: Sampler | None = None
) -> list[int]:
    """Return what transformers itself generates, a pass for each token; greedily, or what the sampler and mask pick."""

    def pick(_: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        pick_token = sampler or make_sampler()
        logits = scores[0].float().numpy()
        token = mask.choose(logits, pick_token) if mask else pick_token(logits)
        return torch.full_like(scores, -torch.inf).index_fill(1, torch.tensor([token]), 0.0)

    ids = torch.tensor([prompt])
    output = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=n,
        do_sample=False,
        eos_token_id=-1,
        logits_processor=LogitsProcessorList([pick]) if mask or sampler else None,
        stopping_criteria=StoppingCriteriaList([lambda *_, **__: torch.tensor([bool(mask and mask.finished)])]),
    )
    return list(output[0, len(prompt) :].tolist())


@pytest.fixture
def copy_model(model_folder: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Copy the tiny model, without its adapters, to a folder that a test may spoil."""

    def copy(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for file in model_folder.iterdir():
            if file.is_file():
                (folder / file.name).write_bytes(file.read_bytes())
        return folder

    return copy


@pytest.fixture(scope="session", autouse=True)
def _engines() -> Iterator[None]:
    yield
    close_engines()
