from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import DynamicCache, PreTrainedTokenizerFast

from alpha_umi.nodes.models.engine.backbone import Backbone
from alpha_umi.nodes.models.engine.decode import Sampler, TextStream, make_sampler
from alpha_umi.nodes.models.engine.grammar import caller_grammar, planner_grammar
from tests.plain_loop import generate_tokens

PROMPT = [1, 40, 41, 42, 43, 44, 45]
GREEDY = make_sampler()
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "search_the_archive",
            "parameters": {
                "type": "object",
                "properties": {
                    "collection": {"enum": ["photographs", "letters"]},
                    "number_of_results": {"type": "integer"},
                    "query": {"type": "string"},
                },
                "required": ["collection"],
            },
        },
    },
    {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
]


def generate_reference(backbone: Backbone, prompt: list[int], n: int) -> list[int]:
    """What transformers generates greedily."""
    ids = torch.tensor([prompt])
    output = backbone.model.generate(  # type: ignore[operator]
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=n, do_sample=False
    )
    return list(output[0, len(prompt) :].tolist())


def test_generate_tokens_greedily_equals_transformers(backbone: Backbone) -> None:
    generator = torch.Generator().manual_seed(0)
    for n in (1, 5, 300, 700):
        prompt = torch.randint(3, 300, (n,), generator=generator).tolist()
        ids = list(generate_tokens(backbone.model, prompt, sampler=GREEDY, max_new_tokens=40, eos_ids={2}))
        assert ids == generate_reference(backbone, prompt, 40)
        assert len(set(ids)) > 1


def test_generate_tokens_ends_with_an_end_token(backbone: Backbone) -> None:
    ids = list(generate_tokens(backbone.model, PROMPT, sampler=GREEDY, max_new_tokens=9, eos_ids=()))
    end = next(i for i in range(1, 9) if ids[i] not in ids[:i])
    stopped = list(generate_tokens(backbone.model, PROMPT, sampler=GREEDY, max_new_tokens=9, eos_ids={ids[end]}))
    assert stopped == ids[: end + 1]


def make_odd_sampler(n_vocab: int, seed: int) -> Sampler:
    """Return a sampler that is a function of the logits alone and differs from greedy."""
    noise = 5 * torch.randn(n_vocab, generator=torch.Generator().manual_seed(seed))
    return lambda logits: int((logits + noise).argmax())


def generate_call(backbone: Backbone, **changes: Any) -> Iterator[int]:
    """Write a call of one of `TOOLS` after `PROMPT`."""
    grammar = caller_grammar(TOOLS)
    assert grammar is not None
    mask = backbone.grammars.make_mask(grammar, 60)
    given = {"sampler": GREEDY, "max_new_tokens": 60, "eos_ids": (), "constraint": mask}
    return generate_tokens(backbone.model, PROMPT, **{**given, **changes})


def count_passes(backbone: Backbone) -> list[int]:
    """Return a list that grows by the number of tokens of each forward pass."""
    passes: list[int] = []
    backbone.model.register_forward_pre_hook(
        lambda module, args, kwargs: passes.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    return passes


@pytest.mark.parametrize("max_tokens", [5, 33, 90])
def test_jumping_forward_writes_the_same_tokens(backbone: Backbone, max_tokens: int) -> None:
    texts = set()
    for seed in range(8):
        for grammar in (caller_grammar(TOOLS), planner_grammar(20)):
            assert grammar is not None
            ids = [
                list(
                    generate_call(
                        backbone,
                        constraint=backbone.grammars.make_mask(grammar, max_tokens),
                        max_new_tokens=max_tokens,
                        sampler=make_odd_sampler(backbone.model.config.vocab_size, seed),
                        jump_forward=jump_forward,
                    )
                )
                for jump_forward in (True, False)
            ]
            assert ids[0] == ids[1]
            texts.add(tuple(ids[0]))
    assert len(texts) > 8 or max_tokens == 5


def test_jumping_forward_needs_a_pass_for_each_choice_only(backbone: Backbone) -> None:
    passes = count_passes(backbone)
    plain = list(generate_call(backbone, jump_forward=False))
    assert len(passes) == len(plain)
    passes.clear()
    jumped = list(generate_call(backbone))
    assert jumped == plain
    assert len(passes) < 0.6 * len(plain)
    assert sum(passes) < len(PROMPT) + len(plain), "a token was read twice"


def test_a_text_without_choice_needs_no_pass(backbone: Backbone) -> None:
    grammar = caller_grammar([TOOLS[1]])
    assert grammar is not None
    passes = count_passes(backbone)
    ids = list(generate_call(backbone, constraint=backbone.grammars.make_mask(grammar, 60)))
    assert backbone.tokenizer.decode(ids) == "Action: now\nAction Input: {}"
    assert passes == []


def test_a_reader_that_leaves_during_a_jump_finds_the_cache_right(backbone: Backbone) -> None:
    whole = list(generate_call(backbone))
    n_lacking = []
    for n_read in range(1, len(whole) + 1):
        past = DynamicCache(config=backbone.model.config)
        assert list(islice(generate_call(backbone, past=past), n_read)) == whole[:n_read]
        read = [*PROMPT, *whole[:n_read]]
        n_cached = past.get_seq_length()
        n_lacking.append(len(read) - n_cached)
        if n_cached:
            again = DynamicCache(config=backbone.model.config)
            with torch.inference_mode():
                backbone.model(input_ids=torch.tensor([read[:n_cached]]), past_key_values=again, use_cache=True)
            layers: list[tuple[Any, Any]] = list(zip(past.layers, again.layers, strict=True))
            for layer, expected in layers:
                assert torch.allclose(layer.keys, expected.keys, atol=1e-5)
                assert torch.allclose(layer.values, expected.values, atol=1e-5)
    assert min(n_lacking) == 1
    assert max(n_lacking) > 3


def test_a_jump_ends_where_the_text_has_to(backbone: Backbone) -> None:
    whole = list(generate_call(backbone))
    for n in (1, 2, 3, 7):
        assert list(generate_call(backbone, max_new_tokens=n)) == whole[:n]
    assert list(generate_call(backbone, eos_ids={whole[1]})) == whole[:2]


def test_sampler_is_reproducible_and_follows_the_seed() -> None:
    logits = torch.randn(50, generator=torch.Generator().manual_seed(1))

    def draw(seed: int | None) -> list[int]:
        sampler = make_sampler(1.0, 1.0, seed)
        return [sampler(logits) for _ in range(20)]

    assert draw(7) == draw(7)
    assert draw(7) != draw(8)
    assert draw(None) != draw(None)


def test_sampler_keeps_to_the_nucleus() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    sampler = make_sampler(1.0, 0.75, 0)
    assert {sampler(logits) for _ in range(200)} == {0, 1}
    tiny = make_sampler(1.0, 1e-6, 0)
    assert {tiny(logits) for _ in range(20)} == {0}


def test_sampler_with_masked_logits_never_picks_them() -> None:
    logits = torch.full((100,), -torch.inf)
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
def test_hold_back_never_shows_a_stop_string(text: str, cuts: list[int], stops: list[str]) -> None:
    stream = TextStream.__new__(TextStream)
    stream.stopped, stream._held, stream._stops = False, "", tuple(stops)
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    shown = ""
    for start, end in pairwise(bounds):
        if not stream.stopped:
            shown += stream._hold_back(stream._held + text[start:end])
    shown += stream.flush()
    ends = [text.find(stop) for stop in stops if stop in text]
    assert stream.stopped == bool(ends)
    assert text.startswith(shown)
    assert all(stop not in shown for stop in stops)
    if not ends:
        assert shown == text
