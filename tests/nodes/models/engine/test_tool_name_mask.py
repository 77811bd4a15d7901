"""The planner cannot announce a call of a tool that is not on offer."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest

from alpha_umi.nodes.format.parsing import parse_plan
from alpha_umi.nodes.models.engine.decode import TextStream, make_sampler
from alpha_umi.nodes.models.engine.grammar import TokenMask, planner_grammar
from alpha_umi.nodes.models.engine.pytorch.backbone import TorchBackbone
from alpha_umi.nodes.models.specs import load_model

NAMES = ("search", "search.files", "weather-in", "größe")


def make_mask(backbone: TorchBackbone, *, max_rationale_tokens: int = 200, names: tuple[str, ...] = NAMES) -> TokenMask:
    return backbone.grammars.make_mask(planner_grammar(max_rationale_tokens, names), 1000)


def feed(mask: TokenMask, backbone: TorchBackbone, text: str) -> str:
    """Offer a text token by token; return it up to where another token was taken."""
    taken: list[int] = []
    for token in backbone.tokenizer.encode(text, add_special_tokens=False):
        wanted = np.full(backbone.n_vocab, -1.0, np.float32)
        wanted[token] = 1.0
        if mask.choose(wanted, make_sampler()) != token:
            break
        taken.append(token)
    return str(backbone.tokenizer.decode(taken))


@pytest.mark.parametrize(
    "text",
    [
        'I call search with a="x".\nNext: caller.',
        "I call search.files.\nNext: caller.",
        "I call search.\nNext: caller.",
        "I call search: it finds.\nNext: caller.",
        "I call search\nNext: caller.",
        "I call search. It may do. Then I call weather-in with b=2.\nNext: caller.",
        "Part 1: I call größe.\nNext: caller.",
        "I called calculator before.\nNext: conclusion.",
        "I calls, I calling it, I call\ttwice.\nNext: conclusion.",
        "WI call calculator.\nNext: caller.",
        "_I call calculator.\nNext: caller.",
        "What I call.\nNext: give up.",
        "They say: call calculator.\nNext: caller.",
    ],
)
def test_offered_names_and_other_words_may_be_written(backbone: TorchBackbone, text: str) -> None:
    mask = make_mask(backbone)
    assert feed(mask, backbone, text) == text
    assert mask.finished


@pytest.mark.parametrize(
    "text",
    [
        "I call calculator with a=1.\nNext: caller.",
        "I call searcher.\nNext: caller.",
        "I callsearch.files.\nNext: caller.",
        "I callsum.\nNext: caller.",
        "I call sea.\nNext: caller.",
        "I call search_files.\nNext: caller.",
        "I call search2.\nNext: caller.",
        "I call search.filesystem.\nNext: caller.",
        "I call search-all.\nNext: caller.",
        "I call weather-in.forecast.\nNext: caller.",
        "I call weather-in:two.\nNext: caller.",
        "I call searché.\nNext: caller.",
        "I call search. I call calculator.\nNext: caller.",
        "I call\nit. Why? I call  search.\nNext: caller.",
    ],
)
def test_other_names_may_not(backbone: TorchBackbone, text: str) -> None:
    written = feed(make_mask(backbone), backbone, text)
    assert written != text
    assert "I call" in written
    unguarded = make_mask(backbone, names=())
    assert feed(unguarded, backbone, text) == text


def write_after(backbone: TorchBackbone, beginning: str, *, seed: int, max_rationale_tokens: int) -> str:
    """Let chance write on."""
    mask = make_mask(backbone, max_rationale_tokens=max_rationale_tokens)
    assert feed(mask, backbone, beginning) == beginning
    generator = np.random.default_rng(seed)
    stream = TextStream(backbone.tokenizer)
    written = ""
    while not mask.finished:
        forced = mask.forced()
        logits = generator.standard_normal(backbone.n_vocab).astype(np.float32)
        token = mask.choose(logits, make_sampler()) if forced is None else mask.accept(forced)
        written += stream.feed(token)
    return written + stream.flush()


def test_chance_writes_offered_names(backbone: TorchBackbone) -> None:
    written = [write_after(backbone, "I call ", seed=seed, max_rationale_tokens=120) for seed in range(20)]
    found = [[name for name in NAMES if re.match(re.escape(name) + r"(?![\w/-])", text)] for text in written]
    assert all(found), written
    assert {name for names in found for name in names} >= {"search", "weather-in"}


@pytest.mark.parametrize("max_rationale_tokens", range(6, 16))
def test_rationale_is_cut_within_a_name_too(backbone: TorchBackbone, max_rationale_tokens: int) -> None:
    for seed in range(5):
        written = write_after(backbone, "I call", seed=seed, max_rationale_tokens=max_rationale_tokens)
        assert parse_plan(written).decision is not None, written


def test_hundreds_of_names_are_told_apart(backbone: TorchBackbone) -> None:
    rng = random.Random(0)
    words = ("get", "find", "weather", "stock", "price", "order", "user", "item", "city", "date", "hotel", "track")
    names = tuple({"_".join(rng.choices(words, k=4)) for _ in range(400)})
    text = f"I call {names[7]} with a=1. Then I call {names[300]}.\nNext: caller."
    assert feed(make_mask(backbone, names=names), backbone, text) == text
    other = text.replace(names[300], f"{names[300]}_again")
    assert feed(make_mask(backbone, names=names), backbone, other) != other


def test_it_can_be_turned_off() -> None:
    on, off = load_model("hf:smollm2-135m", "planner"), load_model("hf:smollm2-135m", "planner", guard_names=False)
    assert on.guard_names  # type: ignore[attr-defined]
    assert not off.guard_names  # type: ignore[attr-defined]
