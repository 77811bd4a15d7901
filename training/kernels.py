"""What training computes in its own way.

Attention that a mask alone cannot say, in `attend_by_age`: layers with a window, and capped scores. Where several turns
share one prefix, or several conversations one list of tools, tokens that stand side by side are not neighbours. So the
mask holds *ages* there, how many tokens before the query a key was said, and each layer hides what is older than its
window. transformers' own ``sdpa`` knows neither ages nor caps.

And what a step in bfloat16 on a CPU spends its time on, each with its own way back; in float32 torch's own are as fast,
and a GPU has kernels of its own:

- `attend_blockwise`: matrix products over blocks of queries. torch's kernel makes many small products and is slower at
  the sizes of small models.
- `merge_adapters`: a linear layer with its adapter added to the weights for the step, as it is served: one product in
  the place of three, and no sum over all tokens.
- `cross_entropy`: reads the logits once on the way there and once on the way back, without a copy in float32.
- `keep_memory`: freed memory stays with the process, whose next step asks for the same again.
"""

from __future__ import annotations

import ctypes
from functools import partial
from typing import Any, Final, NamedTuple

import torch
import torch.nn.functional as F
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

BY_AGE: Final = "alpha_umi_by_age"
BLOCKWISE: Final = "alpha_umi_blockwise"
_HIDDEN: Final = -1
_BLOCK_TOKENS = 128
_BLOCK_ROWS = 32
_KEEP_BYTES = 128 * 1024**2
"""Weights of one layer beyond this, of which causal attention has half, are computed again on the way back."""


def needs_ages(config: Any) -> bool:
    """Say whether a model has layers with a window, or caps its scores."""
    return bool(getattr(config, "sliding_window", None) or getattr(config, "attn_logit_softcapping", None))


def make_ages(mask: Tensor, positions: Tensor, key_positions: Tensor) -> Tensor:
    """Return the age of each key for each query, negative where the mask hides it; int32, (B, 1, T, S).

    Args:
        mask: bool, (B, 1, T, S).
        positions: int64, (B, T); where each query stands in its own conversation.
        key_positions: int64, (B, S).
    """
    ages = positions[:, None, :, None] - key_positions[:, None, None, :]
    return ages.masked_fill(~mask, _HIDDEN).int()


