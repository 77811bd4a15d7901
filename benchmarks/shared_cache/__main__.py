"""One backbone, three roles, one cache, against the paper's way: seven ratios, measured in one run.

The paper's way is three full models of which each recomputes its whole prompt at every turn. Here that is the base
model without adapters, cache and grammar; one copy stands for the three, since which weights are multiplied costs the
same. It gets our prompts and writes the same tokens through the same loop, so that only the design differs; what the
paper's own prompts would come to is printed as well. Every trajectory is played both ways, one right after the other.

    python -m benchmarks.shared_cache [--trajectories 30] [--pairs 6] [--rank 32] [--base smollm2-135m] [--data FOLDER]
        [--engine torch|llamacpp] [--against torch|llamacpp]

It needs `alpha-umi models pull smollm2-135m`, and takes about a quarter of an hour on two cores. `--engine` computes
our way, `--against` the paper's, by default the same; with llama.cpp the rows about torch's memory and passes are left
out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from textwrap import fill
from typing import Any

import torch
from transformers import AutoTokenizer
from transformers.utils import logging

from alpha_umi.nodes.models.engine.backbone import Backbone
from alpha_umi.nodes.models.engine.pytorch.backbone import TorchBackbone
from alpha_umi.nodes.models.engine.scheduler import close_engines
from alpha_umi.nodes.models.engine.weights import resolve
from alpha_umi.training.config import load_config
from benchmarks.shared_cache.memory import measure_apart
from benchmarks.shared_cache.models import make_checkpoint
from benchmarks.shared_cache.replay import Player, Replay, measure_limit
from benchmarks.shared_cache.table import (
    Pair,
    Row,
    make_grammar_row,
    make_jump_row,
    make_memory_row,
    make_replay_rows,
)
from benchmarks.shared_cache.turns import compare_grammar, compare_jumps
from benchmarks.shared_cache.work import Work, choose_work, list_turns


def replay(works: Sequence[Work], ours: Player, paper: Player, *, has_limit: bool) -> list[Pair]:
    """Play every trajectory both ways, and measure torch's limit with them."""
    for player in (ours, paper):
        player.play(works[0])  # the first forward passes are slow, and grammars are compiled
    pairs = []
    for i, work in enumerate(works):
        results: dict[Player, Replay] = {}
        for player in (ours, paper) if i % 2 else (paper, ours):
            results[player] = player.play(work)
        limit_s = paper.engine.submit(partial(measure_limit, work)).result() if has_limit else None
        pairs.append(Pair(work, results[ours], results[paper], limit_s))
        report(
            f"trajectory {i + 1} of {len(works)}: {len(work.ids)} tokens, {len(work.turns)} turns, "
            f"ours {results[ours].seconds:.1f} s, the paper's way {results[paper].seconds:.1f} s"
        )
    return pairs


def compare_turns(works: Sequence[Work], ours: Player, n_pairs: int) -> list[Row]:
    """Measure single turns."""
    callers, planners = (list(list_turns(list(works), role))[:n_pairs] for role in ("caller", "planner"))
    report(f"the grammar's cost on {len(callers) + len(planners)} turns, jump-forward on {len(callers)}")
    grammar = ours.engine.submit(
        lambda backbone: compare_grammar(backbone, ours.dictation, callers + planners)
    ).result()
    jumps = ours.engine.submit(lambda backbone: compare_jumps(backbone, ours.dictation, callers)).result()
    return [make_grammar_row(grammar), make_jump_row(jumps)]


def compare_memory(checkpoint: Path, base: Path, rank: int, dtype: str) -> Row:
    """Load both ways, each in its own process."""
    report("memory")
    ours, paper = measure_apart(checkpoint, 1, dtype), measure_apart(base, 3, dtype)
    return make_memory_row(ours, paper, f"adapters of rank {rank} on all linear layers, {dtype}")


def report(line: str) -> None:
    """Show progress on stderr."""
    print(f"  … {line}", file=sys.stderr, flush=True)


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shared_cache")
    parser.add_argument("--trajectories", type=int, default=30)
    parser.add_argument("--pairs", type=int, default=6, help="single turns per role")
    parser.add_argument("--rank", type=int, default=load_config("smollm2-135m").stages["planner"].lora_rank)
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument(
        "--data", type=Path, help="folder with toolbench_answers.tar.gz; without it, generated trajectories"
    )
    parser.add_argument("--engine", choices=["torch", "llamacpp"], default="torch")
    parser.add_argument("--against", choices=["torch", "llamacpp"], help="what computes the paper's way")
    options = parser.parse_args()
    options.against = options.against or options.engine
    return options


def main() -> None:
    """Measure, and print the table."""
    options = parse_options()
    in_torch = options.engine == options.against == "torch"
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, base = Path(folder), resolve(options.base)
        make_checkpoint(checkpoint, base, options.rank)
        ours = Player(str(checkpoint), options.engine, shares=True)
        paper = Player(options.base, options.against, shares=False)
        tokenizer: Any = AutoTokenizer.from_pretrained(checkpoint)
        n_vocab = paper.engine.submit(lambda backbone: backbone.n_vocab).result()
        works, selection = choose_work(options.trajectories, tokenizer, n_vocab, options.data)
        kinds = " against ".join(player.engine.submit(describe).result() for player in (ours, paper))
        print(f"{options.base}, {kinds}, {torch.get_num_threads()} threads")
        print(fill(selection, 116), end="\n\n", flush=True)
        pairs = replay(works, ours, paper, has_limit=in_torch)
        tokens, wall, first, *limit = make_replay_rows(pairs)
        dtype = describe(paper.engine.submit(lambda backbone: backbone).result())
        memory = [compare_memory(checkpoint, base, options.rank, dtype)] if in_torch else []
        print(tokens, wall, *memory, first, *limit, sep="\n", flush=True)
        if in_torch:
            print(*compare_turns(works, ours, options.pairs), sep="\n")
        close_engines()
    n_strayed = sum(not reply.is_as_dictated for pair in pairs for reply in (*pair.ours.replies, *pair.paper.replies))
    if n_strayed:
        print(f"{n_strayed} replies left the text they were to write: the figures above are not to be relied on.")


def describe(backbone: Backbone) -> str:
    """Return the type of the weights, of torch's or of llama.cpp's."""
    if isinstance(backbone, TorchBackbone):
        return str(backbone.model.dtype).removeprefix("torch.")
    return "llama.cpp q8_0"


if __name__ == "__main__":
    main()
