"""Guesses save forward passes and change no token."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpha_umi.nodes.models.engine.decode import (
    MAX_GUESSES,
    N_KEY_TOKENS,
    PromptLookup,
    Sampler,
    make_sampler,
)
from alpha_umi.nodes.models.engine.grammar import Grammar, caller_grammar, planner_grammar
from alpha_umi.nodes.models.engine.pytorch.backbone import TorchBackbone
from alpha_umi.nodes.models.engine.pytorch.kv_cache import TorchPast
from alpha_umi.nodes.models.engine.spans import Logits, Span
from alpha_umi.tools.spec import ToolSpec
from tests.nodes.models.conftest import Write, Written

SPEC = ToolSpec("add", "Adds.", {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]})
MARKER = [5, 6, 7]


def guess_slowly(ids: Sequence[int]) -> list[int]:
    key = list(ids[-N_KEY_TOKENS:])
    starts = [end for end in range(N_KEY_TOKENS, len(ids)) if list(ids[end - N_KEY_TOKENS : end]) == key]
    return list(ids[starts[-1] : starts[-1] + MAX_GUESSES]) if starts else []


@given(st.lists(st.integers(0, 3), max_size=40), st.lists(st.integers(0, 40), max_size=5))
def test_lookup_guesses_what_followed_last_time(ids: list[int], lengths: list[int]) -> None:
    lookup = PromptLookup()
    for n in sorted({min(n, len(ids)) for n in (*lengths, len(ids))}):
        assert lookup.guess(ids[:n]) == guess_slowly(ids[:n])


class Copyist:
    """Copies from a text where it can, but errs; a function of how much is written and of the logits."""

    def __init__(self, source: Sequence[int], seed: int) -> None:
        self.source, self.rng, self.n = source, random.Random(seed), 0

    def __call__(self, logits: Logits) -> int:
        self.n += 1
        wanted = self.source[self.n % len(self.source)]
        is_right = self.rng.random() < 0.8 and logits[wanted] > -np.inf
        return wanted if is_right else int(logits.argmax())


def write_one(
    write: Write, backbone: TorchBackbone, prompt: list[int], sampler: Sampler, *, n: int = 40, **settings: Any
) -> list[int]:
    order = Written(prompt, n=n, sampler=sampler, eos_ids={2}, **settings)
    write(backbone, [order])
    return order.ids


def count_rows(backbone: TorchBackbone) -> list[int]:
    passes: list[int] = []
    backbone.model.register_forward_pre_hook(
        lambda _, args, kwargs: passes.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    return passes


@pytest.mark.parametrize("adapter", [None, "one", "planner"])
@pytest.mark.parametrize("grammar", [None, planner_grammar(20), caller_grammar({SPEC.name: SPEC.parameters})])
def test_guesses_change_no_token(
    backbone: TorchBackbone, write: Write, adapter: str | None, grammar: Grammar | None
) -> None:
    rng = random.Random(7)
    n_passes = {True: 0, False: 0}
    passes = count_rows(backbone)
    for seed in range(12):
        prompt = [rng.randrange(20, 60) for _ in range(rng.randrange(3, 60))]
        prompt += MARKER if adapter == "planner" else []
        texts = []
        for lookup in (True, False):
            passes.clear()
            copyist = Copyist(prompt, seed)
            texts.append(
                write_one(write, backbone, prompt, copyist, prompt_lookup=lookup, grammar=grammar, adapter=adapter)
            )
            n_passes[lookup] += len(passes)
        assert texts[0] == texts[1]
    assert n_passes[True] < 0.9 * n_passes[False]


def test_guesses_change_no_sampled_token(backbone: TorchBackbone, write: Write) -> None:
    prompt = [20, 21, 22, 23, 20, 21]
    texts = {
        tuple(write_one(write, backbone, prompt, make_sampler(0.7, 0.9, seed), prompt_lookup=lookup))
        for seed in range(5)
        for lookup in (True, False)
    }
    assert len(texts) == 5


def test_wrong_guesses_are_not_found_in_the_cache(backbone: TorchBackbone, write: Write) -> None:
    rng = random.Random(3)
    written: list[int] = []
    for seed in range(10):
        prompt = [*([20, 21, 22, 23] * 5), *written[: rng.randrange(20)]]
        written = write_one(write, backbone, prompt, Copyist(prompt, seed), prompt_lookup=True)
        whole = [*prompt, *written]
        fresh = write_one(write, backbone, whole, make_sampler(), prompt_lookup=False, n=8)
        backbone.cache.drop(None)
        assert write_one(write, backbone, whole, make_sampler(), prompt_lookup=False, n=8) == fresh


@pytest.mark.parametrize("n_ids", [7, 256, 258, 300])
def test_guesses_are_not_divided_between_passes(backbone: TorchBackbone, n_ids: int) -> None:
    ids = [20 + i % 40 for i in range(n_ids)]
    first, rest = Span(TorchPast(backbone.model.config), ids, None, 0, threading.Event(), 5).split(256)
    assert [*first.ids, *rest.ids] == (ids if n_ids <= 256 else ids[:-5])
    assert first.n_guesses == (5 if n_ids <= 256 else 0)
    assert not rest.ids or rest.n_guesses == 0


def test_many_texts_share_the_guesses(backbone: TorchBackbone, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    orders = [Written([20, 21, 22, 23, 24, 25] * 8 + [20 + i], n=30) for i in range(6)]
    monkeypatch.setattr(backbone, "guessed_tokens", 12)
    passes = count_rows(backbone)
    write(backbone, orders)
    assert max(rows for rows in passes if rows < 49) <= 6 * (1 + 2)
    assert max(passes[-20:]) > 6 or len(passes) < 30, "there were no guesses"
