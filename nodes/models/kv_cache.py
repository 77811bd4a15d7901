"""Key/value caches of recent prompts, so that each token of a trajectory is computed once.

A *view* is who computed the keys and values: the base model alone, or one adapter. Activated LoRA reads the base's view
up to its marker, so all roles and all steps share that one. Knows nothing about roles; lives in the engine's thread.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer

DEFAULT_MAX_BYTES = 2 * 1024**3
# A cache whose tail is at most this long is cropped and taken over; a longer tail belongs to another conversation.
MAX_LOST_TOKENS = 512


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """Counts since the cache was made.

    Args:
        n_reused_tokens: Prompt tokens that were not computed again.
        n_prefilled_tokens: Prompt tokens that were.
        n_evictions: Entries given up for lack of room.
        n_bytes: Held now.
        n_entries: Held now.
    """

    n_reused_tokens: int
    n_prefilled_tokens: int
    n_evictions: int
    n_bytes: int
    n_entries: int


@dataclass(slots=True)
class _Entry:
    view: Hashable
    ids: tuple[int, ...]
    past: DynamicCache
    n_bytes: int


class PrefixCache:
    """Finds the longest known beginning of a prompt.

    An entry is taken out while a generation uses it and put back afterwards, so a generation that fails or is cancelled
    leaves nothing half-written behind. Least recently used entries go first.

    Args:
        max_bytes: Bound on all keys and values together; 0 keeps nothing.
    """

    def __init__(self, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        """Start empty."""
        self._max_bytes = max_bytes
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self._keys = count()
        self._n_bytes = self._n_reused = self._n_prefilled = self._n_evictions = 0

    @property
    def statistics(self) -> CacheStatistics:
        """What the cache did so far."""
        return CacheStatistics(self._n_reused, self._n_prefilled, self._n_evictions, self._n_bytes, len(self._entries))

    def take(self, view: Hashable, ids: Sequence[int], config: PreTrainedConfig) -> tuple[DynamicCache, int]:
        """Return a cache that holds a beginning of `ids`, and its length.

        Args:
            view: Who will compute the rest.
            ids: The tokens wanted, without those that have to be computed in any case.
            config: The model's, for a new cache.
        """
        best, n_best = None, 0
        for key, entry in self._entries.items():
            if entry.view == view and (n_common := _count_common(entry.ids, ids)) >= max(n_best, 1):
                best, n_best = key, n_common
        self._n_reused += n_best
        self._n_prefilled += len(ids) - n_best
        if best is None:
            return DynamicCache(config=config), 0
        entry = self._entries[best]
        if len(entry.ids) - n_best > MAX_LOST_TOKENS:
            self._entries.move_to_end(best)
            return _copy_beginning(entry.past, n_best, config), n_best
        return _crop(self._pop(best).past, n_best), n_best

    def put(self, view: Hashable, ids: Sequence[int], past: DynamicCache) -> None:
        """Keep the keys and values of `ids`; what `past` holds beyond them is cut off."""
        if not ids or any(past.is_sliding):  # a sliding window has forgotten its beginning
            return
        _crop(past, len(ids))
        entry = _Entry(view, tuple(ids), past, _count_bytes(past))
        self._entries[next(self._keys)] = entry
        self._n_bytes += entry.n_bytes
        while self._n_bytes > self._max_bytes:
            self._pop(next(iter(self._entries)))
            self._n_evictions += 1

    def drop(self, view: Hashable) -> None:
        """Forget everything one view computed, because its weights changed."""
        for key in [key for key, entry in self._entries.items() if entry.view == view]:
            self._pop(key)

    def _pop(self, key: int) -> _Entry:
        entry = self._entries.pop(key)
        self._n_bytes -= entry.n_bytes
        return entry


def _count_common(known: Sequence[int], wanted: Sequence[int]) -> int:
    """Return how many tokens two sequences share from their beginning."""
    for i, (a, b) in enumerate(zip(known, wanted, strict=False)):
        if a != b:
            return i
    return min(len(known), len(wanted))


def _crop(past: DynamicCache, n_tokens: int) -> DynamicCache:
    """Cut every layer to its first tokens."""
    for layer in _layers(past):
        layer.keys, layer.values = layer.keys[..., :n_tokens, :], layer.values[..., :n_tokens, :]
    return past


def _copy_beginning(past: DynamicCache, n_tokens: int, config: PreTrainedConfig) -> DynamicCache:
    beginning = DynamicCache(config=config)
    for i, layer in enumerate(_layers(past)):
        beginning.update(layer.keys[..., :n_tokens, :].clone(), layer.values[..., :n_tokens, :].clone(), i)
    return beginning


def count_complete(past: DynamicCache) -> int:
    """Return how many tokens every layer holds; after a cancelled forward pass the first layers hold more."""
    return min((layer.get_seq_length() for layer in _layers(past)), default=0)


def _count_bytes(past: DynamicCache) -> int:
    """Count what is held in memory, which a cropped tensor does not make less."""
    return sum(t.untyped_storage().nbytes() for layer in _layers(past) for t in (layer.keys, layer.values))


def _layers(past: DynamicCache) -> list[Any]:
    return [layer for layer in past.layers if isinstance(layer, DynamicLayer) and layer.is_initialized]
