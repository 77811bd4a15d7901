"""ROUGE-L as in the paper's tables: the summary-level F of the PyPI package ``rouge``, which other packages lack."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any

from alpha_umi.errors import ConfigError

NO_ANSWER = "none"
"""What the published scripts score in place of a missing answer."""


@lru_cache(maxsize=10_000)  # the same answer is scored by several metrics
def rouge_l(prediction: str, reference: str) -> float:
    """Return the ROUGE-L F of an answer, in [0, 1]; a text without a sentence counts as the word ``none``.

    Raises:
        ConfigError: If the package ``rouge`` is not installed.
    """
    texts = [text if text.strip(".") else NO_ANSWER for text in (prediction, reference)]
    with _deep_recursion(len(prediction.split()) + len(reference.split())):
        return float(load_rouge().get_scores(texts[0], texts[1])[0]["rouge-l"]["f"])


@cache
def load_rouge() -> Any:
    """Import the package ``rouge``; called before a run, so that it is not missed at its end.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        from rouge import Rouge  # type: ignore[import-untyped]  # noqa: PLC0415 - optional
    except ModuleNotFoundError as error:
        raise ConfigError("Evaluation needs the package 'rouge'; run: pip install 'alpha-umi[eval]'.") from error
    return Rouge(metrics=["rouge-l"])


@contextmanager
def _deep_recursion(n_words: int) -> Iterator[None]:
    """Let the package recurse once per word, as it does; long answers would end in a RecursionError."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit + n_words)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)
