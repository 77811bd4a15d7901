"""A base model of 30 thousand random weights, and a data folder as `alpha-umi data build` makes it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from alpha_umi.nodes.format.trajectory import ROLES, Call, Observation, Step, Trajectory, Turn
from alpha_umi.nodes.models.engine.checkpoint import CheckpointPart
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.batches import Corpus, make_marker, make_stage_samples
from alpha_umi.training.callbacks import ProgressBar
from alpha_umi.training.config import StageName, TrainConfig
from alpha_umi.training.glpft import StageReport, train
from alpha_umi.training.stage import StageRun

ADD = ToolSpec("add", "Adds.", {"type": "object", "properties": {"a": {"type": "number"}}})
CITY = ToolSpec("find_city", "Finds a city.")
Trained = tuple[Path, TrainConfig, list[StageReport]]


def make_trajectory(index: int) -> Trajectory:
    """Return a trajectory of one to three tool calls, an answer or a give-up, and sometimes a second instruction."""
    calls = [
        Step(
            f"I need number {i}.",
            "caller",
            (Call(f"c{i}", "add", {"a": i + index}, Observation(f"It is {i * 7 + index}." * (1 + index % 3))),),
        )
        for i in range(1 + index % 3)
    ]
    end = Step("It cannot be done.", "give up") if index % 4 == 3 else Step("", "conclusion", answer=f"{index} it is.")
    turns = [Turn(f"What is {index} and more?", (*calls, end))]
    if index % 2:
        turns.append(Turn("And Paris?", (Step("I know.", "conclusion", answer="A city."),)))
    return Trajectory((ADD, CITY), tuple(turns))


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Path:
    """Return the folder of a tiny random Llama with the tests' tokenizer."""
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        initializer_range=0.2,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with twelve training trajectories and one of another split."""
    folder = tmp_path_factory.mktemp("data")
    write_rows(folder, 12)
    return folder


def write_rows(folder: Path, n: int) -> None:
    """Write `n` training rows and one of the dev split."""
    rows = [
        {"id": f"own-{i}", "source": "own", "split": "train", "trajectory": make_trajectory(i).to_row()}
        for i in range(n)
    ]
    dev = {"id": "own-dev", "source": "own", "split": "dev-tools", "trajectory": make_trajectory(0).to_row()}
    text = "".join(json.dumps(row) + "\n" for row in [*rows, dev])
    (folder / "trajectories.jsonl").write_text(text, "utf-8")


@pytest.fixture(scope="session")
def make_config(base: Path) -> Callable[..., TrainConfig]:
    """Return a function that makes a quick configuration; keywords override settings of all stages."""

    def make(method: str = "umi", *, backbone: str = "lora", roles: str = "alora", **settings: Any) -> TrainConfig:
        own = ("reuse", "seed", "max_tokens", "token_weights", "caller_may_omit", "repeat_names", "history")
        run = {key: settings.pop(key) for key in own if key in settings}
        defaults = {"learning_rate": 1e-2, "lora_rank": 4, "tokens_per_forward": 600}
        names: dict[str, list[str]] = {"umi": ["backbone", *ROLES], "multi-one-stage": [*ROLES]}
        stages = {name: {"kind": backbone if name == "backbone" else roles} for name in names.get(method, ["backbone"])}
        return TrainConfig.model_validate(
            {"method": method, "base": str(base), "precision": "float32", "device": "cpu", "stages": stages}
            | {"defaults": defaults | settings}
            | run
        )

    return make


@pytest.fixture(scope="session")
def trained(
    make_config: Callable[..., TrainConfig], data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Trained]:
    """Return a function that gives the checkpoint of a method, trained once; to be left as it is."""

    @cache
    def make(method: str, backbone: str, roles: str) -> Trained:
        folder = tmp_path_factory.mktemp("trained")
        config = make_config(method, backbone=backbone, roles=roles, seed=3, epochs=2)
        return folder, config, train(config, data, folder)

    return lambda method="umi", backbone="lora", roles="alora": make(method, backbone, roles)


def _give_window(base: Path, window: int, folder: Path) -> Path:
    """Copy the base as a Mistral, which is a Llama with a window."""
    shutil.copytree(base, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": window}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def make_run(
    base: Path, tokenizer: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., StageRun]:
    """Return a function that makes the run of one stage on the trajectories `own-0` … , each a sample of its own."""
    monkeypatch.setattr("alpha_umi.training.batches.share_tools", lambda items, max_tokens: list(items))

    def make(
        config: TrainConfig, stage: StageName, n: int = 6, *, progress: bool = False, window: int | None = None
    ) -> StageRun:
        corpus = Corpus({f"own-{i}": make_trajectory(i) for i in range(n)}, "")
        items = make_stage_samples(corpus, config, stage, tokenizer).items
        markers = {role: make_marker(tokenizer, role) for role in ROLES}
        bar, work, logs = ProgressBar(stage, show=progress), tmp_path / "work", tmp_path / "logs"
        model = _give_window(base, window, tmp_path / "base") if window else base
        return StageRun(stage, config, model, CheckpointPart("none"), items, markers, work, logs, bar)

    return make
