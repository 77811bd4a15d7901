from __future__ import annotations

import dataclasses
import errno
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import TrainerState

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.models.engine.checkpoint import read_checkpoint
from alpha_umi.training import kernels
from alpha_umi.training.batches import CollateTurns, collate_whole, share_tools
from alpha_umi.training.callbacks import ProgressBar
from alpha_umi.training.config import TrainConfig
from alpha_umi.training.glpft import train
from alpha_umi.training.kernels import BLOCKWISE, BY_AGE, merge_adapters
from alpha_umi.training.stage import StageRun, check_quantization, make_model, make_trainer, run_stage
from alpha_umi.training.trainer import TrainingStopped, UmiTrainer

MakeConfig = Callable[..., TrainConfig]
MakeRun = Callable[..., StageRun]


def test_a_stage_shows_progress_and_leaves_metrics(
    make_config: MakeConfig, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(make_config(warmup_ratio=0.5, max_steps=4), "planner", progress=True)
    run_stage(run)
    shown = capsys.readouterr().err
    assert shown.startswith(f"planner: alora on {run.config.base}, cpu, float32, 600 tokens a step, 4 steps\n")
    assert "4/4" in shown
    assert "tokens/s" in shown
    rows = [json.loads(line) for line in (run.logs / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert rows[0].keys() >= {"stage", "loss", "grad_norm", "learning_rate", "tokens_per_s", "epoch"}
    rates = [row["learning_rate"] for row in rows]
    assert max(rates) == pytest.approx(run.settings.learning_rate)
    assert rates[0] < max(rates) > rates[-1]
    assert list(run.logs.glob("events.out.tfevents.*"))


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_an_adapter_is_trained_in_float32_whatever_the_backbone_is(
    precision: str, make_config: MakeConfig, make_run: MakeRun
) -> None:
    config = make_config(max_steps=1).model_copy(update={"precision": precision})
    run = make_run(config, "caller")
    metrics = run_stage(run)
    assert metrics["n_steps"] == 1
    assert metrics["last_loss"] < 20
    from safetensors import safe_open  # noqa: PLC0415

    with safe_open(run.work / "export" / "adapter_model.safetensors", "pt") as weights:
        assert {str(weights.get_slice(name).get_dtype()) for name in weights.keys()} == {"F32"}  # noqa: SIM118


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_recomputed_activations_give_the_same_losses(kind: str, make_config: MakeConfig, make_run: MakeRun) -> None:
    losses = []
    for recompute in (False, True):
        run = make_run(
            make_config("single-multitask", backbone=kind, max_steps=2, gradient_checkpointing=recompute), "backbone"
        )
        losses.append(run_stage(run)["last_loss"])
        (run.work / "checkpoint-2" / "whole").unlink()
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_a_disk_that_fills_up_at_any_save_loses_nothing(
    make_config: MakeConfig, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config("single-multitask", max_steps=4, save_every_steps=2)
    real = UmiTrainer.save_model
    n_saves = 0

    def save_model(self: UmiTrainer, folder: str, *args: Any, **kwargs: Any) -> None:
        real(self, folder, *args, **kwargs)
        nonlocal n_saves
        n_saves += 1
        if n_saves % 2:
            (Path(folder) / "adapter_model.safetensors").write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(UmiTrainer, "save_model", save_model)
    stops: list[str] = []
    while len(stops) < 20:
        try:
            train(config, data, tmp_path / "full", resume=True)
            break
        except TrainingStopped as stop:
            stops.append(str(stop))
    assert len(stops) == n_saves // 2 == 3
    assert all("--resume" in stop for stop in stops)
    monkeypatch.undo()
    train(config, data, tmp_path / "roomy")
    assert read_checkpoint(tmp_path / "full").backbone.sha256 == read_checkpoint(tmp_path / "roomy").backbone.sha256


def test_in_a_file_progress_comes_by_time_also_inside_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    bar = ProgressBar("planner", show=True, clock=lambda: now)
    arguments: Any = SimpleNamespace(gradient_accumulation_steps=4)
    state = TrainerState(max_steps=3)
    lines = []

    def look(at_s: float, event: Callable[..., None] | None = None) -> None:
        nonlocal now
        now = at_s
        if event:
            event(arguments, state, None)
        bar._bar.write_if_due()  # as the watching thread does
        lines.extend(capsys.readouterr().err.splitlines())

    look(25)
    look(30, lambda *_: bar.announce("planner: alora on x"))
    look(40, bar.on_train_begin)
    look(50)
    look(61, bar.on_substep_end)
    look(65, bar.on_substep_end)
    look(90)
    state.global_step = 1
    state.log_history = [{"loss": 1.5, "tokens_per_s": 80.0}]
    look(100, bar.on_step_end)
    look(100, bar.on_log)
    state.global_step = 3
    look(101, bar.on_log)
    bar.stop()
    look(200)
    assert lines == [
        "planner  reading data  0:00:25",
        "planner: alora on x",
        "planner  0/3  0:00:10",
        "planner  0/3  pass 2/4  0:00:50, 0:04:10 left",
        "planner  1/3  loss 1.5000  80 tokens/s  0:01:00, 0:02:00 left",
        "planner  3/3  loss 1.5000  80 tokens/s  0:01:01",
    ]


@pytest.mark.parametrize(("stage", "keep_bytes"), [("backbone", 10**9), ("backbone", 0), ("caller", 0)])
def test_the_kernels_for_cpus_give_the_same_loss_and_gradients(
    stage: str, keep_bytes: int, make_config: MakeConfig, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alpha_umi.training.kernels._BLOCK_TOKENS", 48)
    monkeypatch.setattr("alpha_umi.training.kernels._BLOCK_ROWS", 5)
    monkeypatch.setattr("alpha_umi.training.kernels._KEEP_BYTES", keep_bytes)
    run = make_run(make_config(roles="alora"), stage)
    model = make_model(run).double()
    for name, parameter in model.named_parameters():
        parameter.data.normal_(std=0.2) if "lora_" in name else None
    collate: Any = CollateTurns(run.markers) if stage == "caller" else collate_whole
    tensors, found = collate([tuple(run.items)]), []
    plain = partial(torch.nn.functional.cross_entropy, reduction="none")
    for attention, cross_entropy in (("sdpa", plain), (BLOCKWISE, kernels.cross_entropy)):
        monkeypatch.setattr("alpha_umi.training.trainer.cross_entropy", cross_entropy)
        model.get_base_model().set_attn_implementation(attention)
        model.zero_grad()
        if attention == BLOCKWISE:
            merge_adapters(model)
        loss = make_trainer(run, model).compute_loss(model, tensors, num_items_in_batch=100)
        loss.backward()
        found.append([loss.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    assert len(found[0]) > 1
    for new, old in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(new, old, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("stage", ["backbone", "caller"])
@pytest.mark.parametrize(
    ("attention", "window"), [("sdpa", None), (BLOCKWISE, None), (BY_AGE, 24), (BY_AGE, 60), (BY_AGE, 200)]
)
def test_conversations_that_share_their_tools_have_the_same_loss_and_gradients(
    stage: str,
    attention: str,
    window: int | None,
    make_config: MakeConfig,
    make_run: MakeRun,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = partial(torch.nn.functional.cross_entropy, reduction="none")  # ours rounds to float32
    monkeypatch.setattr("alpha_umi.training.trainer.cross_entropy", plain)
    run = make_run(make_config(roles="alora"), stage, window=window)
    model = make_model(run).double()
    model.get_base_model().set_attn_implementation(attention)
    for name, parameter in model.named_parameters():
        parameter.data.normal_(std=0.2) if "lora_" in name else None
    collate: Any = CollateTurns(run.markers) if stage == "caller" else collate_whole
    apart = run.items
    joined = share_tools(apart, max_tokens=10_000)
    assert len(joined) < len(apart)
    assert sum(map(len, joined)) < sum(map(len, apart))
    found = []
    for items in (apart, joined):
        model.zero_grad()
        trainer = make_trainer(run, model)
        losses = [trainer.compute_loss(model, collate([(item,)]), num_items_in_batch=100) for item in items]
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        found.append([torch.stack(losses).sum().detach(), *(p.grad for p in model.parameters() if p.grad is not None)])
        found[-1] = [tensor.clone() for tensor in found[-1]]
    for new, old in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(new, old, atol=1e-6, rtol=1e-6)


def test_weights_in_four_bits_train_an_adapter(make_config: MakeConfig, make_run: MakeRun) -> None:
    pytest.importorskip("bitsandbytes")
    run = make_run(make_config(roles="lora"), "caller")
    nf4 = dataclasses.replace(run, config=run.config.model_copy(update={"quantization": "nf4"}))
    model = make_model(nf4)
    assert "Linear4bit" in str(model)
    make_trainer(nf4, model).train()
    assert any(bool((p != 0).any()) for name, p in model.named_parameters() if "lora_B" in name)


def test_four_bits_are_refused_where_they_cannot_be_had(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config().model_copy(update={"quantization": "nf4"})
    monkeypatch.setattr("alpha_umi.training.stage.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs bitsandbytes: pip install 'alpha-umi\[qlora\]'"):
        check_quantization(config)
    monkeypatch.setattr("alpha_umi.training.stage.find_spec", lambda name: name)
    with pytest.raises(ConfigError, match="needs a CUDA device"):
        check_quantization(config)
