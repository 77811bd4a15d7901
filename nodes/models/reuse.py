"""Which part of a prompt is shared, and with whom: the meeting of adapters and the prefix cache.

A plain model or LoRA shares prompts with itself. An activated LoRA reads what the base model computed up to its marker,
so planner, caller and summarizer, and all steps of a thread, share one cache.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from transformers import DynamicCache

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.models.backbone import Adapter, Backbone
from alpha_umi.nodes.models.decode import prefill
from alpha_umi.nodes.models.kv_cache import count_complete


@dataclass(slots=True)
class Prefix:
    """The beginning of a prompt, computed.

    Args:
        past: Its keys and values; generation extends it.
        n_reused_tokens: How many of them were known from before.
        new_ids: To be filled with the generated tokens, so that they can be kept too.
    """

    past: DynamicCache
    n_reused_tokens: int
    new_ids: list[int] = field(default_factory=list)


@contextmanager
def open_prefix(
    backbone: Backbone, adapter: Adapter | None, input_ids: Sequence[int], cancelled: threading.Event
) -> Iterator[Prefix]:
    """Give the longest known beginning of a prompt, and afterwards keep what later prompts can begin with.

    Args:
        backbone: The model and its cache.
        adapter: What will write the reply.
        input_ids: The whole prompt.
        cancelled: Once set, the base model's part is left unfinished.
    """
    activated = adapter is not None and bool(adapter.invocation_tokens)
    view: Hashable = None if adapter is None or activated else adapter.path
    n_shared = _find_marker(input_ids, adapter) if adapter and activated else len(input_ids) - 1
    past, n_reused = backbone.cache.take(view, input_ids[:n_shared], backbone.model.config)
    prefix = Prefix(past, n_reused)
    try:
        if activated:
            with backbone.use(None) as base:
                prefill(base, input_ids[:n_shared], past, cancelled)
        yield prefix
    finally:
        # An activated LoRA's own keys and values are of no use to the others; an unfinished layer's to nobody.
        n_complete = count_complete(past)
        kept = [*input_ids, *prefix.new_ids][: min(n_complete, n_shared) if activated else n_complete]
        backbone.cache.put(view, kept, past)


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
