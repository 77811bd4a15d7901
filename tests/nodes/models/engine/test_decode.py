from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from alpha_umi.nodes.models.engine.decode import Sampler, TextStream, make_sampler
from alpha_umi.nodes.models.engine.grammar import caller_grammar, planner_grammar
from alpha_umi.nodes.models.engine.prefix_cache import PrefixCache
from alpha_umi.nodes.models.engine.pytorch.backbone import TorchBackbone
from tests.nodes.models.conftest import Write, Written, generate_reference

PROMPT = [1, 40, 41, 42, 43, 44, 45]
SCHEMAS: dict[str, dict[str, Any]] = {
    "search_the_archive": {
        "type": "object",
        "properties": {
            "collection": {"enum": ["photographs", "letters"]},
            "number_of_results": {"type": "integer"},
            "query": {"type": "string"},
        },
        "required": ["collection"],
    },
    "now": {"type": "object", "properties": {}},
}
CALL = caller_grammar(SCHEMAS)


def test_greedy_tokens_are_those_of_transformers(backbone: TorchBackbone, write: Write) -> None:
    generator = np.random.default_rng(0)
    for n in (1, 5, 300, 700):
        order = Written(generator.integers(3, 300, n).tolist(), n=40)
        write(backbone, [order])
        assert order.ids == generate_reference(backbone.model, order.prompt, 40)
        assert len(set(order.ids)) > 1


def test_text_ends_with_an_end_token(backbone: TorchBackbone, write: Write) -> None:
    whole = Written(PROMPT, n=9)
    write(backbone, [whole])
    end = next(i for i in range(1, 9) if whole.ids[i] not in whole.ids[:i])
    stopped = Written(PROMPT, n=9, eos_ids={whole.ids[end]})
    write(backbone, [stopped])
    assert stopped.ids == whole.ids[: end + 1]


def make_odd_sampler(n_vocab: int, seed: int) -> Sampler:
    """Return a sampler that is a function of the logits alone and differs from greedy."""
    noise = 5 * np.random.default_rng(seed).standard_normal(n_vocab)
    return lambda logits: int((logits + noise).argmax())


def write_call(write: Write, backbone: TorchBackbone, **changes: Any) -> list[int]:
    """Write a call of one of the tools after `PROMPT`, without guesses, so that passes can be counted."""
    order = Written(**{"prompt": PROMPT, "n": 60, "grammar": CALL, "prompt_lookup": False, **changes})
    write(backbone, [order])
    return order.ids


