"""The kernels against torch's own, in what `test_stage.py` does not show with whole models."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from alpha_umi.training import kernels
from alpha_umi.training.batches import collate_whole
from alpha_umi.training.config import TrainConfig
from alpha_umi.training.kernels import (
    attend_blockwise,
    attend_by_age,
    cross_entropy,
    keep_memory,
    make_ages,
    merge_adapters,
)
from alpha_umi.training.stage import StageRun, make_model, make_trainer

MakeConfig = Callable[..., TrainConfig]
MakeRun = Callable[..., StageRun]
N_NEW, N_KEYS, N_BLOCKS = 10, 14, 4


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alpha_umi.training.kernels._BLOCK_TOKENS", 3)
    monkeypatch.setattr("alpha_umi.training.kernels._BLOCK_ROWS", 5)
    torch.manual_seed(0)


@pytest.mark.parametrize("n_rows", [0, 1, 5, 12])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 8e-3)]
)
def test_weighted_losses_and_their_gradients_are_those_of_torch(
    n_rows: int, dtype: torch.dtype, tolerance: float
) -> None:
    logits = (torch.randn(n_rows, 40) * 4).to(dtype)
    targets, weights = torch.randint(40, (n_rows,)), torch.rand(n_rows)
    weights[::3] = 0
    found = []
    for compute in (lambda *both: F.cross_entropy(both[0].double(), both[1], reduction="none"), cross_entropy):
        leaf = logits.clone().requires_grad_()
        losses = compute(leaf, targets)
        torch.autograd.backward((losses * weights).sum())
        assert leaf.grad is not None
        found.append((losses, leaf.grad))
    (wanted, wanted_gradient), (losses, gradient) = found
    assert losses.dtype == (torch.float32 if dtype == torch.bfloat16 else dtype)
    torch.testing.assert_close(losses.double(), wanted, atol=1e-5, rtol=1e-6)
    assert gradient.dtype == dtype
    torch.testing.assert_close(gradient, wanted_gradient, atol=tolerance, rtol=tolerance)
    assert not gradient[::3].any()


def test_loss_of_huge_logits_is_a_number() -> None:
    logits = torch.tensor([[30000.0, -30000.0], [-30000.0, 30000.0]], dtype=torch.bfloat16, requires_grad=True)
    losses = cross_entropy(logits, torch.tensor([0, 0]))
    torch.autograd.backward(losses.sum())
    assert losses.tolist() == [0, 2 * torch.tensor(30000.0).bfloat16().item()]
    assert logits.grad is not None
    assert logits.grad.tolist() == [[0, 0], [-1, 1]]


def make_heads() -> tuple[Tensor, Tensor, Tensor]:
    """Return queries of four heads, keys and values of two."""
    return torch.randn(2, 4, N_NEW, 6), torch.randn(2, 2, N_KEYS, 6), torch.randn(2, 2, N_KEYS, 6)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any) -> Tensor:
    return attend_blockwise(nn.Module(), query, key, value, mask, **kwargs)[0].transpose(1, 2)


@pytest.mark.parametrize("scaling", [None, 0.7])
@pytest.mark.parametrize("is_masked", [False, True])
def test_attention_without_gradients_is_that_of_torch(is_masked: bool, scaling: float | None) -> None:
    query, key, value = make_heads()
    causal = torch.ones(N_NEW, N_KEYS, dtype=torch.bool).tril(N_KEYS - N_NEW)
    mask = torch.rand(2, 1, N_NEW, N_KEYS) < 0.5
    mask[..., 0] = True
    keys, values = (each.repeat_interleave(2, dim=1) for each in (key, value))
    seen = mask if is_masked else causal
    wanted = F.scaled_dot_product_attention(query, keys, values, attn_mask=seen, scale=scaling)
    query.requires_grad_()
    with torch.no_grad():
        output = attend(query, key, value, mask if is_masked else None, scaling=scaling)
    torch.testing.assert_close(output, wanted)
    assert not output.requires_grad


@pytest.mark.parametrize(
    ("has_gradients", "keep_bytes", "n_at_once", "n_computed"),
    [(True, 10**6, N_BLOCKS, N_BLOCKS), (True, 0, 2, 2 * N_BLOCKS), (False, 10**6, 2, N_BLOCKS)],
)
def test_weights_are_kept_only_for_the_way_back_and_where_there_is_room(
    has_gradients: bool, keep_bytes: int, n_at_once: int, n_computed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    weigh, made, alive = kernels._weigh, list[weakref.ref[Tensor]](), list[int]()

    def count(*args: Any) -> Tensor:
        weights = weigh(*args)
        made.append(weakref.ref(weights))
        alive.append(sum(each() is not None for each in made))
        return weights

    monkeypatch.setattr("alpha_umi.training.kernels._weigh", count)
    monkeypatch.setattr("alpha_umi.training.kernels._KEEP_BYTES", keep_bytes)
    query, key, value = make_heads()
    output = attend(query.requires_grad_(has_gradients), key, value, None)
    assert max(alive) == n_at_once
    if has_gradients:
        torch.autograd.backward(output.sum())
    assert len(made) == n_computed


def test_attention_with_dropout_is_left_to_torch() -> None:
    query, _, value = make_heads()
    same = torch.ones(2, 1, N_NEW, N_NEW, dtype=torch.bool)
    module = nn.Module()
    module.num_key_value_groups = 2  # type: ignore[assignment]
    keys, values = torch.zeros(2, 2, N_NEW, 6), torch.ones_like(value[:, :, :N_NEW])
    output = attend_blockwise(module, query, keys, values, same, dropout=0.5)[0]
    assert output.std() > 0  # without dropout all are the mean of ones


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.bfloat16, 0.03)])
def test_merged_adapters_compute_as_apart(dtype: torch.dtype, tolerance: float) -> None:
    plain = nn.Sequential(nn.Linear(16, 24), nn.Tanh(), nn.Linear(24, 16, bias=False))
    model: Any = get_peft_model(plain, LoraConfig(r=4, lora_alpha=12, target_modules=["0", "2"]))
    for name, parameter in model.named_parameters():
        parameter.data.normal_(std=0.3)
        # the adapters are in float32 beside frozen weights in bfloat16
        parameter.data = parameter.data.to(torch.promote_types(dtype, torch.float32) if "lora_" in name else dtype)
    x, apart = torch.randn(3, 5, 16).to(dtype), deepcopy(model).double()
    merge_adapters(model)
    for new, old in zip(compute(model, x), compute(apart, x.double()), strict=True):
        assert (new.double() - old).norm() <= tolerance * old.norm()
    with torch.no_grad(), model.disable_adapter():
        first, _, last = model.get_base_model()
        inner = F.linear(x, first.base_layer.weight, first.base_layer.bias).tanh()
        torch.testing.assert_close(model(x), F.linear(inner, last.base_layer.weight))


def compute(model: nn.Module, x: Tensor) -> list[Tensor]:
    """Return the output, and the gradients of the input and of the four parts of adapters."""
    x = x.clone().requires_grad_()
    output = model(x)
    assert output.dtype == x.dtype
    torch.autograd.backward(output.square().mean())
    trained = {name: each for name, each in model.named_parameters() if each.grad is not None}
    assert len(trained) == 4
    assert all("lora_" in name for name in trained)
    gradients = [each.grad for each in (x, *trained.values()) if each.grad is not None]
    return [output.detach(), *gradients]


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_dropout_of_adapters_survives_the_kernels(dropout: float, make_config: MakeConfig, make_run: MakeRun) -> None:
    config = make_config(roles="lora", lora_dropout=dropout).model_copy(update={"precision": "bfloat16"})
    run = make_run(config, "caller")
    model = make_model(run).train()
    for name, parameter in model.named_parameters():
        parameter.data.normal_(std=0.2) if "lora_" in name else None
    trainer, tensors = make_trainer(run, model), collate_whole([tuple(run.items)])
    with torch.autocast("cpu", torch.bfloat16):  # as the trainer does around a step
        first, second = (trainer.compute_loss(model, tensors, num_items_in_batch=100).item() for _ in range(2))
    assert (first == second) == (dropout == 0)


def test_memory_is_kept_where_the_c_library_can(monkeypatch: pytest.MonkeyPatch) -> None:
    options: list[tuple[int, int]] = []
    library = SimpleNamespace(mallopt=lambda name, value: options.append((name, value)))
    monkeypatch.setattr("ctypes.CDLL", lambda name: library)
    keep_memory()
    assert sorted(options) == [(-3, 32 * 1024**2), (-1, 2**31 - 1)]  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
    del library.mallopt
    keep_memory()
    assert len(options) == 2


class Layer(nn.Module):
    is_causal = True
    num_key_value_groups = 2


def attend_by_hand(query: Any, key: Any, value: Any, mask: Any, softcap: float | None) -> Any:
    key, value = key.repeat_interleave(2, 1), value.repeat_interleave(2, 1)
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    scores = scores if softcap is None else softcap * torch.tanh(scores / softcap)
    return (scores.masked_fill(~mask, -torch.inf).softmax(-1) @ value).transpose(1, 2)


@pytest.mark.parametrize("softcap", [None, 0.5])
@pytest.mark.parametrize("window", [None, 3])
def test_each_layer_hides_what_is_older_than_its_window(window: int | None, softcap: float | None) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, n, 8) for heads, n in ((4, 4), (2, 9), (2, 9)))
    positions, key_positions = torch.tensor([[3, 4, 6, 7]]), torch.tensor([[0, 1, 2, 3, 4, 3, 4, 6, 7]])
    shown = torch.tensor(
        [
            [1, 1, 1, 0, 0, 1, 0, 0, 0],
            [1, 1, 1, 0, 0, 1, 1, 0, 0],
            [1, 1, 1, 1, 1, 0, 0, 1, 0],
            [1, 1, 1, 1, 1, 0, 0, 1, 1],
        ],
        dtype=torch.bool,
    )[None, None]
    ages = make_ages(shown, positions, key_positions)
    output, _ = attend_by_age(Layer(), query, key, value, ages, sliding_window=window, softcap=softcap)
    distance = positions[0, :, None] - key_positions[0, None, :]
    mask = shown & (distance < (window or 99))
    torch.testing.assert_close(output, attend_by_hand(query, key, value, mask, softcap))


@pytest.mark.parametrize("softcap", [None, 0.5])
def test_attention_by_age_without_a_mask_is_causal(softcap: float | None) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, 5, 8) for heads in (4, 2, 2))
    output, _ = attend_by_age(Layer(), query, key, value, None, softcap=softcap)
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    torch.testing.assert_close(output, attend_by_hand(query, key, value, mask, softcap))
