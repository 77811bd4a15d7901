"""Tiny random models on disk; every test of the local model runs on them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from alpha_umi.nodes.models.engine.backbone import Backbone
from alpha_umi.nodes.models.engine.checkpoint import quiet_peft
from alpha_umi.nodes.models.engine.decode import Writing, make_sampler, open_text, write_tokens
from alpha_umi.nodes.models.engine.grammar import Grammar
from alpha_umi.nodes.models.engine.scheduler import Batch, Job, close_engines

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


@pytest.fixture
def backbone(model_folder: Path) -> Backbone:
    """The tiny model, loaded for one test; no thread."""
    return Backbone(model_folder, torch.device("cpu"), torch.float32)


@dataclass
class Written:
    """What to write behind a prompt, and what was written."""

    prompt: list[int]
    adapter: str | None = None
    n: int = 8
    grammar: Grammar | None = None
    cancel_after: int | None = None
    ids: list[int] = field(default_factory=list)
    n_reused: int = 0
    error: BaseException | None = None


Write: TypeAlias = Callable[[Backbone, Sequence[Written]], None]


@pytest.fixture
def write() -> Write:
    """Write texts greedily in one batch."""

    def make_job(order: Written) -> Job:
        cancelled = threading.Event()

        def accept(token: int) -> bool:
            order.ids.append(token)
            if len(order.ids) == order.cancel_after:
                cancelled.set()
            return True

        def begin(backbone: Backbone) -> Writing:
            adapter = backbone.find_adapter(order.adapter, "planner") if order.adapter else None
            mask = backbone.grammars.make_mask(order.grammar, order.n) if order.grammar else None
            with open_text(backbone, adapter, order.prompt) as text:
                order.n_reused = text.n_reused
                yield from write_tokens(
                    text,
                    cancelled,
                    sampler=make_sampler(),
                    max_new_tokens=order.n,
                    eos_ids=(),
                    constraint=mask,
                    accept=accept,
                )

        if order.cancel_after == 0:
            cancelled.set()
        return Job(begin, cancelled, partial(setattr, order, "error"), order.n)

    def write_all(backbone: Backbone, orders: Sequence[Written]) -> None:
        batch = Batch(backbone)
        for order in orders:
            batch.add(make_job(order))
        while not batch.is_empty:
            batch.step()
        for order in orders:
            if order.error:
                raise order.error

    return write_all


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
    torch.set_num_threads(1)  # two threads on a tiny tensor wait for each other longer than they compute
    yield
    close_engines()