def attend_by_age(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Attend as transformers' ``sdpa`` does, under the same contract; the mask may also hold ages."""
    window, softcap = kwargs.get("sliding_window"), kwargs.pop("softcap", None)
    if attention_mask is not None and attention_mask.dtype == torch.int32:
        is_recent = attention_mask < window if window else True
        attention_mask = (attention_mask >= 0) & is_recent
    if softcap is None:
        output: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        return output
    if attention_mask is None:
        n_new, n_keys = query.shape[2], key.shape[2]
        attention_mask = torch.ones(n_new, n_keys, dtype=torch.bool, device=query.device).tril(n_keys - n_new)
    n_groups = query.shape[1] // key.shape[1]
    keys, values = (each.repeat_interleave(n_groups, dim=1) for each in (key, value))
    scores = query @ keys.transpose(-1, -2) * (kwargs.get("scaling") or query.shape[-1] ** -0.5)
    scores = (softcap * torch.tanh(scores / softcap)).masked_fill(~attention_mask, -torch.inf)
    weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
    return (weights @ values).transpose(1, 2), None


def attend_blockwise(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Attend as transformers' ``sdpa`` does, under the same contract; the mask is bool, or `None` for causal."""
    if kwargs.get("dropout"):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    query = query * (kwargs.get("scaling") or query.shape[-1] ** -0.5)
    output: Tensor = _Attention.apply(query, key, value, attention_mask)  # type: ignore[no-untyped-call]
    return output.transpose(1, 2), None


class _Attention(torch.autograd.Function):
    """Query (B, H, T, D), key and value (B, G, S, D), mask (B, 1, T, S) or None; returns (B, H, T, D)."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        n_bytes = query.shape[0] * query.shape[1] * query.shape[2] * key.shape[2] * query.element_size()
        keeps = any(ctx.needs_input_grad) and n_bytes <= _KEEP_BYTES
        ctx.weights, ctx.blocks = [], _list_blocks(query, key, mask)
        output = torch.empty_like(query)
        for block in ctx.blocks:
            weights = _weigh(query[:, :, block.rows], key[:, :, block.seen], block)
            output[:, :, block.rows] = (weights @ value[:, :, block.seen]).view(output[:, :, block.rows].shape)
            ctx.weights += [weights] if keeps else []
        ctx.save_for_backward(query, key, value)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value = ctx.saved_tensors
        (gradient,) = gradients
        to_query = torch.empty_like(query)
        to_key, to_value = (torch.zeros_like(each, dtype=_widen(each)) for each in (key, value))
        for i, block in enumerate(ctx.blocks):
            keys, rows = key[:, :, block.seen], query[:, :, block.rows]
            weights = ctx.weights[i] if ctx.weights else _weigh(rows, keys, block)
            grouped = _group(gradient[:, :, block.rows], key)
            to_value[:, :, block.seen] += weights.transpose(-1, -2) @ grouped
            to_weights = grouped @ value[:, :, block.seen].transpose(-1, -2)
            to_scores = torch._softmax_backward_data(to_weights, weights, -1, weights.dtype)
            to_query[:, :, block.rows] = (to_scores @ keys).view(rows.shape)
            to_key[:, :, block.seen] += to_scores.transpose(-1, -2) @ _group(rows, key)
        return to_query, to_key.to(key.dtype), to_value.to(value.dtype), None


class _Block(NamedTuple):
    """Queries that are computed together, the keys that one of them sees, and what hides the last ones of these.

    `hidden` is 0 where a query sees a key and -inf elsewhere; (B or 1, 1, 1, queries, keys).
    """

    rows: slice
    seen: slice | Tensor
    hidden: Tensor


_BLOCKS = WeakTensorKeyDictionary()
"""Of each mask that is alive: all layers of a forward pass share one."""


def _list_blocks(query: Tensor, key: Tensor, mask: Tensor | None) -> list[_Block]:
    """Where conversations share a list of tools, a block sees the list and its own, and nothing of those in between."""
    if mask is not None and mask in _BLOCKS:
        known: list[_Block] = _BLOCKS[mask]
        return known
    n_new, n_keys = query.shape[2], key.shape[2]
    causal = torch.ones(_BLOCK_TOKENS, _BLOCK_TOKENS, dtype=torch.bool, device=query.device).tril()
    blocks = []
    for start in range(0, n_new, _BLOCK_TOKENS):
        rows = slice(start, min(start + _BLOCK_TOKENS, n_new))
        seen: slice | Tensor = slice(n_keys - n_new + rows.stop)
        sees = causal[None, None, : rows.stop - start, : rows.stop - start]
        if mask is not None:
            seen = mask[:, 0, rows].any(0).any(0).nonzero()[:, 0]
            sees = mask[:, :, rows, seen]
        hidden = torch.zeros(sees.shape, dtype=query.dtype, device=query.device).masked_fill_(~sees, -torch.inf)
        blocks.append(_Block(rows, seen, hidden[:, :, None]))
    if mask is not None:
        _BLOCKS[mask] = blocks
    return blocks


def _group(query: Tensor, key: Tensor) -> Tensor:
    """Query heads that share a key head become further queries of it: keys are not copied for each."""
    return query.reshape(*key.shape[:2], -1, query.shape[-1])


def _weigh(query: Tensor, key: Tensor, block: _Block) -> Tensor:
    """Return the weights of the keys; (B, G, H / G * T, S)."""
    scores = _group(query, key) @ key.transpose(-1, -2)
    apart = scores.view(*key.shape[:2], -1, query.shape[2], key.shape[2])
    apart[..., -block.hidden.shape[-1] :] += block.hidden
    return scores.softmax(-1)


for _name, _attend in ((BY_AGE, attend_by_age), (BLOCKWISE, attend_blockwise)):
    AttentionInterface.register(_name, _attend)
    AttentionMaskInterface.register(_name, sdpa_mask)


def merge_adapters(model: nn.Module) -> None:
    """Let every linear layer with a LoRA, without dropout, compute with both together; the weights stay apart."""
    for layer in model.modules():
        if isinstance(layer, LoraLinear):
            layer.forward = partial(_forward, layer)  # type: ignore[method-assign]


def _forward(layer: LoraLinear, x: Tensor) -> Tensor:
    base: Any = layer.base_layer
    if layer.disable_adapters:
        output: Tensor = base(x)
        return output
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    merged: Tensor = _MergedLinear.apply(x, base.weight, down, up, layer.scaling["default"])  # type: ignore[no-untyped-call]
    return merged if base.bias is None else merged + base.bias


class _MergedLinear(torch.autograd.Function):
    """x (…, I), frozen weight (O, I), adapter (R, I) and (O, R) in float32; returns (…, O)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, down: Tensor, up: Tensor, scaling: float) -> Tensor:
        ctx.scaling, ctx.dtype = scaling, down.dtype
        down, up = down.to(weight.dtype), (up * scaling).to(weight.dtype)
        merged = torch.addmm(weight, up, down)
        ctx.save_for_backward(x, merged, down, up)
        return F.linear(x, merged)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, Tensor, Tensor, None]:
        x, merged, down, up = ctx.saved_tensors
        gradient, rows = gradients[0].reshape(-1, merged.shape[0]), x.reshape(-1, x.shape[-1])
        to_down = (gradient @ up).T @ rows
        to_up = gradient.T @ (rows @ down.T)
        return (gradient @ merged).view(x.shape), None, to_down.to(ctx.dtype), to_up.to(ctx.dtype) * ctx.scaling, None


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of each row in float32, as `torch.nn.functional.cross_entropy` without reduction.

    Args:
        logits: Any float type, (N, V).
        targets: int64, (N,).
    """
    if logits.device.type != "cpu":
        return F.cross_entropy(logits.float(), targets, reduction="none")
    losses: Tensor = _CrossEntropy.apply(logits, targets)  # type: ignore[no-untyped-call]
    return losses


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        total = torch.cat([block.to(_widen(block)).logsumexp(-1) for block in logits.split(_BLOCK_ROWS)])  # type: ignore[no-untyped-call]
        ctx.save_for_backward(logits, targets, total)
        return total - logits.gather(1, targets[:, None])[:, 0].to(total.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        logits, targets, total = ctx.saved_tensors
        to_logits = torch.empty_like(logits)
        for start in range(0, len(logits), _BLOCK_ROWS):
            rows = slice(start, start + _BLOCK_ROWS)
            shares = (logits[rows].to(total.dtype) - total[rows, None]).exp_()
            shares[torch.arange(len(shares)), targets[rows]] -= 1
            to_logits[rows] = shares.mul_(gradients[0][rows, None])
        return to_logits, None


def _widen(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_MMAP_BYTES = 32 * 1024**2  # the most that glibc takes


def keep_memory() -> None:
    """Keep freed memory where the C library is glibc; each step otherwise waits for the system to clear pages.

    Not that of the largest tensors: between smaller ones their places would be lost, and the process would grow.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_M_MMAP_THRESHOLD, _MMAP_BYTES)
        set_option(_M_TRIM_THRESHOLD, 2**31 - 1)
