"""From logits to a token, and from tokens to text. Imports torch: import it only where a model is run."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

import torch
from transformers import PreTrainedTokenizerFast

Sampler = Callable[[torch.Tensor], int]

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
