"""The prefix cache: keys and values of recent prompts, so that each token of a trajectory is computed once.

A *view* is who computed the keys and values: the base model alone, or one adapter. Activated LoRA reads the base's view
up to its marker, so all roles and all steps share that one.

Entries never change. A generation reads one through views of its tensors, writes to its own buffers, and leaves a new
entry. So any number of generations may begin with the same one while others are evicted.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import count
from typing import Any, TypeAlias, cast

import torch
from transformers import Cache, DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer

DEFAULT_MAX_BYTES = 2 * 1024**3
# Every entry is compared with every prompt.
MAX_ENTRIES = 256
# A layer grows by so many tokens at once: copying all before it for each token cost a fifth of a step at 2,000 tokens.
ROOM_TOKENS = 64

KeyValues: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""Keys and values of one layer, each (1, heads, tokens, size)."""


@dataclass(frozen=True, slots=True)
class _Entry:
    view: Hashable
    ids: tuple[int, ...]
    layers: tuple[KeyValues, ...]
    n_bytes: int


class PrefixCache:
    """Finds the longest known beginning of a prompt; beyond `max_bytes`, least recently used entries go first."""

    def __init__(self, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        """Start empty."""
        self._max_bytes = max_bytes
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self._keys = count()
        self.n_bytes = 0

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self._entries)

    def take(self, view: Hashable, ids: Sequence[int], config: PreTrainedConfig) -> tuple[DynamicCache, int]:
        """Return a cache of the caller's own that holds a beginning of `ids`, and its length.

        `ids` are without the tokens that have to be computed in any case; `view` is who will compute the rest.
        """
        wanted = tuple(ids)
        best, n_best = None, 0
        for key, entry in self._entries.items():
            if entry.view == view and (n_common := _count_common(entry.ids, wanted)) >= max(n_best, 1):
                best, n_best = key, n_common
        past = make_past(config)
        if best is not None:
            self._entries.move_to_end(best)
            for layer, (keys, values) in zip(growing_layers(past), self._entries[best].layers, strict=True):
                layer.begin_with(keys[..., :n_best, :], values[..., :n_best, :])
        return past, n_best

    def put(self, view: Hashable, ids: Sequence[int], past: DynamicCache) -> int:
        """Keep the keys and values of `ids`, the first that `past` holds; return how many entries were evicted.

        An entry that is a beginning of the new one is dropped, which does not count.
        """
        if not ids or len(growing_layers(past)) < len(past.layers):
            return 0  # a sliding window has forgotten its beginning
        ids = tuple(ids)
        for key, known in [(key, entry.ids) for key, entry in self._entries.items() if entry.view == view]:
            if known[: len(ids)] == ids:
                self._entries.move_to_end(key)
                return 0
            if ids[: len(known)] == known:
                self._pop(key)
        layers = tuple(layer.view(len(ids)) for layer in growing_layers(past))
        # what is held in memory: a view holds the whole tensor
        n_bytes = sum(tensor.untyped_storage().nbytes() for pair in layers for tensor in pair)
        self._entries[next(self._keys)] = _Entry(view, ids, layers, n_bytes)
        self.n_bytes += n_bytes
        n_before = len(self._entries)
        while self.n_bytes > self._max_bytes or len(self._entries) > MAX_ENTRIES:
            self._pop(next(iter(self._entries)))
        return n_before - len(self._entries)

    def clear(self) -> None:
        """Forget everything, because memory is short."""
        self._entries.clear()
        self.n_bytes = 0

    def drop(self, view: Hashable) -> None:
        """Forget everything one view computed, because its weights changed."""
        for key in [key for key, entry in self._entries.items() if entry.view == view]:
            self._pop(key)

    def _pop(self, key: int) -> None:
        self.n_bytes -= self._entries.pop(key).n_bytes


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


def make_past(config: PreTrainedConfig) -> DynamicCache:
    """Return an empty cache for one text."""
    past = DynamicCache(config=config)
    past.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in past.layers]
    return past


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


def _count_common(known: tuple[int, ...], wanted: tuple[int, ...]) -> int:
    """Return how many tokens two sequences share from their beginning."""
    low, high = 0, min(len(known), len(wanted))
    while low < high:  # comparing slices is much faster than comparing tokens one by one
        middle = (low + high + 1) // 2
        if known[low:middle] == wanted[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


_UPDATE = re.compile(r"past_key_values?\.update\(")


def hands_cache_on(model: type) -> bool:
    """Say whether all attention of a model gets from the cache what it attends to, and does nothing else with it.

    The engine's caches give something of their own there. Latents, as DeepSeek caches them, have to be keys and values.
    """
    tree = ast.parse(inspect.getsource(import_module(model.__module__)))
    functions = [list(ast.walk(node)) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return all(
        _is_handed_on(node, nodes)
        for nodes in functions
        for node in nodes
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Tuple)
        and _UPDATE.match(ast.unparse(node.value))
    )


def _is_handed_on(update: ast.Assign, nodes: Sequence[ast.AST]) -> bool:
    held = {ast.unparse(each) for each in cast(ast.Tuple, update.targets[0]).elts}
    calls = [node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) == "attention_interface"]
    later = [node for node in nodes if getattr(node, "lineno", 0) > (update.end_lineno or 0)]
    is_read = any(isinstance(node, ast.Attribute) and ast.unparse(node.value) in held for node in later)
    is_changed = any(
        isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in held for node in later
    )
    return (
        held <= {ast.unparse(argument) for call in calls for argument in call.args} and not is_read and not is_changed
    )
