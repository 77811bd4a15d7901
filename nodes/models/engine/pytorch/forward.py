"""One forward pass over tokens of several sequences, each with its own cache and its own adapter.

The tokens of all sequences are lined up in the batch dimension, one token per row. So no sequence is padded
to the length of another, and a long prompt and a single new token share a pass. Weights are read once for all;
attention alone looks at one sequence after the other. Imports torch.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, Cache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from alpha_umi.errors import ModelFault
from alpha_umi.nodes.models.engine.prefix_cache import PrefixCache
from alpha_umi.nodes.models.engine.pytorch.kv_cache import KeyValues, restore_layers, save_layers
from alpha_umi.nodes.models.engine.spans import Adapter, Cancelled, Logits, Span

_ATTENTION = "alpha_umi_spans"
# What torch's allocators say in errors that are no torch.OutOfMemoryError: on the CPU, on Apple's GPUs, in cuBLAS.
_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


class Weights(Protocol):
    """What a pass needs of a backbone."""

    model: PreTrainedModel
    cache: PrefixCache

    def use(self, adapters: Sequence[Adapter | None]) -> AbstractContextManager[PreTrainedModel]:
        """Give the model with one adapter, or none, for each row of its input; a single one is that of all rows."""


@torch.inference_mode()
def compute(backbone: Weights, spans: Sequence[Span]) -> list[Logits]:
    """Append each span to its cache; return the logits after each (float32, (1 + guesses, vocabulary)).

    The first row is what follows the sequence, each further one what follows a guess.

    Raises:
        Cancelled: Between two layers, once one of the spans is; then, as after any error, nothing was appended.
    """
    device = backbone.model.device
    starts = [span.past.get_seq_length() for span in spans]
    ids = [token for span in spans for token in span.ids]
    positions = [start + i for start, span in zip(starts, spans, strict=True) for i in range(len(span.ids))]
    adapters = [adapter for span in spans for adapter in span.adapters]
    saved = [save_layers(span.past) for span in spans]
    try:
        with backbone.use(adapters) as model, _attend_by_span(model, spans):
            output = model(
                input_ids=torch.tensor(ids, device=device)[:, None],
                position_ids=torch.tensor(positions, device=device)[:, None],
                past_key_values=_SpanCaches(spans),
                use_cache=True,
            )
    except BaseException:
        for span, layers in zip(spans, saved, strict=True):
            restore_layers(span.past, layers)
        raise
    logits = output.logits[:, -1].float().cpu().numpy()
    return np.split(logits, np.cumsum([1 + span.n_guesses for span in spans])[:-1])


def compute_with_oom_retry(backbone: Weights, spans: Sequence[Span]) -> list[Logits]:
    """Do what `compute` does; where memory is short, empty the prefix cache and try once more.

    Raises:
        ModelFault: If that was not enough; nothing was appended.
    """
    try:
        return compute(backbone, spans)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    backbone.cache.clear()  # outside the handler, whose traceback holds the tensors of the pass
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        return compute(backbone, spans)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        reason = str(error).partition("\n")[0] or type(error).__name__
    raise ModelFault(
        f"There is not enough memory to write this text ({reason}). Run fewer threads at once, lower max_tokens, "
        "shorten the conversation, or take a smaller dtype, model or another device; then ask again, or resume the "
        "thread."
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory could not be had."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in _OUT_OF_MEMORY)


class _SpanCaches(Cache):
    """The caches of several sequences, for one forward pass."""

    def __init__(self, spans: Sequence[Span]) -> None:
        super().__init__(layer_class_to_replicate=DynamicLayer)
        self.spans = spans
        self.sizes = [len(span.ids) for span in spans]
        self._masks: dict[tuple[int, int, int | None, torch.device], torch.Tensor] = {}

    def update(  # type: ignore[override]
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[_SpanCaches, list[KeyValues]]:
        """Append to each sequence's layer; what each holds then goes to `_attend`, in the place of the values."""
        if any(span.cancelled.is_set() for span in self.spans):
            raise Cancelled
        # (tokens, heads, 1, size) → (1, heads, tokens, size)
        keys, values = (torch.split(states.permute(2, 1, 0, 3), self.sizes, 2) for states in (key_states, value_states))
        return self, [
            span.past.update(new_keys, new_values, layer_idx)
            for span, new_keys, new_values in zip(self.spans, keys, values, strict=True)
        ]

    def make_mask(self, n_new: int, n_keys: int, window: int | None, like: torch.Tensor) -> torch.Tensor:
        """Return what is added to the scores ((n_new, n_keys)): a token sees itself and those before it."""
        which = n_new, n_keys, window, like.device  # the layers may be on several
        if which not in self._masks:
            ages = torch.arange(n_new)[:, None] + (n_keys - n_new) - torch.arange(n_keys)
            hidden = (ages < 0) | (ages >= window) if window else ages < 0
            mask = torch.zeros(n_new, n_keys).masked_fill(hidden, -torch.inf)
            self._masks[which] = mask.to(like.device, like.dtype)
        return self._masks[which]


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: _SpanCaches,
    value: list[KeyValues],
    attention_mask: None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within each sequence; a transformers attention function for what `_SpanCaches.update` returns."""
    outputs = []
    for queries, (keys, values) in zip(torch.split(query, key.sizes), value, strict=True):
        n_new, n_heads, _, size = queries.shape
        n_groups = n_heads // keys.shape[1]
        # Query heads that share a key head are handled as further queries of it: keys are not copied for each.
        grouped = queries.permute(2, 1, 0, 3).reshape(1, keys.shape[1], n_groups * n_new, size)
        mask = key.make_mask(n_new, keys.shape[-2], sliding_window, queries).repeat(n_groups, 1) if n_new > 1 else None
        attended = (
            scaled_dot_product_attention(grouped, keys, values, attn_mask=mask, scale=scaling)
            if softcap is None
            else _attend_capped(grouped, keys, values, mask, scaling or size**-0.5, softcap)
        )
        outputs.append(attended.reshape(n_heads, n_new, -1).transpose(0, 1))
    return torch.cat(outputs)[:, None], None


def _attend_capped(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float,
    softcap: float,
) -> torch.Tensor:
    """Attend with scores that approach a cap, which no kernel of torch has."""
    scores = softcap * torch.tanh(queries @ keys.transpose(-1, -2) * scaling / softcap)
    weights = (scores if mask is None else scores + mask).softmax(-1, dtype=torch.float32)
    return weights.to(queries.dtype) @ values


@contextmanager
def _attend_by_span(model: PreTrainedModel, spans: Sequence[Span]) -> Iterator[None]:
    """Have the model use `_attend`, and compute logits only where they are asked for."""
    ends = torch.tensor([len(span.ids) for span in spans]).cumsum(0).tolist()
    wanted = [row for end, span in zip(ends, spans, strict=True) for row in range(end - span.n_guesses - 1, end)]
    # `set_attn_implementation`, the public way, walks all modules: 0.4 ms for each pass of a model of 30 layers.
    usual = model.config._attn_implementation
    model.config._attn_implementation = _ATTENTION
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    handle = head.register_forward_pre_hook(lambda _, args: (args[0][wanted], *args[1:]))
    try:
        yield
    finally:
        model.config._attn_implementation = usual
        handle.remove()


AttentionInterface.register(_ATTENTION, _attend)
