"""Keys and values of one sequence in torch's memory. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import torch
from transformers import Cache, DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer

# A layer grows by so many tokens at once: copying all before it for each token cost a fifth of a step at 2,000 tokens.
ROOM_TOKENS = 64

KeyValues: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""Keys and values of one layer, each (1, heads, tokens, size)."""


class GrowingLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values in buffers with room to grow.

    Only ever written behind what it holds, so views of its beginning stay as they are. What it was given to begin with
    belongs to others and is copied at the first write.
    """

    def __init__(self) -> None:
        """Start without buffers."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._buffers: KeyValues | None = None

    def begin_with(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Hold what was computed before."""
        self.lazy_initialization(keys, values)
        self.keys, self.values = keys, values

    def view(self, n_tokens: int) -> KeyValues:
        """Return the keys and values of the first tokens."""
        keys, values = cast(KeyValues, (self.keys, self.values))
        return keys[..., :n_tokens, :], values[..., :n_tokens, :]

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> KeyValues:
        """Append to both; return all there is."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        if self._buffers is None or end > self._buffers[0].shape[-2]:
            known, known_values = cast(KeyValues, (self.keys, self.values))
            self._buffers = self._grow(known, key_states, end), self._grow(known_values, value_states, end)
        keys, values = self._buffers
        keys[..., start:end, :], values[..., start:end, :] = key_states, value_states
        self.keys, self.values = keys[..., :end, :], values[..., :end, :]
        return self.keys, self.values

    @staticmethod
    def _grow(known: torch.Tensor, new: torch.Tensor, n_tokens: int) -> torch.Tensor:
        buffer = new.new_empty(*new.shape[:-2], n_tokens + ROOM_TOKENS, new.shape[-1])
        if known.numel():
            buffer[..., : known.shape[-2], :] = known
        return buffer


class TorchPast(DynamicCache):
    """Keys and values of one sequence, see `alpha_umi.nodes.models.engine.spans.Past`."""

    def __init__(self, config: PreTrainedConfig) -> None:
        """Start empty."""
        super().__init__(config=config)
        self.config = config
        self.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in self.layers]

    @property
    def n_tokens(self) -> int:
        """How many tokens they are of."""
        return int(self.get_seq_length())

    @property
    def can_shrink(self) -> bool:
        """Whether all layers hold all tokens."""
        return len(growing_layers(self)) == len(self.layers)

    def shrink(self, n_tokens: int) -> None:
        """Forget all but the first tokens."""
        if self.n_tokens > n_tokens:
            for layer in growing_layers(self):
                layer.begin_with(*layer.view(n_tokens))

    def keep(self, n_tokens: int) -> TorchKept:
        """Return views of the first tokens."""
        layers = tuple(layer.view(n_tokens) for layer in growing_layers(self))
        # what is held in memory: a view holds the whole tensor
        n_bytes = sum(tensor.untyped_storage().nbytes() for pair in layers for tensor in pair)
        return TorchKept(self.config, layers, n_bytes)

    def release(self) -> None:
        """Leave it to Python."""


@dataclass(frozen=True, slots=True)
class TorchKept:
    """Views of a sequence's tensors, see `alpha_umi.nodes.models.engine.spans.Kept`."""

    config: PreTrainedConfig
    layers: tuple[KeyValues, ...]
    n_bytes: int

    def begin(self, n_tokens: int) -> TorchPast:
        """Return the first tokens, which are copied at the first write."""
        past = TorchPast(self.config)
        for layer, (keys, values) in zip(growing_layers(past), self.layers, strict=True):
            layer.begin_with(keys[..., :n_tokens, :], values[..., :n_tokens, :])
        return past

    def release(self) -> None:
        """Leave it to Python."""


def growing_layers(past: Cache) -> list[GrowingLayer]:
    """Return the layers that hold all tokens, which those of a sliding window do not."""
    return [layer for layer in past.layers if isinstance(layer, GrowingLayer)]


def save_layers(past: Cache) -> list[dict[str, Any]]:
    """Return what `restore_layers` needs to undo whatever is appended from now on."""
    return [dict(vars(layer)) for layer in past.layers]


def restore_layers(past: Cache, saved: Sequence[dict[str, Any]]) -> None:
    """Undo a forward pass that ended in its middle, where the first layers hold more than the last."""
    for layer, state in zip(past.layers, saved, strict=True):
        vars(layer).clear()
        vars(layer).update(state)
