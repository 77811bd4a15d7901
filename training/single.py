"""Samples of the paper's Single-LLM: one model that plans and acts in one turn.

Its chat template takes the same role messages as `umi.jinja`, so only the template in the checkpoint's tokenizer tells
it from the others; graph, parsers and serving stay the same.
"""

from __future__ import annotations

from typing import cast

from transformers import PreTrainedTokenizerBase

from alpha_umi.errors import TrajectoryError
from alpha_umi.nodes.format.render import encode_messages, fit_messages, load_template, render_messages
from alpha_umi.nodes.format.trajectory import Trajectory
from alpha_umi.training.samples import IGNORE_INDEX, Sample, Turn

_OPENING = "<|im_start|>assistant\n"
_END = "<|im_end|>"


def make_single_sample(
    trajectory: Trajectory, tokenizer: PreTrainedTokenizerBase, *, limit_tokens: int | None = None
) -> Sample:
    """Return the sequence a trajectory is trained on, with a loss on every assistant turn: plan and call, or answer.

    Example:
        ``·`` is not trained::

            <|im_start|>user⏎2+3?<|im_end|>⏎<|im_start|>assistant⏎Next: caller.⏎Action: add⏎Action Input: {}<|im_end|>⏎…
            ······················································Next: caller.⏎Action: add⏎Action Input: {}<|im_end|>··

    Raises:
        TrajectoryError: If there is no turn to train.
        ContextOverflow: If the sequence cannot be cut to `limit_tokens`.
    """
    messages = render_messages(trajectory)
    template = load_template("single")
    if limit_tokens is not None:
        messages = fit_messages(messages, lambda cut: len(encode_messages(cut, tokenizer, template)), limit_tokens)
    input_ids = encode_messages(messages, tokenizer, template)
    opening = tokenizer.encode(_OPENING, add_special_tokens=False)
    end_id = cast(int, tokenizer.convert_tokens_to_ids(_END))
    turns = []
    for start in range(len(opening), len(input_ids)):
        if input_ids[start - len(opening) : start] == opening:
            turns.append(Turn("planner", start, input_ids.index(end_id, start) + 1))
    if not turns:
        raise TrajectoryError("The trajectory has no assistant turn to train; leave it out.")
    labels = [IGNORE_INDEX] * len(input_ids)
    for turn in turns:
        labels[turn.start : turn.end] = input_ids[turn.start : turn.end]
    return Sample(input_ids, labels, tuple(turns))
