"""How many runs at once share the model: first come first served, in turns, or together in one batch.

Run it with `python benchmarks/batch.py [runs …]`; it needs `alpha-umi models pull smollm2-135m`. All runs arrive
at once: planners under their grammar, callers and summarizers free, each with its own adapter, prompts of 300 to
900 tokens of which 250 are the same. Time is processor time on one thread, so that other work on the machine does not
count; the slowest run ends when all do. Where bfloat16 rounds differently, the ways may write different tokens.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from alpha_umi.nodes.format.trajectory import ROLES, Role
from alpha_umi.nodes.models.engine.decode import Decoding, decode_tokens, make_sampler, open_sequence
from alpha_umi.nodes.models.engine.fit import quiet_peft
from alpha_umi.nodes.models.engine.grammar import planner_grammar
from alpha_umi.nodes.models.engine.prefix_cache import PrefixCache
from alpha_umi.nodes.models.engine.pytorch import forward
from alpha_umi.nodes.models.engine.pytorch.backbone import TorchBackbone
from alpha_umi.nodes.models.engine.pytorch.forward import compute
from alpha_umi.nodes.models.engine.scheduler import ContinuousBatch, GenerationJob
from alpha_umi.nodes.models.engine.spans import Logits, Span
from alpha_umi.nodes.models.engine.weights import resolve

NAME = "smollm2-135m"
N_NEW_TOKENS = 24
Compute = Callable[[TorchBackbone, Sequence[Span]], list[Logits]]


def compute_in_turns(backbone: TorchBackbone, spans: Sequence[Span]) -> list[Logits]:
    """One pass per text."""
    return [logits for span in spans for logits in compute(backbone, [span])]


def compute_by_adapter(backbone: TorchBackbone, spans: Sequence[Span]) -> list[Logits]:
    """One pass per adapter; a prompt that the base model reads is a pass of its own."""
    groups: dict[object, list[int]] = {}
    for i, span in enumerate(spans):
        groups.setdefault(span.adapter if span.n_base == 0 else None, []).append(i)
    logits: dict[int, Logits] = {}
    for group in groups.values():
        logits |= zip(group, compute(backbone, [spans[i] for i in group]), strict=True)
    return [logits[i] for i in range(len(spans))]


WAYS: dict[str, tuple[Compute, int]] = {
    "first come, first served": (compute, 1),
    "in turns, token by token": (compute_in_turns, 10**9),
    "a batch per adapter": (compute_by_adapter, 10**9),
    "one batch, mixed adapters": (compute, 10**9),
}
"""How a pass is made, and `GenerationJob.tokens_per_batch`."""


@dataclass
class Run:
    """One text, and when (seconds of processor time) it had its first token and its end."""

    role: Role
    prompt: list[int]
    first_s: float = 0.0
    end_s: float = 0.0
    ids: list[int] = field(default_factory=list)


def save_adapters(backbone: Path, out: Path, markers: dict[Role, list[int]]) -> None:
    """Write one activated LoRA per role with random weights."""
    for role, marker in markers.items():
        model = AutoModelForCausalLM.from_pretrained(backbone, dtype=torch.bfloat16)
        config = LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM", alora_invocation_tokens=marker)
        with quiet_peft():
            adapted = get_peft_model(model, config, autocast_adapter_dtype=False)
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.01)
        adapted.save_pretrained(str(out / role))


def make_runs(n: int, markers: dict[Role, list[int]]) -> list[Run]:
    """Return prompts with a common beginning."""
    rng = random.Random(n)
    shared = [rng.randrange(1000, 40_000) for _ in range(250)]
    roles = [ROLES[i % len(ROLES)] for i in range(n)]
    return [
        Run(role, [*shared, *(rng.randrange(1000, 40_000) for _ in range(rng.randrange(50, 650))), *markers[role]])
        for role in roles
    ]


def make_job(run: Run, folder: Path, start_s: float, tokens_per_batch: int) -> GenerationJob:
    """Return the job that writes a run and notes its times."""

    def accept(token: int) -> bool:
        run.ids.append(token)
        run.first_s = run.first_s or time.process_time() - start_s
        run.end_s = time.process_time() - start_s
        return True

    def begin(backbone: TorchBackbone) -> Decoding:
        adapter = backbone.find_adapter(str(folder / run.role), "planner")
        grammar = planner_grammar(N_NEW_TOKENS) if run.role == "planner" else None
        mask = backbone.grammars.make_mask(grammar, N_NEW_TOKENS) if grammar else None
        with open_sequence(backbone, adapter, run.prompt) as text:
            write = partial(decode_tokens, text, cancelled, sampler=make_sampler(), max_new_tokens=N_NEW_TOKENS)
            yield from write(eos_ids=(), constraint=mask, accept=accept)

    def end(error: BaseException | None) -> None:
        if error:
            raise error

    cancelled = threading.Event()
    return GenerationJob(begin, cancelled, end, N_NEW_TOKENS, tokens_per_batch)


def measure(backbone: TorchBackbone, folder: Path, way: str, runs: list[Run]) -> None:
    """Let all runs arrive at once, with an empty cache, and write them."""
    backbone.cache = PrefixCache()
    forward.compute, tokens_per_batch = WAYS[way]  # type: ignore[assignment]
    batch = ContinuousBatch(backbone)
    start_s = time.process_time()
    for run in runs:
        batch.add(make_job(run, folder, start_s, tokens_per_batch))
    while not batch.is_empty:
        batch.step()


def main(*n_runs: int) -> None:
    """Print one table per number of runs."""
    torch.set_num_threads(1)
    with TemporaryDirectory() as name:
        backbone = TorchBackbone(resolve(NAME), torch.device("cpu"), torch.bfloat16)
        markers: dict[Role, list[int]] = {
            role: list(backbone.tokenizer.encode(f"<|im_start|>{role}\n")) for role in ROLES
        }
        save_adapters(backbone.folder, Path(name), markers)
        measure(backbone, Path(name), "one batch, mixed adapters", make_runs(3, markers))  # load, compile the grammar
        for n in n_runs or (1, 4, 16):
            print(f"{n} runs at once: ratios to first come, first served (below 1 is faster)")
            print(f"  {'':<26} {'tokens/s':>8} {'total':>6} {'median':>7} {'first token':>12}")
            usual: tuple[float, ...] = ()
            for way in WAYS:
                runs = make_runs(n, markers)
                measure(backbone, Path(name), way, runs)
                ends, firsts = sorted(run.end_s for run in runs), sorted(run.first_s for run in runs)
                figures = ends[-1], median(ends), median(firsts)
                usual = usual or figures
                ratios = [mine / theirs for mine, theirs in zip(figures, usual, strict=True)]
                rate = sum(len(run.ids) for run in runs) / ends[-1]
                print(
                    f"  {way:<26} {rate:8.1f} {ratios[0]:6.2f} {ratios[1]:7.2f} {ratios[2]:12.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
