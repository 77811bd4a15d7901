"""Weights for the tokens on which routing and tool choice hang; opt-in, the paper weighs all tokens alike."""

from __future__ import annotations

import re
from collections.abc import Iterator

from transformers import PreTrainedTokenizerBase

from alpha_umi.errors import ConfigError
from alpha_umi.training.config import TokenWeights
from alpha_umi.training.samples import Sample, Turn

_DECISION = re.compile(r"Next: (.+)\Z")
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
    pattern, weight = (_DECISION, weights.decision) if turn.role == "planner" else (_ACTION, weights.action)
    if turn.role == "summarizer" or weight == 1.0:
        return
    ids = [token for token in sample.input_ids[turn.start : turn.end] if token != tokenizer.eos_token_id]
    text = str(tokenizer.decode(ids))
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    if encoded["input_ids"] != ids:
        raise ConfigError("token_weights need a tokenizer that splits a turn the same way alone; leave them at 1.0.")
    for match in pattern.finditer(text):
        for index, (start, end) in enumerate(encoded["offset_mapping"]):
            if start < match.end(1) and end > match.start(1):
                yield index, weight
