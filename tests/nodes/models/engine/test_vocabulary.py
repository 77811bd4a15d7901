"""Texts in llama.cpp's tokenizer and in ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers
from tokenizers import Tokenizer as Backend
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import LlamaConfig, LlamaForCausalLM

from alpha_umi.nodes.format.render import encode_prompt, load_template, render_messages
from alpha_umi.nodes.format.trajectory import ROLES, Trajectory
from alpha_umi.nodes.models.engine.checkpoint import TEMPLATE
from alpha_umi.nodes.models.engine.llamacpp.gguf import write_model
from alpha_umi.nodes.models.engine.tokenizer import Tokenizer
from alpha_umi.nodes.models.engine.weights import resolve
from tests.conftest import CORPUS
from tests.llama_server import post, read, serve


def save_tiny_model(folder: Path, n_vocab: int) -> None:
    size = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = LlamaConfig(vocab_size=n_vocab, tie_word_embeddings=True, **size)  # type: ignore[arg-type]
    LlamaForCausalLM(config).save_pretrained(folder)


@pytest.fixture(scope="module")
def shipped_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tokenizer, httpx.Client]]:
    """The tokenizer that ships, ours and llama.cpp's, which has it beside tiny weights."""
    folder, shipped = tmp_path_factory.mktemp("vocabulary"), resolve("smollm2-135m-umi")
    tokenizer = Tokenizer(shipped)
    save_tiny_model(folder, len(tokenizer))
    write_model(folder, [], shipped, folder / "tiny.gguf", "q8_0", template=(shipped / TEMPLATE).read_text("utf-8"))
    with serve(folder / "tiny.gguf") as client:
        yield tokenizer, client


NO_TOKEN = set("\x04\x06\x13\x14\x16\x1d")
"""What SmolLM2's vocabulary has no token for: both leave it out, and only ours joins what stood around it."""

VARIED = [
    "<|im_start|>planner\nI call it.\nNext: caller.<|im_end|>\n",
    "<|im_end|><|im_start|><|endoftext|><repo_name>x<file_sep><|im_start|",
    "1234567890 12.5% ٣٤ ½ x² 2027-03-01",
    " two  three   four\t\ttabs\n\n\nlines \r\n end ",
    "I'll we're DON'T it's o'clock ''' `code` {\"a\": [1, 2], \"b\": null}",
    "Größe naïve Ελλάδα Москва 東京タワー 안녕하세요 שלום مرحبا 👩‍👩‍👧‍👦🏳️‍🌈 e\u0301",
    "\ufeff\u200b\u00a0\u3000\x00\x7f\x1b[0m",
    "",
]


@pytest.mark.parametrize("text", VARIED)
def test_llamacpp_splits_varied_texts_as_we_do(shipped_tokenizer: tuple[Tokenizer, httpx.Client], text: str) -> None:
    ours, client = shipped_tokenizer
    assert post(client, "/tokenize", content=text, add_special=True)["tokens"] == ours.encode(text)


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_llamacpp_splits_any_text_as_we_do(shipped_tokenizer: tuple[Tokenizer, httpx.Client], text: str) -> None:
    ours, client = shipped_tokenizer
    assume(not NO_TOKEN & set(text))
    assert post(client, "/tokenize", content=text, add_special=True)["tokens"] == ours.encode(text)


def test_a_sign_without_a_token_parts_words_in_llamacpp_alone(
    shipped_tokenizer: tuple[Tokenizer, httpx.Client],
) -> None:
    ours, client = shipped_tokenizer
    assert {chr(code) for code in range(128) if not ours.encode(chr(code))} == NO_TOKEN
    assert ours.encode(" \x16{") == ours.encode(" {")
    parted = post(client, "/tokenize", content=" \x16{", add_special=True)["tokens"]
    assert parted == ours.encode(" ") + ours.encode("{")


WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPLITTINGS: dict[str, list[pre_tokenizers.PreTokenizer]] = {
    "gpt-2": [],
    "smollm": [pre_tokenizers.Digits(individual_digits=True)],
    "llama-bpe": [pre_tokenizers.Split(Regex(WORDS % "{1,3}"), "isolated")],
    "qwen2": [pre_tokenizers.Split(Regex(WORDS % ""), "isolated")],
}


@pytest.fixture(scope="module", params=SPLITTINGS)
def splitting(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Tokenizer, httpx.Client]]:
    """A tokenizer that splits texts in one way, ours and llama.cpp's."""
    folder, steps = tmp_path_factory.mktemp("splitting"), SPLITTINGS[request.param]
    bpe = Backend(BPE())
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=request.param in ("gpt-2", "smollm"))
    bpe.pre_tokenizer = pre_tokenizers.Sequence([*steps, last]) if steps else last
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=1500, special_tokens=["<|im_end|>"], initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator([*CORPUS, *VARIED, Path(__file__).read_text("utf-8")], trainer)
    bpe.save(str(folder / "tokenizer.json"))
    save_tiny_model(folder, bpe.get_vocab_size())
    write_model(folder, [], folder, folder / "tiny.gguf", "q8_0", template="{{ messages[0].content }}")
    with serve(folder / "tiny.gguf") as client:
        yield Tokenizer(folder), client


@given(data=st.data())
def test_each_way_to_split_is_that_of_its_name(splitting: tuple[Tokenizer, httpx.Client], data: st.DataObject) -> None:
    ours, client = splitting
    piece = st.integers(0, len(ours) - 1).map(lambda id_: ours.decode([id_])) | st.text(max_size=3)
    text = data.draw(st.lists(piece, max_size=40).map("".join))
    assert post(client, "/tokenize", content=text, add_special=True)["tokens"] == ours.encode(text)


@settings(max_examples=15)
@given(data=st.data())
def test_no_text_makes_llamacpp_read_something_else(
    shipped_tokenizer: tuple[Tokenizer, httpx.Client],
    trajectories: st.SearchStrategy[Trajectory],
    data: st.DataObject,
) -> None:
    ours, client = shipped_tokenizer
    trajectory, role = data.draw(trajectories), data.draw(st.sampled_from(ROLES))
    assume(not any(NO_TOKEN & set(message.content) for message in render_messages(trajectory)))
    expected = encode_prompt(render_messages(trajectory), ours, load_template("umi"), role, trajectory.tools)
    assert read(client, trajectory, role) == expected
