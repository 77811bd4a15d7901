"""Tokens from a model, one by one, and text from tokens.

A loop of our own and not `model.generate`: it streams, stops within a layer when cancelled, follows a grammar, and
takes a key/value cache that holds the beginning of the prompt. Imports torch: import it only where a model is run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from transformers import Cache, DynamicCache, PreTrainedModel, PreTrainedTokenizerFast
from transformers.modeling_layers import GradientCheckpointingLayer

Sampler = Callable[[torch.Tensor], int]

# Measured on two AVX-512 cores with 135M parameters: 128 tokens at once cost 10% of the rate, 256 cost 2%.
CPU_PREFILL_TOKENS = 256
GPU_PREFILL_TOKENS = 2048
_REPLACEMENT = "\ufffd"


class Constraint(Protocol):
    """What decides which tokens may come next; `alpha_umi.nodes.models.grammar.TokenMask` is one."""

    @property
    def finished(self) -> bool:
        """Whether the text is complete, so that nothing may follow."""

    def forced(self) -> int | None:
        """Return the only token that `choose` could return now, None where there is a choice."""

    def accept(self, token: int) -> int:
        """Remember a forced token and return what takes its place in the text, most often itself."""

    def choose(self, logits: torch.Tensor, sampler: Sampler) -> int:
        """Return the next token and remember it."""


class Cancelled(Exception):
    """Ends a forward pass in its middle; never leaves this module."""


def make_sampler(temperature: float = 0.0, top_p: float = 1.0, seed: int | None = None) -> Sampler:
    """Return a function from logits (float32, (vocabulary,)) to a token.

    Args:
        temperature: 0 takes the most likely token.
        top_p: Sample among the most likely tokens that together have this probability.
        seed: Makes sampling reproducible; None draws one.
    """
    if temperature == 0.0:
        return lambda logits: int(logits.argmax())
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)

    def sample(logits: torch.Tensor) -> int:
        # on the CPU, so that a seed gives the same tokens on every device
        probabilities, tokens = torch.softmax(logits.cpu() / temperature, dim=-1).sort(descending=True)
        likelier = probabilities.cumsum(-1) - probabilities
        probabilities[likelier >= top_p] = 0.0
        return int(tokens[torch.multinomial(probabilities, 1, generator=generator)])

    return sample


def generate_tokens(
    model: PreTrainedModel,
    input_ids: Sequence[int],
    *,
    sampler: Sampler,
    max_new_tokens: int,
    eos_ids: Collection[int],
    constraint: Constraint | None = None,
    cancelled: threading.Event | None = None,
    past: Cache | None = None,
    jump_forward: bool = True,
) -> Iterator[int]:
    """Yield the tokens that follow a prompt, up to and including an end-of-sequence token.

    The cache never holds a token that was not yielded; it lacks those that were yielded since the last forward pass.

    Args:
        model: A causal language model; nothing else may run it meanwhile.
        input_ids: The whole prompt, at least one token.
        sampler: Picks a token from the last position's logits.
        max_new_tokens: The most tokens to yield.
        eos_ids: Tokens that end the text.
        constraint: Restricts the choice; the text also ends when it is finished.
        cancelled: Once set, the forward pass is left between two layers and nothing more is yielded.
        past: Cache of the first ``past.get_seq_length()`` tokens of the prompt, fewer than all; it is extended in
            place. After a cancellation its layers may differ in length: crop it.
        jump_forward: Yield tokens that the constraint forces without a forward pass for each; the next pass reads them
            all. The tokens are the same without, where rounding does not make a difference.
    """
    cancelled = cancelled or threading.Event()
    past = DynamicCache(config=model.config) if past is None else past
    new_ids = list(input_ids[past.get_seq_length() :])
    with _leave_when_set(model, cancelled):
        for _ in range(max_new_tokens):
            forced = constraint.forced() if constraint and jump_forward else None
            if constraint and forced is not None:
                token = constraint.accept(forced)
            else:
                try:
                    logits = _forward(model, new_ids, past, cancelled)
                except Cancelled:
                    return
                token = constraint.choose(logits, sampler) if constraint else sampler(logits)
                new_ids.clear()
            new_ids.append(token)
            yield token
            if token in eos_ids or cancelled.is_set() or (constraint and constraint.finished):
                return


def prefill(model: PreTrainedModel, input_ids: Sequence[int], past: Cache, cancelled: threading.Event) -> bool:
    """Extend a cache to all of `input_ids`; return whether it was not cancelled."""
    new_ids = list(input_ids[past.get_seq_length() :])
    if not new_ids:
        return not cancelled.is_set()
    with _leave_when_set(model, cancelled):
        try:
            _forward(model, new_ids, past, cancelled)
        except Cancelled:
            return False
    return True


# not around the generator's `yield`: inference mode would leak into whoever consumes it
@torch.inference_mode()
def _forward(model: PreTrainedModel, new_ids: list[int], past: Cache, cancelled: threading.Event) -> torch.Tensor:
    """Append tokens to the cache, in chunks, and return the last position's logits (float32, (vocabulary,))."""
    device = model.device
    chunk = CPU_PREFILL_TOKENS if device.type == "cpu" else GPU_PREFILL_TOKENS
    ids = torch.tensor([new_ids], device=device)
    for start in range(0, len(new_ids), chunk):
        if cancelled.is_set():
            raise Cancelled
        output = model(input_ids=ids[:, start : start + chunk], past_key_values=past, use_cache=True, logits_to_keep=1)
    logits: torch.Tensor = output.logits[0, -1].float()
    return logits


@contextmanager
def _leave_when_set(model: PreTrainedModel, cancelled: threading.Event) -> Iterator[None]:
    """Make every layer look at the event first: a chunk of a long prompt takes longer than a user's patience."""

    def check(*_: object) -> None:
        if cancelled.is_set():
            raise Cancelled

    layers = [layer for layer in model.modules() if isinstance(layer, GradientCheckpointingLayer)]
    handles = [layer.register_forward_pre_hook(check) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class TextStream:
    """Turns tokens into text piece by piece: whole characters only, and nothing of a stop string.

    Args:
        tokenizer: Decodes; special tokens are left out.
        stops: Strings that end the text and are no part of it.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, stops: Collection[str] = ()) -> None:
        """Start with no text."""
        self.stopped = False
        self._tokenizer = tokenizer
        self._stops = tuple(filter(None, stops))
        self._tokens: list[int] = []
        self._n_read = 0
        self._held = ""

    def feed(self, token: int) -> str:
        """Return the text that this token makes certain, often none."""
        self._tokens.append(token)
        text = self._decode(self._tokens)
        if text.endswith(_REPLACEMENT):
            return ""  # the token ends within a character
        new_text = text[len(self._decode(self._tokens[: self._n_read])) :]
        # a few tokens stay: some tokenizers write the first one without its space
        self._tokens = self._tokens[self._n_read :]
        self._n_read = len(self._tokens)
        return self._hold_back(self._held + new_text)

    def flush(self) -> str:
        """Return what was held back because a stop string could have begun there."""
        text, self._held = self._held, ""
        return text

    def _decode(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _hold_back(self, text: str) -> str:
        found = [text.find(stop) for stop in self._stops if stop in text]
        if found:
            self.stopped = True
            self._held = ""
            return text[: min(found)]
        n_held = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - n_held :]
        return text[: len(text) - n_held]


def _overlap(text: str, stop: str) -> int:
    """Count how many characters at the end of `text` could be the beginning of `stop`."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
