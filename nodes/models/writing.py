"""One text, written token by token, as a coroutine: it asks for forward passes and is sent the logits.

So it need not know whether it is alone or shares the pass with other texts. Imports torch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Generator, Sequence
from typing import TypeAlias

import torch

from alpha_umi.nodes.models.decode import Constraint, Sampler
from alpha_umi.nodes.models.forward import Span
from alpha_umi.nodes.models.lookup import Lookup
from alpha_umi.nodes.models.reuse import Text

Writing: TypeAlias = Generator[Span, torch.Tensor, None]
"""Yields the tokens to compute next; is sent what `compute` returns for them; closed when cancelled."""


def write_tokens(
    text: Text,
    cancelled: threading.Event,
    *,
    sampler: Sampler,
    max_new_tokens: int,
    eos_ids: Collection[int],
    constraint: Constraint | None = None,
    accept: Callable[[int], bool],
    lookup: bool = True,
) -> Writing:
    """Write behind a prompt, up to and including an end-of-sequence token.

    Args:
        text: The prompt; new tokens are appended.
        cancelled: Once set, no pass needs to be finished.
        sampler: Picks a token from logits.
        max_new_tokens: The most tokens to write.
        eos_ids: Tokens that end the text.
        constraint: Restricts the choice; the text also ends when it is finished.
        accept: Is handed each token; the text ends where it returns False.
        lookup: Let passes try guesses of what comes next. The tokens are the same without, where rounding does not make
            a difference.
    """
    earlier = Lookup() if lookup and text.can_shrink else None
    guesses: list[int] = []
    rows: Sequence[torch.Tensor] | torch.Tensor = ()  # logits after the text, and after each guess
    for n_left in range(max_new_tokens, 0, -1):
        forced = constraint.forced() if constraint else None
        if constraint and forced is not None:
            token = constraint.accept(forced)  # computed in the next pass, with the token after it
        else:
            if not len(rows):
                guesses = earlier.guess(text.ids)[: n_left - 1] if earlier else []
                rows = yield text.span(cancelled, guesses)
                text.keep()  # others that wait may begin with the same prompt
            token = constraint.choose(rows[0], sampler) if constraint else sampler(rows[0])
        text.ids.append(token)
        if len(rows) > 1 and guesses[0] == token:
            rows, guesses = rows[1:], guesses[1:]
        else:
            rows = ()
            text.forget_guesses()
        if not accept(token) or token in eos_ids or (constraint and constraint.finished):
            return
