"""Adapters that are added row by row, against PEFT's own computation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.models.engine.fit import quiet_peft
from alpha_umi.nodes.models.engine.pytorch.backbone import TorchBackbone
from alpha_umi.nodes.models.engine.pytorch.lora import MultiLora

NAMES = ("left", "right", "narrow")
MIXES = {
    "all of one": ["left"] * 6,
    "none": [None] * 6,
    "one after another": [None, None, "left", "left", "right", "right"],
    "scattered": ["left", None, "right", "left", "narrow", None],
}


def make_model(dtype: torch.dtype) -> PeftModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2
    )
    model: Any = LlamaForCausalLM(config)
    model.to(dtype)
    for name in NAMES:
        targets = ["q_proj"] if name == "narrow" else "all-linear"
        lora = LoraConfig(r=4, lora_alpha=12, target_modules=targets, init_lora_weights=False, inference_mode=True)
        with quiet_peft():
            if name == NAMES[0]:
                model = get_peft_model(model, lora, name, autocast_adapter_dtype=False)
            else:
                model.add_adapter(name, lora, autocast_adapter_dtype=False)
    return cast(PeftModel, model.eval())


@torch.inference_mode()
def compute_alone(adapted: PeftModel, ids: torch.Tensor, name: str | None) -> torch.Tensor:
    """Return what PEFT itself computes with one adapter, or none."""
    if name is None:
        with adapted.disable_adapter():
            return cast(torch.Tensor, adapted(input_ids=ids).logits)
    adapted.set_adapter(name, inference_mode=True)
    return cast(torch.Tensor, adapted(input_ids=ids).logits)


@pytest.mark.parametrize("mix", MIXES.values(), ids=MIXES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)], ids=str)
def test_rows_equal_what_peft_computes_with_one_adapter(
    mix: list[str | None], dtype: torch.dtype, tolerance: float
) -> None:
    adapted, ids = make_model(dtype), torch.arange(30).reshape(6, 5)
    expected = torch.cat([compute_alone(adapted, ids[i : i + 1], name) for i, name in enumerate(mix)])
    rows = MultiLora()
    rows.attach(adapted)
    with rows.use(mix, ids.device), torch.inference_mode():
        got = adapted(input_ids=ids).logits
    torch.testing.assert_close(got, expected, atol=tolerance, rtol=tolerance)
    if any(mix):  # and the adapters do make a difference
        assert not torch.allclose(got, compute_alone_without(rows, adapted, ids), atol=10 * tolerance)


@torch.inference_mode()
def compute_alone_without(rows: MultiLora, adapted: PeftModel, ids: torch.Tensor) -> torch.Tensor:
    with rows.use([None], ids.device):
        return cast(torch.Tensor, adapted(input_ids=ids).logits)


def test_rows_follow_adapters_that_come_and_go() -> None:
    adapted, ids = make_model(torch.float32), torch.arange(5)[None]
    left = compute_alone(adapted, ids, "left")
    rows = MultiLora()
    rows.attach(adapted)
    adapted.set_adapter("left", inference_mode=True)
    adapted.delete_adapter("right")
    rows.attach(adapted)
    with torch.inference_mode():
        with rows.use(["left"], ids.device):
            torch.testing.assert_close(adapted(input_ids=ids).logits, left)
        with rows.use(["right"], ids.device):
            gone = adapted(input_ids=ids).logits
    torch.testing.assert_close(gone, compute_alone_without(rows, adapted, ids))


@pytest.mark.parametrize(
    ("name", "value"), [("use_dora", True), ("lora_bias", True), ("bias", "all"), ("modules_to_save", ["lm_head"])]
)
def test_adapter_that_is_more_than_lora_is_refused(
    backbone: TorchBackbone, model_folder: Path, tmp_path: Path, name: str, value: object
) -> None:
    folder = Path(shutil.copytree(model_folder / "one", tmp_path / "one"))
    config = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    (folder / "adapter_config.json").write_text(json.dumps({**config, name: value}), "utf-8")
    with pytest.raises(ConfigError, match=f"no plain LoRA, it sets {name}"):
        backbone.find_adapter(str(folder), "planner")
