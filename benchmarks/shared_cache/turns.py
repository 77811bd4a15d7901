"""Single turns on a warm prefix: what the grammar costs, and what jumping over forced tokens saves."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from alpha_umi.nodes.models.engine.decode import decode_tokens, make_sampler, open_sequence
from alpha_umi.nodes.models.engine.pytorch.backbone import TorchBackbone
from benchmarks.shared_cache.models import Dictation
from benchmarks.shared_cache.replay import encode
from benchmarks.shared_cache.work import MAX_REPLY_TOKENS, Turn, Work, make_grammar


@dataclass(frozen=True)
class Timing:
    """One turn: all of it, and per token after the first."""

    seconds: float
    token_s: float


def time_turn(
    backbone: TorchBackbone, dictation: Dictation, turn: Turn, work: Work, *, grammar: bool, jumps: bool = False
) -> Timing:
    """Write a turn whose prompt up to the role's marker is known."""
    ids = encode(backbone, turn, work)
    rules = make_grammar(turn, work) if grammar else None
    mask = backbone.grammars.make_mask(rules, MAX_REPLY_TOKENS) if rules else None
    if mask is not None and not jumps:
        mask.forced = lambda: None  # type: ignore[method-assign] # then every token takes a forward pass
    dictation.begin(len(ids), turn.ids)
    ticks = [time.perf_counter()]

    def accept(_: int) -> bool:
        ticks.append(time.perf_counter())
        return True

    with open_sequence(backbone, backbone.find_adapter(None, turn.role), ids) as sequence:
        decoding = decode_tokens(
            sequence,
            threading.Event(),
            sampler=make_sampler(),
            max_new_tokens=MAX_REPLY_TOKENS,
            eos_ids=backbone.eos_ids,
            constraint=mask,
            accept=accept,
            prompt_lookup=False,
        )
        logits = None
        try:
            while True:
                (logits,) = backbone.compute([next(decoding) if logits is None else decoding.send(logits)])
        except StopIteration:
            pass
    return Timing(ticks[-1] - ticks[0], (ticks[-1] - ticks[1]) / max(1, len(ticks) - 2))


def compare_grammar(backbone: TorchBackbone, dictation: Dictation, turns: Sequence[tuple[Turn, Work]]) -> list[float]:
    """Return, turn by turn, the time per token under the grammar over that without it."""
    ratios = []
    for turn, work in turns:
        time_turn(backbone, dictation, turn, work, grammar=True)  # the prefix and the compiled grammar are known
        free = time_turn(backbone, dictation, turn, work, grammar=False)
        held = time_turn(backbone, dictation, turn, work, grammar=True)
        ratios.append(held.token_s / free.token_s)
    return ratios


def compare_jumps(backbone: TorchBackbone, dictation: Dictation, turns: Sequence[tuple[Turn, Work]]) -> list[float]:
    """Return, turn by turn, the wall time with jump-forward over that without it, under the same grammar."""
    ratios = []
    for turn, work in turns:
        time_turn(backbone, dictation, turn, work, grammar=True, jumps=True)
        steps = time_turn(backbone, dictation, turn, work, grammar=True)
        jumps = time_turn(backbone, dictation, turn, work, grammar=True, jumps=True)
        ratios.append(jumps.seconds / steps.seconds)
    return ratios
