"""Attention by age: what it hides and how it caps, against attention written out."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from alpha_umi.training.attention import attend_by_age, make_ages


class Layer(torch.nn.Module):
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
def test_without_a_mask_it_is_causal(softcap: float | None) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, 5, 8) for heads in (4, 2, 2))
    output, _ = attend_by_age(Layer(), query, key, value, None, softcap=softcap)
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    torch.testing.assert_close(output, attend_by_hand(query, key, value, mask, softcap))
