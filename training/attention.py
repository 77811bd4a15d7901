"""Attention for training in bfloat16 on a CPU: matrix products over blocks of queries.

torch's kernel for CPUs makes many small products there and is slower at the sizes of small models. In float32 it is as
fast, and a GPU has kernels of its own.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

BLOCKWISE: Final = "alpha_umi_blockwise"
_BLOCK_TOKENS = 128
_KEEP_BYTES = 128 * 1024**2
"""Scores of one layer beyond this, of which causal attention has half, are computed again on the way back."""


def attend_blockwise(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Attend as transformers' ``sdpa`` does, under the same contract; the mask is bool, or `None` for causal."""
    if kwargs.get("dropout"):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    n_new, n_keys = query.shape[2], key.shape[2]
    query = query * (kwargs.get("scaling") or query.shape[-1] ** -0.5)
    is_large = query.shape[0] * query.shape[1] * n_new * n_keys * query.element_size() > _KEEP_BYTES
    outputs = []
    for start in range(0, n_new, _BLOCK_TOKENS):
        end = min(start + _BLOCK_TOKENS, n_new)
        n_seen = n_keys if attention_mask is not None else n_keys - n_new + end
        mask = attention_mask[:, :, None, start:end] if attention_mask is not None else None
        block = query[:, :, start:end], key[:, :, :n_seen], value[:, :, :n_seen], mask
        again = torch.is_grad_enabled() and is_large
        outputs.append(
            checkpoint(_attend, *block, use_reentrant=False, preserve_rng_state=False) if again else _attend(*block)
        )
    return torch.cat(outputs, 2).transpose(1, 2), None


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Attend to all keys, or those of a mask; causal among the last ones. Returns (B, H, T, D)."""
    (n_rows, n_heads, n_new, size), (n_key_heads, n_keys) = query.shape, key.shape[1:3]
    # query heads that share a key head are further queries of it: keys are not copied for each
    grouped = query.reshape(n_rows, n_key_heads, -1, size)
    scores = (grouped @ key.transpose(-1, -2)).view(n_rows, n_key_heads, -1, n_new, n_keys)
    if mask is None:
        mask = torch.ones(n_new, n_new, dtype=torch.bool, device=query.device).tril()
    scores[..., -mask.shape[-1] :].masked_fill_(~mask, -torch.inf)
    weights = scores.softmax(-1).view(n_rows, n_key_heads, -1, n_keys)
    return (weights @ value).view(n_rows, n_heads, n_new, -1)


AttentionInterface.register(BLOCKWISE, attend_blockwise)
AttentionMaskInterface.register(BLOCKWISE, sdpa_mask)
