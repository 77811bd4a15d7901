"""Weights for the tokens on which routing and tool choice hang; opt-in, the paper weighs all tokens alike."""

from __future__ import annotations

import re
from collections.abc import Iterator

from transformers import PreTrainedTokenizerBase

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.trajectory import Role
from alpha_umi.training.config import TokenWeights
from alpha_umi.training.samples import Sample, Turn

_DECISION = re.compile(r"^Next: ((?:caller|conclusion|give up)\.)$", re.MULTILINE)
_ACTION = re.compile(r"^Action: (.+)$", re.MULTILINE)


def make_weights(sample: Sample, tokenizer: PreTrainedTokenizerBase, weights: TokenWeights) -> list[float]:
    """Return the weight of each label of a sample, (T,).

    Example:
        With ``decision: 2`` the plan ``I add. ⏎ Next: caller.<|im_end|>`` weighs 1 but for ``caller.``, which weighs 2.

    Raises:
        ConfigError: If the tokenizer does not split a turn's text the same way when it stands alone.
    """
    values = [1.0] * len(sample.input_ids)
    for turn in sample.turns:
        for index, weight in _weigh_turn(sample, turn, tokenizer, weights):
            values[turn.start + index] = weight
    return values


def _weigh_turn(
    sample: Sample, turn: Turn, tokenizer: PreTrainedTokenizerBase, weights: TokenWeights
) -> Iterator[tuple[int, float]]:
    if turn.role == "summarizer":
        return
    ids = [token for token in sample.input_ids[turn.start : turn.end] if token != tokenizer.eos_token_id]
    text = str(tokenizer.decode(ids))
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    if encoded["input_ids"] != ids:
        raise ConfigError("token_weights need a tokenizer that splits a turn the same way alone; leave them at 1.0.")
    for first, last, weight in _find_spans(text, turn.role, weights):
        for index, (start, end) in enumerate(encoded["offset_mapping"]):
            if start < last and end > first:
                yield index, weight


def _find_spans(text: str, role: Role, weights: TokenWeights) -> Iterator[tuple[int, int, float]]:
    """Yield what is weighed as ``[start, end)`` in characters; in a Single-LLM's turn the call follows the decision."""
    start = 0
    if role == "planner":
        decision = _DECISION.search(text)
        if decision is None:
            return
        yield *decision.span(1), weights.decision
        start = decision.end()
    for action in _ACTION.finditer(text, start):
        yield *action.span(1), weights.action
