from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from alpha_umi.training import estimate
from alpha_umi.training.config import TrainConfig
from alpha_umi.training.glpft import train

MakeConfig = Callable[..., TrainConfig]
CPU = torch.device("cpu")


@pytest.fixture
def auto(make_config: MakeConfig) -> TrainConfig:
    return make_config("single-multitask", max_steps=1).model_copy(update={"precision": "auto"})


def _fake(monkeypatch: pytest.MonkeyPatch, *, has_bfloat16: bool, faster: str) -> None:
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: has_bfloat16)
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(estimate, "measure_speed", lambda base, precision, device: 2.0 if precision == faster else 1.0)


@pytest.mark.parametrize(
    ("has_bfloat16", "faster", "expected"),
    [(True, "float32", "bfloat16"), (False, "float32", "float32"), (False, "bfloat16", "bfloat16")],
)
def test_the_processor_says_which_precision_and_in_doubt_a_trial(
    has_bfloat16: bool, faster: str, expected: str, auto: TrainConfig, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fake(monkeypatch, has_bfloat16=has_bfloat16, faster=faster)
    assert estimate.choose_precision(auto, base) == expected


def test_the_precision_is_recorded_and_kept_on_another_machine(
    auto: TrainConfig, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    _fake(monkeypatch, has_bfloat16=False, faster="float32")
    with monkeypatch.context() as patch:
        patch.setattr("alpha_umi.training.checkpoint_folder.CheckpointFolder.publish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(auto, data, tmp_path)
    _fake(monkeypatch, has_bfloat16=True, faster="bfloat16")
    for status in ("resume", "done"):
        assert [report.status for report in train(auto, data, tmp_path, resume=True)] == [status]
        card = json.loads((tmp_path / "umi.json").read_text())
        assert card["config"]["precision"] == card["stages"]["backbone"]["inputs"]["precision"] == "float32"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_trial_runs_in_either_precision(precision: Any, base: Path) -> None:
    assert estimate.measure_speed(base, precision, CPU) > 0


def test_a_dry_run_estimates_without_weights(
    make_config: MakeConfig, base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fake(monkeypatch, has_bfloat16=False, faster="float32")
    shutil.copytree(base, tmp_path / "base", ignore=shutil.ignore_patterns("*.safetensors"))
    costs: dict[str, Any] = {}
    for kind in ("lora", "full"):
        config = make_config(backbone=kind, max_steps=5).model_copy(update={"base": str(tmp_path / "base")})
        for report in train(config, data, tmp_path / "out", dry_run=True):
            costs[f"{report.name} {report.kind}"] = report.cost
    lora, full, role = costs["backbone lora"], costs["backbone full"], costs["caller alora"]
    # rank 4 on two layers: q, k, v, o (32 to 32, 16, 16 and 32) and gate, up, down (32 to 64 and back)
    assert lora.n_trained == role.n_trained == 2 * 4 * (64 + 48 + 48 + 64 + 3 * 96)
    assert full.n_trained == full.n_parameters == lora.n_parameters - lora.n_trained
    assert full.n_bytes > lora.n_bytes > role.n_bytes > lora.n_bytes_gpu / 4
    assert full.hours > lora.hours > role.hours > 0
