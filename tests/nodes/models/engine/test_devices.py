from __future__ import annotations

import pytest
import torch

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.models.engine.pytorch.backbone import DTYPES, choose_device, choose_dtype, place_model
from alpha_umi.nodes.models.local import LocalChatModel
from tests.nodes.models.conftest import make_llama

CPU = torch.device("cpu")
without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without CUDA")


@without_cuda
def test_auto_takes_the_cpu_where_there_is_nothing_better() -> None:
    assert choose_device("auto") == CPU
    assert choose_dtype("auto", CPU) in (torch.float32, torch.bfloat16)


@without_cuda
@pytest.mark.parametrize("device", ["cuda", "cuda:1", "balanced"])
def test_gpus_that_are_not_there_are_refused(device: str) -> None:
    with pytest.raises(ConfigError, match="finds no CUDA"):
        choose_device(device)


@without_cuda
def test_chat_model_says_at_its_call_that_there_are_no_gpus(model_folder: object) -> None:
    with pytest.raises(ConfigError, match="balanced"):
        LocalChatModel(model=str(model_folder), device="balanced").invoke("Hello")


@pytest.mark.parametrize("device", ["gpu", "", "balanced_low_0"])
def test_unknown_device_is_refused_with_the_known_ones(device: str) -> None:
    with pytest.raises(ConfigError, match="'auto', 'cpu', 'cuda' or 'balanced'"):
        choose_device(device)


def test_types_are_chosen_by_name() -> None:
    assert {name: choose_dtype(name, CPU) for name in DTYPES} == DTYPES
    with pytest.raises(ConfigError, match="Unknown dtype 'int8'"):
        choose_dtype("int8", CPU)


def test_model_is_moved_to_one_device() -> None:
    assert place_model(make_llama(64), CPU).device == CPU
