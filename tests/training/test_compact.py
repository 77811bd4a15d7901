"""A checkpoint in half the size answers as before and says nothing of the machine it was made on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.models.engine.checkpoint import read_checkpoint
from alpha_umi.training.config import TrainConfig
from alpha_umi.training.export import compact
from alpha_umi.training.glpft import train

MakeConfig = Callable[..., TrainConfig]
Trained = Callable[..., tuple[Path, TrainConfig, list[Any]]]
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def checkpoint(trained: Trained, make_config: MakeConfig, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("further")
    further = make_config(max_steps=1).model_dump() | {"start_from": str(trained()[0])}
    train(TrainConfig.model_validate(further), data, folder)
    return folder


def test_adapters_are_rounded_and_nothing_else_is_kept(checkpoint: Path, tmp_path: Path) -> None:
    out = compact(checkpoint, tmp_path / "compact")
    for folder in ("backbone", "planner", "caller", "summarizer"):
        before, after = load_file(checkpoint / folder / WEIGHTS), load_file(out / folder / WEIGHTS)
        assert before.keys() == after.keys()
        for name, tensor in after.items():
            assert tensor.dtype == torch.bfloat16
            torch.testing.assert_close(tensor, before[name].to(torch.bfloat16))
        assert (out / folder / WEIGHTS).stat().st_size < 0.8 * (checkpoint / folder / WEIGHTS).stat().st_size
    assert {path.name for path in checkpoint.iterdir()} - {path.name for path in out.iterdir()} == {"logs", ".work"}


def test_its_card_fits_the_new_weights_and_does_not_say_where_the_training_started_from(
    checkpoint: Path, tmp_path: Path
) -> None:
    out = compact(checkpoint, tmp_path / "compact")
    read_checkpoint(out)  # checks the hashes
    assert json.loads((checkpoint / "umi.json").read_text())["config"]["start_from"]
    assert json.loads((out / "umi.json").read_text())["config"]["start_from"] is None


def test_name_of_a_checkpoint_that_ships_is_kept(checkpoint: Path, tmp_path: Path) -> None:
    copy = compact(checkpoint, tmp_path / "copy")
    card = json.loads((copy / "umi.json").read_text())
    card["config"]["start_from"] = "smollm2-135m-umi"
    (copy / "umi.json").write_text(json.dumps(card))
    out = compact(copy, tmp_path / "compact")
    assert json.loads((out / "umi.json").read_text())["config"]["start_from"] == "smollm2-135m-umi"


def test_a_folder_that_exists_is_left_alone(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        compact(checkpoint, tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "mine"
