"""Weights that do not fit are refused before any is loaded: models, adapters, and what a card says of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.models.engine.fit import check_fit, check_settings, describe_model
from alpha_umi.nodes.models.engine.pytorch.backbone import TorchBackbone

Weights = dict[str, torch.Tensor]
CPU = torch.device("cpu")
A = "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"


def edit(path: Path, **changes: Any) -> None:
    settings = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in settings.items() if value != "absent"}))


def rewrite(file: Path, change: Callable[[Weights], Weights]) -> None:
    save_file(change(load_file(file)), file, metadata={"format": "pt"})


@pytest.fixture
def model(model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_folder, tmp_path / "model"))


def test_what_belongs_together_fits(model: Path) -> None:
    check_fit(model, [model / "one", model / "planner"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"vocab_size": 7},
            r"model\.safetensors: model\.embed_tokens\.weight .* 32\), .*config\.json .*\(7, 32\)",
        ),
        ({"vocab_size": 10**10}, r"embed_tokens\.weight"),
        ({"hidden_size": 64}, r"embed_tokens\.weight is \(\d+, 32\), .* \(\d+, 64\)"),
        ({"intermediate_size": 10**9}, r"mlp\.\w+_proj\.weight"),
        ({"num_hidden_layers": 1}, r"model\.layers\.1\..* is there, .* no such weight"),
        ({"num_hidden_layers": 3}, r"model\.layers\.2\..* is missing, .* a weight"),
        ({"num_hidden_layers": 10**9}, r"num_hidden_layers 1,000,000,000, but there are"),
        ({"head_dim": 16}, r"self_attn\.\w_proj\.weight"),
        ({"tie_word_embeddings": False}, r"lm_head\.weight is missing"),
        ({"attention_bias": True}, r"_proj\.bias is missing"),
        ({"num_attention_heads": 0}, "cannot be loaded"),
        ({"hidden_size": "many"}, "cannot be loaded"),
        ({"hidden_act": "magic"}, "cannot be loaded"),
        ({"model_type": "absent"}, r"config\.json cannot be used.*\nwrong at model_type"),
    ],
)
def test_changed_configuration_is_refused(changes: dict[str, Any], message: str, model: Path) -> None:
    edit(model / "config.json", **changes)
    with pytest.raises(ConfigError, match=message):
        TorchBackbone(model, CPU, torch.float32)


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({"model.norm.weight": "../model.safetensors"}, "not in its folder"),
        ({"model.norm.weight": "model-2.safetensors"}, "not in its folder"),
        ({"model.norm.weight": "model.bin"}, "no safetensors file"),
        (["model.safetensors"], r"index\.json cannot be used.*\nwrong at weight_map"),
    ],
)
def test_index_of_parts_that_are_not_there_is_refused(weight_map: Any, message: str, model: Path) -> None:
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(ConfigError, match=message):
        TorchBackbone(model, CPU, torch.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: {"nothing.that.fits": found[A]}, r"adapter_model\.safetensors: base_model.* is missing"),
        (lambda found: {name: found[name] for name in found if name != A}, r"q_proj\.lora_A\.weight is missing"),
        (
            lambda found: found | {"base_model.model.lm_head.weight": found[A].clone()},
            "lm_head.* no such weight",
        ),
        (lambda found: found | {A: found[A][:, :5].contiguous()}, r"\(4, 5\), .*adapter_config\.json .*\(4, 32\)"),
        (lambda found: found | {A: found[A].to(torch.int8)}, "I8 and not floating point"),
    ],
)
def test_adapter_file_that_does_not_fit_is_refused(
    change: Callable[[Weights], Weights], message: str, model: Path
) -> None:
    rewrite(model / "one" / "adapter_model.safetensors", change)
    backbone = TorchBackbone(model, CPU, torch.float32)
    with pytest.raises(ConfigError, match=message):
        backbone.find_adapter("one", "planner")
    assert backbone.find_adapter("two", "planner")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"r": 5}, r"is \(4, 64\), .* \(5, 64\)"),
        ({"r": 10**12}, r"\(1000000000000, 64\)"),
        ({"r": 0}, "cannot be loaded"),
        ({"r": "four"}, "cannot be loaded"),
        ({"rank_pattern": {"q_proj": 8}}, r"\(8, 32\)"),
        ({"target_modules": ["q_proj"]}, "no such weight"),
        ({"target_modules": ["q_proj", "v_proj", "down_proj", "o_proj"]}, r"o_proj\.lora_A\.weight is missing"),
        ({"target_modules": ["elsewhere"]}, "cannot be loaded"),
        ({"layers_to_transform": [0]}, "no such weight"),
    ],
)
def test_adapter_that_its_settings_do_not_describe_is_refused(changes: Any, message: str, model: Path) -> None:
    edit(model / "one" / "adapter_config.json", **changes)
    backbone = TorchBackbone(model, CPU, torch.float32)
    with pytest.raises(ConfigError, match=message):
        backbone.find_adapter("one", "planner")


@given(data=st.data())
def test_model_with_any_other_setting_than_the_training_had_is_refused(model_folder: Path, data: Any) -> None:
    trained = describe_model(model_folder)
    name = data.draw(st.sampled_from(sorted(trained)))
    check_settings(model_folder, trained | {"of_another_version": 1}, Path("umi.json"))
    other = data.draw(st.integers(10**6) | st.text() | st.booleans().filter(lambda value: value != trained[name]))
    with pytest.raises(ConfigError, match=rf"config\.json has {name} "):
        check_settings(model_folder, trained | {name: other}, Path("umi.json"))
