"""Attention with what a mask alone cannot say: windows of some layers, and capped scores.

Where several turns share one prefix, or several conversations one list of tools, tokens that stand side by side are not
neighbours. So the mask holds *ages* there, how many tokens before the query a key was said, and each layer hides what
is older than its window. transformers' own ``sdpa`` knows neither ages nor caps.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

BY_AGE: Final = "alpha_umi_by_age"
_HIDDEN: Final = -1


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


AttentionInterface.register(BY_AGE, attend_by_age)
AttentionMaskInterface.register(BY_AGE, sdpa_mask)
