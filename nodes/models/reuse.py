"""Which part of a prompt is shared, and with whom: the meeting of adapters and the prefix cache.

A plain model or LoRA shares prompts with itself. An activated LoRA reads what the base model computed up to its marker,
so planner, caller and summarizer, and all steps of a thread, share one cache.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from transformers import DynamicCache

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.models.backbone import Adapter, Backbone
from alpha_umi.nodes.models.forward import Span
from alpha_umi.nodes.models.kv_cache import growing_layers


@dataclass(slots=True)
class Text:
    """A prompt and what is written behind it, and the keys and values of its beginning.

    Args:
        ids: All its tokens so far.
        n_prompt: So many of them are the prompt.
        n_reused: So many were known from before.
        n_evicted: So many cache entries had to go for it.
        past: Keys and values; a pass over `span` extends it.
    """

    ids: list[int]
    n_prompt: int
    n_reused: int
    past: DynamicCache
    _backbone: Backbone
    _adapter: Adapter | None
    _n_base: int
    n_evicted: int = 0

    @property
    def can_shrink(self) -> bool:
        """Whether tokens can be taken back: not where a sliding window has forgotten what stood before them."""
        return len(growing_layers(self.past)) == len(self.past.layers)

    def span(self, cancelled: threading.Event, guesses: Sequence[int] = ()) -> Span:
        """Return the tokens that are not computed yet, and behind them what may come next."""
        n_known = self.past.get_seq_length()
        ids = [*self.ids[n_known:], *guesses]
        return Span(self.past, ids, self._adapter, max(self._n_base - n_known, 0), cancelled, len(guesses))

    def forget_guesses(self) -> None:
        """Take back what was computed for tokens that the text does not hold; its last token is yet to be computed."""
        n_known = len(self.ids) - 1
        if self.past.get_seq_length() > n_known:
            for layer in growing_layers(self.past):
                layer.begin_with(*layer.view(n_known))

    def keep(self) -> None:
        """Let later prompts begin with what has been computed; also right when that is not all."""
        # an activated LoRA's own keys and values are of no use to the others
        n_kept = min(self.past.get_seq_length(), self._n_base or len(self.ids))
        view = None if self._n_base else self._adapter
        self.n_evicted += self._backbone.cache.put(view, self.ids[:n_kept], self.past)


@contextmanager
def open_text(backbone: Backbone, adapter: Adapter | None, input_ids: Sequence[int]) -> Iterator[Text]:
    """Begin with the longest known beginning of a prompt, and in the end keep what later prompts can begin with.

    Args:
        backbone: The model and its cache.
        adapter: What will write the reply.
        input_ids: The whole prompt, at least one token.

    Raises:
        ConfigError: If the adapter's marker is not in the prompt.
    """
    n_base = _find_marker(input_ids, adapter) if adapter and adapter.invocation_tokens else 0
    # without a last token to compute there would be no logits to begin with
    n_shared = n_base or len(input_ids) - 1
    past, n_reused = backbone.cache.take(None if n_base else adapter, input_ids[:n_shared], backbone.model.config)
    text = Text(list(input_ids), len(input_ids), n_reused, past, backbone, adapter, n_base)
    try:
        yield text
    finally:
        text.keep()


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
