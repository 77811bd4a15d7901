"""The same work on many items at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_parallel(work: Callable[[Item], Result], items: Sequence[Item], n_workers: int) -> Iterator[Result]:
    """Yield results as they come; what has not begun when the reader leaves is not begun.

    Args:
        work: Called once per item, each in a thread of its own if there are several workers.
        items: In the order in which they are begun.
        n_workers: How many at the same time.
    """
    if n_workers == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(n_workers, thread_name_prefix="live") as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)
