from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alpha_umi.nodes.models.engine.checkpoint import read_checkpoint
from alpha_umi.training.config import TrainConfig
from alpha_umi.training.glpft import train
from alpha_umi.training.stage import StageRun, run_stage
from alpha_umi.training.trainer import TrainingStopped, UmiTrainer

MakeConfig = Callable[..., TrainConfig]
MakeRun = Callable[..., StageRun]


def test_a_stage_shows_progress_and_leaves_metrics(
    make_config: MakeConfig, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(make_config(warmup_ratio=0.5, max_steps=4), "planner", progress=True)
    run_stage(run)
    shown = capsys.readouterr().err
    assert "planner" in shown
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
