"""Whatever the tokenizer is, only the template gives control tokens, and ordinary text is encoded as ever."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from alpha_umi.nodes.format.encoding import Part, encode_parts
from alpha_umi.nodes.format.escaping import Style
from alpha_umi.nodes.format.render import encode_messages, load_template, render_messages, template_kwargs
from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn
from alpha_umi.tools.observation import cut
from alpha_umi.tools.spec import ToolSpec

BYTES = pre_tokenizers.ByteLevel.alphabet()
CHARACTERS = [*map(chr, range(32, 127)), "\n", "▁"]
NORMALISERS: tuple[Any, ...] = (
    None,
    normalizers.NFKC(),
    normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]),
    normalizers.Lowercase(),
    normalizers.Replace(Regex("[\u200b\\\\]"), ""),
    normalizers.Replace("zz", "<|im_end|>"),
    normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace("q", "<")]),
)
MARKS = ("<|im_start|>", "<|im_end|>")

spellings = st.text("<>|[]/xqz✦ÿ_", min_size=2, max_size=6) | st.sampled_from(["<turn|>", "<arg_key>", "z<|im", ">\n<"])
flags = st.fixed_dictionaries(dict.fromkeys(["lstrip", "rstrip", "single_word", "normalized"], st.booleans()))
added = st.dictionaries(spellings.filter(str.strip), st.tuples(flags, st.booleans()), min_size=1, max_size=5)


def make_tokenizer(kind: str, normaliser: Any, tokens: dict[str, Any], marks: dict[str, Any]) -> Any:
    """Make a tokenizer whose tokens nobody has listed; in one kind they are pieces of the model as well."""
    if kind == "bytes":
        made = Tokenizer(models.BPE(vocab={byte: i for i, byte in enumerate(BYTES)}, merges=[]))
        made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    elif kind == "fallback":
        names = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *CHARACTERS]
        vocab = {name: i for i, name in enumerate(names)}
        made = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>", byte_fallback=True))
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    else:
        pieces = [("<unk>", 0.0), *((each, -3.0) for each in CHARACTERS), *((each, 0.0) for each in [*MARKS, *tokens])]
        made = Tokenizer(models.Unigram(pieces, unk_id=0))
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    made.normalizer = normaliser
    made.add_special_tokens([AddedToken(mark, special=True, **marks) for mark in MARKS])
    for name, (how, is_special) in tokens.items():
        add = made.add_special_tokens if is_special else made.add_tokens
        add([AddedToken(name, special=is_special, **how)])
    unk = {} if kind == "bytes" else {"unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|im_end|>", **unk)  # type: ignore[no-untyped-call]


tokenizers = st.builds(
    make_tokenizer, st.sampled_from(["bytes", "fallback", "pieces"]), st.sampled_from(NORMALISERS), added, flags
)


@st.composite
def hostile_texts(draw: st.DrawFn, tokenizer: Any) -> str:
    names = [token.content for token in tokenizer.added_tokens_decoder.values()]
    halves = [half for name in names for half in (name[: len(name) // 2], name[len(name) // 2 :])]
    more = ["≮", "＜", "｜", "＞", "\u200b", "\\", "zz", "q", "Q", " ", "\n", "<", "|", ">", "é", "user: "]
    return "".join(draw(st.lists(st.sampled_from([*names, *map(str.upper, names), *halves, *more]), max_size=8)))


def make_trajectory(text: str) -> Trajectory:
    """Put a text wherever one from outside can stand."""
    schema = {"type": "object", "properties": {text: {"type": "string", "description": text}}}
    calls = (Call("1", text, {"a": text, text: [text]}, Observation(cut(text, 60))), Call("2", "b", text))
    steps = (Step(text, "caller", calls), Step(text, "conclusion", answer=text))
    return Trajectory((ToolSpec("add", text, schema),), (Turn(text, steps), Turn(text)), text)


def encode(text: str, tokenizer: Any, style: Style = "umi") -> list[int]:
    trajectory = make_trajectory(text)
    messages, template = render_messages(trajectory, style=style), load_template(style)
    arguments = template_kwargs("caller", trajectory.tools)
    return encode_messages(messages, tokenizer, template, add_generation_prompt=True, **arguments)


def list_control(ids: list[int], tokenizer: Any) -> list[int]:
    added = tokenizer.added_tokens_decoder
    return [id_ for id_ in ids if id_ in added and id_ != tokenizer.unk_token_id]


@given(st.data())
def test_no_text_gives_a_control_token_of_any_tokenizer(data: st.DataObject) -> None:
    tokenizer, style = data.draw(tokenizers), data.draw(st.sampled_from(list[Style](["umi", "toolbench"])))
    honest = list_control(encode("k.", tokenizer, style), tokenizer)
    hostile = data.draw(hostile_texts(tokenizer)) or "k"
    assert list_control(encode(hostile, tokenizer, style), tokenizer) == honest


@given(tokenizers, st.text(st.characters(codec="utf-8", categories=["L", "N", "Po"]), max_size=30))
def test_text_without_control_tokens_is_encoded_in_one_piece(tokenizer: Any, text: str) -> None:
    parts = [Part("<|im_start|>user\n", True), Part(f"a {text} b "), Part("\n<|im_end|>", True)]
    ids = tokenizer("".join(part.text for part in parts), add_special_tokens=False)["input_ids"]
    assume(len(list_control(ids, tokenizer)) == len(MARKS))
    assert [token.id for token in encode_parts(parts, tokenizer)] == ids


@given(st.data())
def test_text_that_is_cut_keeps_its_characters(data: st.DataObject) -> None:
    plain = dict.fromkeys(["lstrip", "rstrip", "single_word", "normalized"], False)
    names = data.draw(st.lists(spellings.filter(str.strip), min_size=1, max_size=3))
    tokenizer = make_tokenizer("bytes", None, dict.fromkeys(names, (plain, False)), plain)
    text = data.draw(hostile_texts(tokenizer))
    ids = [token.id for token in encode_parts([Part("<|im_start|>", True), Part(text)], tokenizer)]
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == f"<|im_start|>{text}"


@pytest.mark.parametrize("text", ["ü", "\n\n", "10 ÷ 2", "<unk", "日本"])
def test_letters_and_gaps_that_were_added_are_text(text: str) -> None:
    tokenizer = make_tokenizer("fallback", None, {}, {})
    tokenizer.backend_tokenizer.add_tokens(["ü", "÷", "\n\n"])
    assert [token.id for token in encode_parts([Part(text)], tokenizer)] == tokenizer.encode(text)


def test_single_character_that_is_a_special_token_is_left_out() -> None:
    tokenizer = make_tokenizer("bytes", None, {"✦": ({}, True)}, {})
    assert tokenizer.decode([token.id for token in encode_parts([Part("a✦✦b")], tokenizer)]) == "ab"


def test_no_setting_of_a_tokenizer_file_cuts_or_fills_up_a_prompt() -> None:
    tokenizer = make_tokenizer("bytes", None, {"[PAD]": ({}, True)}, {})
    tokenizer.backend_tokenizer.enable_truncation(4)
    tokenizer.backend_tokenizer.enable_padding(length=9, pad_id=tokenizer.convert_tokens_to_ids("[PAD]"))
    tokens = encode_parts([Part("<|im_start|>", True), Part("user said")], tokenizer)
    assert tokenizer.decode([token.id for token in tokens]) == "<|im_start|>user said"
