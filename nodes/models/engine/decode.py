"""From logits to tokens and from tokens to text."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.encoding import FastTokenizer
from alpha_umi.nodes.models.engine.backbone import Backbone
from alpha_umi.nodes.models.engine.grammar import TokenMask
from alpha_umi.nodes.models.engine.spans import Adapter, Logits, Past, Span

Sampler = Callable[[Logits], int]

_REPLACEMENT = "\ufffd"


def make_sampler(temperature: float = 0.0, top_p: float = 1.0, seed: int | None = None) -> Sampler:
    """Return a function from logits (float32, (vocabulary,)) to a token: the most likely one at temperature 0.

    Else it samples among the most likely tokens that together have the probability `top_p`; no seed draws one.
    """
    if temperature == 0.0:
        return lambda logits: int(logits.argmax())
    generator = np.random.default_rng(seed)

    def sample(logits: Logits) -> int:
        tokens = np.argsort(-logits, kind="stable")
        sorted_logits = logits[tokens].astype(np.float64) / temperature
        probabilities = np.exp(sorted_logits - sorted_logits[0])
        probabilities /= probabilities.sum()
        probabilities[probabilities.cumsum() - probabilities >= top_p] = 0.0
        return int(generator.choice(tokens, p=probabilities / probabilities.sum()))

    return sample


class TextStream:
    """Turns tokens into text as they come: whole characters only, no special tokens, and nothing of a stop string."""

    def __init__(self, tokenizer: FastTokenizer, stops: Collection[str] = ()) -> None:
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
        return str(self._tokenizer.backend_tokenizer.decode(tokens, skip_special_tokens=True))

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


N_KEY_TOKENS = 2
MAX_GUESSES = 5


class PromptLookup:
    """Guesses what follows; remembers where each pair of tokens occurred last."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._ends: dict[tuple[int, ...], int] = {}
        self._n_known = 0

    def guess(self, ids: Sequence[int]) -> list[int]:
        """Return what followed the last occurrence of the last tokens, at most `MAX_GUESSES`; empty if there is none.

        Args:
            ids: The whole sequence, which begins with that of the call before.
        """
        for end in range(max(self._n_known, N_KEY_TOKENS), len(ids)):  # the last key is what is looked for
            self._ends[tuple(ids[end - N_KEY_TOKENS : end])] = end
        self._n_known = max(self._n_known, len(ids))
        start = self._ends.get(tuple(ids[-N_KEY_TOKENS:]))
        return [] if start is None else list(ids[start : start + MAX_GUESSES])


Decoding: TypeAlias = Generator[Span, Logits, None]
"""Yields the tokens to compute next; is sent the logits after them; closed when cancelled."""


def decode_tokens(
    sequence: TokenSequence,
    cancelled: threading.Event,
    *,
    sampler: Sampler,
    max_new_tokens: int,
    eos_ids: Collection[int],
    constraint: TokenMask | None = None,
    accept: Callable[[int], bool],
    prompt_lookup: bool = True,
) -> Decoding:
    """Generate what follows a prompt, up to and including an end-of-sequence token, and append it to the sequence.

    The text also ends when the constraint on the choice is finished, and where `accept`, which is handed each token,
    returns False. Once `cancelled` is set, no pass needs to be finished. Prompt lookup lets passes try guesses of what
    comes next; the tokens are the same without, where rounding does not make a difference.
    """
    lookup = PromptLookup() if prompt_lookup and sequence.past.can_shrink else None
    guesses: list[int] = []
    logits: Sequence[Logits] | Logits = ()  # after the sequence, and after each guess
    for n_left in range(max_new_tokens, 0, -1):
        forced = constraint.forced() if constraint else None
        if constraint and forced is not None:
            token = constraint.accept(forced)  # computed in the next pass, with the token after it
        else:
            if not len(logits):
                guesses = lookup.guess(sequence.ids)[: n_left - 1] if lookup else []
                logits = yield sequence.make_span(cancelled, guesses)
                sequence.keep()  # others that wait may begin with the same prompt
            token = constraint.choose(logits[0], sampler) if constraint else sampler(logits[0])
        sequence.ids.append(token)
        if len(logits) > 1 and guesses[0] == token:
            logits, guesses = logits[1:], guesses[1:]
        else:
            logits = ()
            sequence.forget_guesses()
        if not accept(token) or token in eos_ids or (constraint and constraint.finished):
            return


@dataclass(slots=True)
class TokenSequence:
    """A prompt and what is generated behind it, and the keys and values of its beginning.

    Args:
        ids: All its tokens so far.
        n_prompt: So many of them are the prompt.
        n_cached: So many of those were found in the prefix cache.
        n_evicted: So many entries of the prefix cache were evicted for it.
        past: Keys and values; a pass over a span of it extends them.
    """

    ids: list[int]
    n_prompt: int
    n_cached: int
    past: Past
    _backbone: Backbone
    _adapter: Adapter | None
    _n_base: int
    n_evicted: int = 0

    def make_span(self, cancelled: threading.Event, guesses: Sequence[int] = ()) -> Span:
        """Return the tokens that are not computed yet, and behind them what may come next."""
        n_known = self.past.n_tokens
        ids = [*self.ids[n_known:], *guesses]
        return Span(self.past, ids, self._adapter, max(self._n_base - n_known, 0), cancelled, len(guesses))

    def forget_guesses(self) -> None:
        """Take back what was computed for guesses; the last token is yet to be computed."""
        if self.past.can_shrink and self.past.n_tokens >= len(self.ids):
            self.past.shrink(len(self.ids) - 1)

    def keep(self) -> None:
        """Let later prompts begin with what has been computed; also right when that is not all."""
        # an activated LoRA's own keys and values are of no use to the others
        n_kept = min(self.past.n_tokens, self._n_base or len(self.ids))
        view = None if self._n_base else self._adapter
        self.n_evicted += self._backbone.cache.put(view, self.ids[:n_kept], self.past)


@contextmanager
def open_sequence(backbone: Backbone, adapter: Adapter | None, input_ids: Sequence[int]) -> Iterator[TokenSequence]:
    """Begin with the longest known beginning of a prompt, and in the end keep what later prompts can begin with.

    Raises:
        ConfigError: If the adapter's marker is not in the prompt.
    """
    n_base = _find_marker(input_ids, adapter) if adapter and adapter.invocation_tokens else 0
    # without a last token to compute there would be no logits to begin with
    n_shared = n_base or len(input_ids) - 1
    past, n_cached = backbone.cache.take(None if n_base else adapter, input_ids[:n_shared], backbone.make_past)
    sequence = TokenSequence(list(input_ids), len(input_ids), n_cached, past, backbone, adapter, n_base)
    try:
        yield sequence
    finally:
        sequence.keep()
        past.release()


def _find_marker(input_ids: Sequence[int], adapter: Adapter) -> int:
    """Return where the role's marker begins; PEFT also takes the last one."""
    marker = list(adapter.invocation_tokens)
    for start in range(len(input_ids) - len(marker), -1, -1):
        if list(input_ids[start : start + len(marker)]) == marker:
            return start
    raise ConfigError(
        f"The prompt does not hold the marker that {adapter.path} was trained to begin at; use the checkpoint's own "
        "chat template and the role the adapter was trained for."
    )
