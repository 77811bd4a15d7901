"""How fast `LocalChatModel` writes, against a bare `model.generate` loop on the same weights.

Run it with `python benchmarks/decode.py [pairs] [tokens]`; it needs `alpha-umi models pull smollm2-135m`. Both
write the same greedy tokens for the same prompt, one after the other, several times; the median of the pairs counts.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from statistics import median

import torch

from alpha_umi.nodes.format.render import encode_prompt, render_messages
from alpha_umi.nodes.format.trajectory import Role, Trajectory, Turn
from alpha_umi.nodes.models.engine.pytorch.backbone import TorchBackbone
from alpha_umi.nodes.models.engine.scheduler import get_engine
from alpha_umi.nodes.models.local import LocalChatModel

NAME = "smollm2-135m"
GOAL = 0.9
ROWS: dict[Role, str] = {"summarizer": "free text", "planner": "with grammar"}
MESSAGES = render_messages(Trajectory((), (Turn("Tell me the story of a lighthouse keeper, with all its details."),)))


@dataclass(frozen=True)
class Pair:
    """One measurement: tokens per second of ours, and of `model.generate` for as many tokens."""

    ours: float
    bare: float


def measure(role: Role, n_tokens: int) -> Pair:
    """Write as a role, then generate as many tokens bare, in the same thread."""
    model = LocalChatModel(model=NAME, role=role, max_tokens=n_tokens, max_rationale_tokens=n_tokens)
    start = time.perf_counter()
    usage = model.invoke([*MESSAGES]).usage_metadata
    ours_s = time.perf_counter() - start
    n_written = usage["output_tokens"] if usage else 0

    def generate(backbone: TorchBackbone) -> float:
        template = backbone.find_template("umi")
        ids = torch.tensor([encode_prompt(MESSAGES, backbone.tokenizer, template, role, ())])
        start = time.perf_counter()
        backbone.model.generate(  # type: ignore[operator]
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            min_new_tokens=n_written,
            max_new_tokens=n_written,
        )
        return time.perf_counter() - start

    return Pair(n_written / ours_s, n_written / get_engine(NAME).submit(generate).result())


def main(n_pairs: int = 5, n_tokens: int = 64) -> None:
    """Print one row for free text and one for text under a grammar."""
    print(f"decode rate of {NAME}, {n_pairs} pairs of up to {n_tokens} tokens, {torch.get_num_threads()} threads")
    for role, kind in ROWS.items():
        measure(role, 8)  # load, compile the grammar
        pairs = [measure(role, n_tokens) for _ in range(n_pairs)]
        ratio = median(pair.ours / pair.bare for pair in pairs)
        ours, bare = median(pair.ours for pair in pairs), median(pair.bare for pair in pairs)
        verdict = "reached" if ratio >= GOAL else "MISSED"
        print(
            f"  {kind:<13} {ours:6.1f} tokens/s, bare generate {bare:6.1f}, ratio {ratio:.2f} (goal {GOAL}: {verdict})"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
