"""The tools that fit a request best, by its words and by its meaning.

A request often asks for several things, so each of its sentences is a separate query, and a tool counts by the
sentence it fits best. `alpha_umi.nodes.role.tool_selection` uses this in the agent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from langchain_core.embeddings import Embeddings
from numpy.typing import NDArray

from alpha_umi.errors import ConfigError
from alpha_umi.tools.retrieval.embeddings import (
    HINT,
    MINILM,
    Matrix,
    SentenceEmbeddings,
    VectorStore,
    embed_texts,
    logger,
)
from alpha_umi.tools.spec import ToolSpec

if TYPE_CHECKING:
    from bm25s import BM25  # type: ignore[import-untyped]

# Tuned on one half of Seal-Tools' labelled queries by benchmarks/retrieval.py, which reports on the other half.
LEXICAL_WEIGHT = 0.5


class ToolRetriever:
    """Hybrid search over tools: BM25 and sentence embeddings.

    Nothing is computed before the first search. Without embeddings, or where they fail, words alone decide.

    Args:
        specs: The tools; those of a toolbox that are not among them are always offered.
        embeddings: A model for `SentenceEmbeddings`, any LangChain `Embeddings`, or None for words alone.
        index: File that keeps the tools' embeddings; None embeds them in each process.
        top_k: How many tools a search finds.
        lexical_weight: From 0, meaning alone, to 1, words alone.

    Raises:
        ConfigError: If a bound makes no sense or two tools have one name.

    Example:
        >>> specs = [ToolSpec("getWeather", "Forecast for a city."), ToolSpec("add", "Add two numbers.")]
        >>> [spec.name for spec in ToolRetriever(specs, embeddings=None).search("The weather in Oslo?", 1)]
        ['getWeather']
    """

    def __init__(
        self,
        specs: Sequence[ToolSpec],
        *,
        embeddings: Embeddings | str | None = MINILM,
        index: str | Path | None = None,
        top_k: int = 8,
        lexical_weight: float = LEXICAL_WEIGHT,
    ) -> None:
        """Take the tools; nothing is computed or loaded yet."""
        if top_k < 1:
            raise ConfigError(f"top_k is {top_k}; give 1 or more.")
        if not 0 <= lexical_weight <= 1:
            raise ConfigError(f"lexical_weight is {lexical_weight}; give a number from 0 to 1.")
        self.top_k = top_k
        self._specs = {spec.name: spec for spec in specs}
        if len(self._specs) < len(specs):
            raise ConfigError("Two tools to be searched have one name; rename one of them.")
        self._embeddings = _load_embeddings(embeddings)
        self._lexical_weight = lexical_weight
        self._store = VectorStore(index)
        self._lock = Lock()
        self._lexical: LexicalIndex | None = None
        self._vectors: Matrix | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tools that are searched."""
        return tuple(self._specs)

    def __contains__(self, name: str) -> bool:
        """Tell whether a tool is searched."""
        return name in self._specs

    def build(self) -> None:
        """Make the index now instead of at the first search."""
        with self._lock:
            if self._lexical is not None:
                return
            texts = [describe(spec) for spec in self._specs.values()]
            if self._embeddings is not None and texts:
                try:
                    self._vectors = self._store.embed(texts, self._embeddings.embed_documents)
                except ConfigError:
                    raise
                except Exception as error:  # a user's embeddings may raise anything
                    logger.warning("The tools cannot be embedded (%s); they are found by their words alone.", error)
            self._lexical = LexicalIndex(texts)

    def search(self, query: str, k: int | None = None) -> list[ToolSpec]:
        """Return the `k` (or `top_k`) tools that fit a query of any length best, best first; fewer if no more fit."""
        scores = self.score(query)
        best = np.argsort(-scores, kind="stable")[: self.top_k if k is None else k]
        specs = list(self._specs.values())
        return [specs[i] for i in best if scores[i] > 0]

    def score(self, query: str) -> Scores:
        """Return how well each tool fits, in the order given: float32, (tools,)."""
        self.build()
        sentences = split_sentences(query)
        if not sentences or not self._specs or self._lexical is None:
            return np.zeros(len(self._specs), np.float32)
        lexical = self._lexical.score(sentences)
        similar = self._compare(sentences)
        if similar is None:
            return np.asarray(lexical.max(axis=0))
        weight = np.float32(self._lexical_weight)
        return np.asarray((weight * lexical + (1 - weight) * similar).max(axis=0))

    def _compare(self, sentences: list[str]) -> Scores | None:
        """Return the cosines of sentences and tools, None where there are no embeddings: float32, as `score`."""
        if self._embeddings is None or self._vectors is None:
            return None
        try:
            queries = embed_texts(self._embed_queries, sentences)
            return (self._vectors @ queries.T).T  # in this order it takes half the time
        except Exception as error:  # as above
            logger.warning("A query cannot be embedded (%s); tools are found by its words alone.", error)
            return None

    def _embed_queries(self, texts: list[str]) -> list[list[float]]:
        """LangChain's interface embeds queries one by one; models may embed them otherwise than documents."""
        if isinstance(self._embeddings, SentenceEmbeddings):
            return self._embeddings.embed_queries(texts)
        return [self._embeddings.embed_query(text) for text in texts] if self._embeddings else []


def _load_embeddings(embeddings: Embeddings | str | None) -> Embeddings | None:
    if not isinstance(embeddings, str):
        return embeddings
    sentences = SentenceEmbeddings(embeddings)
    if not sentences.is_installed:
        logger.warning("Tools are found by their words alone. To find them by meaning as well: %s", HINT)
        return None
    return sentences


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
    """BM25 over tools; built in each process, because that takes about as long as reading it."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Count the words."""
        self._n_texts = len(texts)
        self._bm25 = _index([split_words(text) for text in texts])

    def score(self, sentences: Sequence[str]) -> Scores:
        """Score tools for sentences, from 0 for no common word to a sentence's best, 1: float32, (sentences, tools)."""
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
    """Return the index, None if there are no words, from which BM25 cannot be built."""
    if not any(documents):
        return None
    from bm25s import BM25  # noqa: PLC0415 - imports SciPy, if there is one, which takes half a second

    bm25 = BM25()
    bm25.index(documents, show_progress=False)
    return bm25
