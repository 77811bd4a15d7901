"""Multi-LoRA: adapters on some rows of a forward pass, and others, or none, on the rest.

PEFT can do that too, but switching an adapter on and off goes through all layers, and its batches of several adapters
sort their rows again in each layer: together up to half the time of a short pass. So PEFT loads and keeps the weights
here, is switched off for good, and a hook on each adapted layer adds what the adapters say. Imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer

# Up to so many rows a CPU is twice as fast in float32: PyTorch's products in bfloat16 take 30 µs to begin.
FEW_ROWS = 16

AdapterRows: TypeAlias = tuple[str, "slice | torch.Tensor | None"]
"""An adapter's name and its rows: a slice, int64 indices, or None for all."""


class _LoraWeights(NamedTuple):
    """One adapter's weights in one layer: what it adds is scaling · x · down · up."""

    down: torch.Tensor  # (inputs, rank)
    up: torch.Tensor  # (rank, outputs)
    scaling: float

    def add(self, inputs: torch.Tensor, outputs: torch.Tensor) -> None:
        """Add to outputs ((rows, outputs)) what the adapter makes of inputs ((rows, inputs))."""
        if inputs.device.type == "cpu" and len(inputs) <= FEW_ROWS:
            hidden = inputs.float() @ self.down.float()
            outputs.add_(hidden @ self.up.float(), alpha=self.scaling)
        else:
            outputs.addmm_(inputs @ self.down, self.up, alpha=self.scaling)


class MultiLora:
    """Applies a PEFT model's LoRA adapters to rows of its input."""

    def __init__(self) -> None:
        """Know no model yet."""
        self._weights: dict[int, dict[str, _LoraWeights]] = {}
        self._active: list[AdapterRows] = []

    def attach(self, model: PeftModel) -> None:
        """Take over the adapted layers of a model, after each adapter that was loaded or deleted.

        Raises:
            ValueError: If an adapter is on an embedding, whose rows are no vectors.
        """
        tuner: Any = model.base_model
        tuner.disable_adapter_layers()
        for layer in (layer for layer in model.modules() if isinstance(layer, LoraLayer)):
            if layer.lora_embedding_A:
                raise ValueError("it adapts an embedding; merge it into its model")
            if id(layer) not in self._weights:
                layer.register_forward_hook(self._add)
            self._weights[id(layer)] = _read_weights(layer)

    @contextmanager
    def use(self, names: Sequence[str | None], device: torch.device) -> Iterator[None]:
        """Let adapters compute rows: the one named for each row, None for none; a single one is that of all rows."""
        self._active = _group(names, device)
        try:
            yield
        finally:
            self._active = []

    def _add(self, layer: Any, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        weights = self._weights[id(layer)]
        for name, rows in self._active:
            if (adapter := weights.get(name)) is None:
                continue
            if isinstance(rows, torch.Tensor):
                rows = rows.to(output.device)  # the layers may be on several
            inputs, outputs = (x if rows is None else x[rows] for x in (args[0], output))
            outputs = outputs.view(-1, outputs.shape[-1])  # where this cannot be a view, what is added would be lost
            adapter.add(inputs.flatten(0, -2), outputs)
            if isinstance(rows, torch.Tensor):  # what was added to is a copy
                output[rows] = outputs.view(len(rows), *output.shape[1:])
        return output


def _read_weights(layer: LoraLayer) -> dict[str, _LoraWeights]:
    downs, ups = (
        {name: part.get_parameter("weight").detach().T for name, part in parts.items()}
        for parts in (layer.lora_A, layer.lora_B)
    )
    return {name: _LoraWeights(down, ups[name], layer.scaling[name]) for name, down in downs.items()}


def _group(names: Sequence[str | None], device: torch.device) -> list[AdapterRows]:
    if len(set(names)) == 1:
        return [(names[0], None)] if names[0] else []
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        if name is not None:
            rows.setdefault(name, []).append(row)
    return [(name, _select(indices, device)) for name, indices in rows.items()]


def _select(indices: list[int], device: torch.device) -> slice | torch.Tensor:
    first, last = indices[0], indices[-1]
    is_run = last - first + 1 == len(indices)
    return slice(first, last + 1) if is_run else torch.tensor(indices, device=device)
