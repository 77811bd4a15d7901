"""LoRA adapters on some rows of a forward pass, and others, or none, on the rest.

PEFT can do that too, but switching an adapter on and off goes through all layers, and its batches of several adapters
sort their rows anew in each layer: together up to half the time of a short pass. So PEFT loads and keeps the weights
here, is switched off for good, and a hook on each adapted layer adds what the adapters say. Imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer

Part: TypeAlias = tuple[str, "slice | torch.Tensor"]
"""An adapter's name and its rows: a slice, or int64 indices."""


class RowAdapters:
    """Applies a PEFT model's LoRA adapters to rows of its input."""

    def __init__(self) -> None:
        """Know no model yet."""
        self._hooked: set[int] = set()
        self._parts: list[Part] = []

    def attach(self, model: PeftModel) -> None:
        """Take over the adapted layers of a model, after each adapter that was loaded.

        Raises:
            ValueError: If an adapter is on an embedding, whose rows are no vectors.
        """
        tuner: Any = model.base_model
        tuner.disable_adapter_layers()
        for layer in model.modules():
            if isinstance(layer, LoraLayer) and layer.lora_embedding_A:
                raise ValueError("it adapts an embedding; merge it into its model")
            if isinstance(layer, LoraLayer) and id(layer) not in self._hooked:
                layer.register_forward_hook(self._add)
                self._hooked.add(id(layer))

    @contextmanager
    def use(self, names: Sequence[str | None], device: torch.device) -> Iterator[None]:
        """Let adapters compute rows.

        Args:
            names: The adapter of each row, None for none; a single one is that of all rows.
            device: Where the model is.
        """
        self._parts = _group(names, device)
        try:
            yield
        finally:
            self._parts = []

    def _add(self, layer: Any, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        for name, rows in self._parts:
            if name not in layer.lora_A:
                continue
            down, up = layer.lora_A[name], layer.lora_B[name]
            inputs = args[0][rows].to(down.weight.dtype)
            added = (up(down(inputs)) * layer.scaling[name]).to(output.dtype)
            if isinstance(rows, slice):
                output[rows] += added
            else:
                output.index_add_(0, rows.to(output.device), added)
        return output


def _group(names: Sequence[str | None], device: torch.device) -> list[Part]:
    if len(set(names)) == 1:
        return [(names[0], slice(None))] if names[0] else []
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        if name is not None:
            rows.setdefault(name, []).append(row)
    return [(name, _select(indices, device)) for name, indices in rows.items()]


def _select(indices: list[int], device: torch.device) -> slice | torch.Tensor:
    first, last = indices[0], indices[-1]
    is_run = last - first + 1 == len(indices)
    return slice(first, last + 1) if is_run else torch.tensor(indices, device=device)
