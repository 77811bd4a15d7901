"""The prefix cache: keys and values of recent prompts, so that each token of a trajectory is computed once.

A *view* is who computed the keys and values: the base model alone, or one adapter. Activated LoRA reads the base's view
up to its marker, so all roles and all steps share that one.

Entries never change. A sequence goes on from one and leaves a new one. So any number of sequences may begin with the
same entry while others are evicted.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import count

from alpha_umi.nodes.models.engine.spans import Kept, Past

DEFAULT_MAX_BYTES = 2 * 1024**3
# Every entry is compared with every prompt.
MAX_ENTRIES = 256


@dataclass(frozen=True, slots=True)
class _Entry:
    view: Hashable
    ids: tuple[int, ...]
    kept: Kept


class PrefixCache:
    """Finds the longest known beginning of a prompt; beyond either bound, least recently used entries go first."""

    def __init__(self, max_bytes: int = DEFAULT_MAX_BYTES, max_entries: int = MAX_ENTRIES) -> None:
        """Start empty."""
        self._max_bytes, self._max_entries = max_bytes, max_entries
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self._keys = count()
        self.n_bytes = 0

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self._entries)

    def take(self, view: Hashable, ids: Sequence[int], make_past: Callable[[], Past]) -> tuple[Past, int]:
        """Return keys and values of the caller's own, of a beginning of `ids`, and its length.

        `ids` are without the tokens that have to be computed in any case; `view` is who will compute the rest.
        """
        wanted = tuple(ids)
        best, n_best = None, 0
        for key, entry in self._entries.items():
            if entry.view == view and (n_common := count_common(entry.ids, wanted)) >= max(n_best, 1):
                best, n_best = key, n_common
        if best is None:
            return make_past(), 0
        self._entries.move_to_end(best)
        return self._entries[best].kept.begin(n_best), n_best

    def put(self, view: Hashable, ids: Sequence[int], past: Past) -> int:
        """Keep the keys and values of `ids`, the first that `past` holds; return how many entries were evicted.

        An entry that is a beginning of the new one is dropped, which does not count.
        """
        if not ids or not past.can_shrink:
            return 0
        ids = tuple(ids)
        for key, known in [(key, entry.ids) for key, entry in self._entries.items() if entry.view == view]:
            if known[: len(ids)] == ids:
                self._entries.move_to_end(key)
                return 0
            if ids[: len(known)] == known:
                self._pop(key)
        n_before = len(self._entries) + 1
        while len(self._entries) >= self._max_entries:
            self._pop(next(iter(self._entries)))
        kept = past.keep(len(ids))
        self._entries[next(self._keys)] = _Entry(view, ids, kept)
        self.n_bytes += kept.n_bytes
        while self.n_bytes > self._max_bytes:
            self._pop(next(iter(self._entries)))
        return n_before - len(self._entries)

    def evict(self) -> bool:
        """Forget the least recently used entry, because memory is short; tell whether there was one."""
        if self._entries:
            self._pop(next(iter(self._entries)))
            return True
        return False

    def clear(self) -> None:
        """Forget everything."""
        while self.evict():
            pass

    def drop(self, view: Hashable) -> None:
        """Forget everything one view computed, because its weights changed."""
        for key in [key for key, entry in self._entries.items() if entry.view == view]:
            self._pop(key)

    def _pop(self, key: int) -> None:
        kept = self._entries.pop(key).kept
        self.n_bytes -= kept.n_bytes
        kept.release()


def count_common(known: Sequence[int], wanted: Sequence[int]) -> int:
    """Return how many tokens two sequences share from their beginning."""
    low, high = 0, min(len(known), len(wanted))
    while low < high:  # comparing slices is much faster than comparing tokens one by one
        middle = (low + high + 1) // 2
        if known[low:middle] == wanted[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
