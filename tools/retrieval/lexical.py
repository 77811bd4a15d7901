"""Tools by the words they share with a query (BM25), each sentence of it counting as a query of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from alpha_umi.tools.spec import ToolSpec

if TYPE_CHECKING:
    from bm25s import BM25  # type: ignore[import-untyped]

Scores: TypeAlias = NDArray[np.float32]

# camelCase, snake_case and kebab-case fall apart into their words; other scripts stay whole
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W\d_A-Za-z]+")
_SENTENCE_END = re.compile(r"(?<=[.!?;。！？])\s+|\n+")
_MAX_SENTENCES = 16
_STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be but by can could for from i if in into is it its me my no not of on or our please such "
        "that the their then there these they this to was we will with would you your",
    )
)
# A sentence whose best tool scores far below the best of all sentences ("Thank you!") asks for no tool.
_LOWEST_BEST = 0.3


def describe(spec: ToolSpec) -> str:
    """Return what a tool is found by: name, description, and its arguments with theirs."""
    properties = spec.parameters.get("properties", {})
    arguments = [
        f"{name}: {schema.get('description', '')}" if isinstance(schema, dict) else name
        for name, schema in properties.items()
    ]
    return f"{' '.join(_WORD.findall(spec.name))}. {spec.description} {'; '.join(arguments)}"


def split_sentences(text: str) -> list[str]:
    """Split a query, which may ask for several things; of a very long one, the beginning and the end are kept.

    Example:
        >>> split_sentences("Convert 3 miles to km. Then book a flight.")
        ['Convert 3 miles to km.', 'Then book a flight.']
    """
    parts = [part.strip() for part in _SENTENCE_END.split(text) if part.strip()]
    if len(parts) > _MAX_SENTENCES:
        parts = parts[: _MAX_SENTENCES // 2] + parts[-_MAX_SENTENCES // 2 :]
    return parts


def split_words(text: str) -> list[str]:
    """Return the words of a text that say something, in lower case.

    Example:
        >>> split_words("Call getWeatherForecast for the city_name")
        ['call', 'get', 'weather', 'forecast', 'city', 'name']
    """
    words = (word.lower() for word in _WORD.findall(text))
    return [word for word in words if word not in _STOP_WORDS]


class LexicalIndex:
    """BM25 over tools; made anew in each process, because that takes about as long as reading it.

    Args:
        texts: One per tool.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        """Count the words."""
        self._n_texts = len(texts)
        self._bm25 = _index([split_words(text) for text in texts])

    def score(self, sentences: Sequence[str]) -> Scores:
        """Score every tool for every sentence, from 0 for no word in common to 1 for a sentence's best.

        Returns:
            float32, (sentences, tools).
        """
        scores = np.zeros((len(sentences), self._n_texts), np.float32)
        if self._bm25 is None:
            return scores
        for row, sentence in zip(scores, sentences, strict=True):
            known = [word for word in split_words(sentence) if word in self._bm25.vocab_dict]
            if known:
                row[:] = self._bm25.get_scores(known)
        best = scores.max(axis=1, keepdims=True, initial=np.finfo(np.float32).tiny)
        scores /= np.maximum(best, np.float32(_LOWEST_BEST) * best.max())
        return scores


def _index(documents: list[list[str]]) -> BM25 | None:
    """Return the index, None where there is no word at all, which BM25 cannot be made of."""
    if not any(documents):
        return None
    from bm25s import BM25  # noqa: PLC0415 - imports SciPy, if there is one, which takes half a second

    bm25 = BM25()
    bm25.index(documents, show_progress=False)
    return bm25
