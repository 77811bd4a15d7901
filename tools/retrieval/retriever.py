"""The tools that fit a request best, by its words and by its meaning.

A request often asks for several things, so each of its sentences is a query of its own, and a tool counts by the
sentence it fits best. Knows nothing about the agent; `alpha_umi.nodes.tool_selection` uses it there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import numpy as np
from langchain_core.embeddings import Embeddings

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
from alpha_umi.tools.retrieval.lexical import LexicalIndex, Scores, describe, split_sentences
from alpha_umi.tools.spec import ToolSpec

# Tuned on one half of Seal-Tools' labelled queries by benchmarks/retrieval.py, which reports on the other half.
LEXICAL_WEIGHT = 0.5


class ToolRetriever:
    """Hybrid search over tools: BM25 and sentence embeddings.

    Nothing is computed before the first search. Without embeddings, or where they fail, words alone decide.

    Args:
        specs: The tools; those of a toolbox that are not among them are always offered.
        embeddings: A model for `SentenceEmbeddings`, any LangChain `Embeddings`, or None for words alone.
        index: File that keeps the tools' embeddings; None embeds them anew in each process.
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
        """Make the index now instead of at the first search.

        Raises:
            ConfigError: If the index file or the embedding model cannot be used.
        """
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
        """Return the tools that fit best, best first; fewer where no more fit at all.

        Args:
            query: What is asked for, in any number of sentences.
            k: How many; None finds `top_k`.

        Raises:
            ConfigError: If the index file or the embedding model cannot be used.
        """
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
