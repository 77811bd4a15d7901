"""The plain loop: one text, one token after the other. What the engine writes is compared with it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import torch
from transformers import Cache, DynamicCache, PreTrainedModel

from alpha_umi.nodes.models.engine.decode import Constraint, Sampler


def generate_tokens(
    model: PreTrainedModel,
    input_ids: Sequence[int],
    *,
    sampler: Sampler,
    max_new_tokens: int,
    eos_ids: Collection[int],
    constraint: Constraint | None = None,
    past: Cache | None = None,
    jump_forward: bool = True,
) -> Iterator[int]:
    """Yield the tokens that follow a prompt, up to and including an end-of-sequence token.

    Args:
        model: A causal language model; nothing else may run it meanwhile.
        input_ids: The whole prompt, at least one token.
        sampler: Picks a token from the last position's logits.
        max_new_tokens: The most tokens to yield.
        eos_ids: Tokens that end the text.
        constraint: Restricts the choice; the text also ends when it is finished.
        past: Cache of the first ``past.get_seq_length()`` tokens of the prompt, fewer than all; it is extended in
            place, and lacks the tokens that were yielded since the last forward pass.
        jump_forward: Yield tokens that the constraint forces without a forward pass for each; the next pass reads them
            all.
    """
    past = DynamicCache(config=model.config) if past is None else past
    new_ids = list(input_ids[past.get_seq_length() :])
    for _ in range(max_new_tokens):
        forced = constraint.forced() if constraint and jump_forward else None
        if constraint and forced is not None:
            token = constraint.accept(forced)
        else:
            logits = read_tokens(model, new_ids, past)
            token = constraint.choose(logits, sampler) if constraint else sampler(logits)
            new_ids.clear()
        new_ids.append(token)
        yield token
        if token in eos_ids or (constraint and constraint.finished):
            return


@torch.inference_mode()
def read_tokens(model: PreTrainedModel, ids: Sequence[int], past: Cache) -> torch.Tensor:
    """Append tokens to a cache; return the last position's logits (float32, (vocabulary,))."""
    tokens = torch.tensor([list(ids)], device=model.device)
    logits: torch.Tensor = model(input_ids=tokens, past_key_values=past, use_cache=True, logits_to_keep=1).logits
    return logits[0, -1].float()