def count_passes(backbone: TorchBackbone) -> list[int]:
    """Return a list that grows by the number of tokens of each forward pass."""
    passes: list[int] = []
    backbone.model.register_forward_pre_hook(
        lambda module, args, kwargs: passes.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    return passes


@pytest.mark.parametrize("max_tokens", [5, 33, 90])
def test_jumping_forward_writes_the_same_tokens(backbone: TorchBackbone, write: Write, max_tokens: int) -> None:
    texts = set()
    for seed in range(8):
        for grammar in (CALL, planner_grammar(20)):
            assert grammar is not None
            sampler = make_odd_sampler(backbone.model.config.vocab_size, seed)
            ids = write_call(write, backbone, n=max_tokens, grammar=grammar, sampler=sampler)
            mask = backbone.grammars.make_mask(grammar, max_tokens)
            assert ids == generate_reference(backbone.model, PROMPT, max_tokens, mask=mask, sampler=sampler)
            texts.add(tuple(ids))
    assert len(texts) > 8 or max_tokens == 5


def test_jumping_forward_needs_a_pass_for_each_choice_only(backbone: TorchBackbone, write: Write) -> None:
    assert CALL is not None
    plain = generate_reference(backbone.model, PROMPT, 60, mask=backbone.grammars.make_mask(CALL, 60))
    passes = count_passes(backbone)
    assert write_call(write, backbone) == plain
    assert len(passes) < 0.6 * len(plain)
    assert sum(passes) < len(PROMPT) + len(plain), "a token was read twice"


def test_a_text_without_choice_needs_no_pass(backbone: TorchBackbone, write: Write) -> None:
    passes = count_passes(backbone)
    ids = write_call(write, backbone, grammar=caller_grammar({"now": SCHEMAS["now"]}))
    assert backbone.tokenizer.decode(ids) == "Action: now\nAction Input: {}"
    assert passes == []


def test_a_reader_that_leaves_during_a_jump_finds_the_cache_right(backbone: TorchBackbone, write: Write) -> None:
    whole = write_call(write, backbone)
    for n_read in range(1, len(whole) + 1):
        backbone.cache = PrefixCache()
        read = write_call(write, backbone, cancel_after=n_read)
        assert read == whole[: len(read)]
        assert len(read) >= n_read
        order = Written([*PROMPT, *read, 50])
        write(backbone, [order])
        assert order.ids == generate_reference(backbone.model, order.prompt, order.n)


def test_a_jump_ends_where_the_text_has_to(backbone: TorchBackbone, write: Write) -> None:
    whole = write_call(write, backbone)
    for n in (1, 2, 3, 7):
        assert write_call(write, backbone, n=n, grammar_tokens=60) == whole[:n]
    assert write_call(write, backbone, eos_ids={whole[1]}) == whole[:2]


def test_sampler_is_reproducible_and_follows_the_seed() -> None:
    logits = np.random.default_rng(1).standard_normal(50).astype(np.float32)

    def draw(seed: int | None) -> list[int]:
        sampler = make_sampler(1.0, 1.0, seed)
        return [sampler(logits) for _ in range(20)]

    assert draw(7) == draw(7)
    assert draw(7) != draw(8)
    assert draw(None) != draw(None)


def test_sampler_keeps_to_the_nucleus() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    sampler = make_sampler(1.0, 0.75, 0)
    assert {sampler(logits) for _ in range(200)} == {0, 1}
    tiny = make_sampler(1.0, 1e-6, 0)
    assert {tiny(logits) for _ in range(20)} == {0}


def test_sampler_with_masked_logits_never_picks_them() -> None:
    logits = np.full(100, -np.inf, np.float32)
    logits[[3, 50]] = 0.0
    for sampler in (make_sampler(5.0, 1.0, 0), make_sampler(5.0, 0.9, 0)):
        assert {sampler(logits) for _ in range(50)} <= {3, 50}


@given(text=st.text(max_size=30))
def test_text_stream_gives_whole_characters(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    stream = TextStream(tokenizer)
    pieces = [stream.feed(token) for token in tokenizer.encode(text, add_special_tokens=False)]
    assert "".join(pieces) + stream.flush() == text
    assert all("\ufffd" not in piece for piece in pieces) or "\ufffd" in text


@given(ids=st.lists(st.integers(0, 400), max_size=30))
def test_text_stream_of_any_tokens_equals_decoding_them_at_once(
    tokenizer: PreTrainedTokenizerFast, ids: list[int]
) -> None:
    stream = TextStream(tokenizer)
    streamed = "".join(stream.feed(token) for token in ids) + stream.flush()
    whole = str(tokenizer.decode(ids, skip_special_tokens=True))
    assert whole.rstrip("\ufffd") == streamed.rstrip("\ufffd")


@given(
    text=st.text("ab", max_size=20),
    cuts=st.lists(st.integers(0, 20), max_size=6),
    stops=st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
)
def test_text_stream_never_shows_a_stop_string(
    tokenizer: PreTrainedTokenizerFast, text: str, cuts: list[int], stops: list[str]
) -> None:
    stream = TextStream(tokenizer, stops)
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    shown = ""
    for start, end in pairwise(bounds):
        for token in tokenizer.encode(text[start:end], add_special_tokens=False):
            if not stream.stopped:
                shown += stream.feed(token)
    shown += stream.flush()
    ends = [text.find(stop) for stop in stops if stop in text]
    assert stream.stopped == bool(ends)
    assert text.startswith(shown)
    assert all(stop not in shown for stop in stops)
    if not ends:
        assert shown == text
