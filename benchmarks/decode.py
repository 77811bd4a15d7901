"""How fast `LocalChatModel` writes, against a bare `model.generate` loop on the same weights, and against llama.cpp.

Run it with `python -m benchmarks.decode [pairs] [tokens]`; it needs `alpha-umi models pull smollm2-135m`, and for the
last row the extra `llamacpp`. Both write the same greedy tokens for the same prompt, one after the other, several
times; the median of the pairs counts. llama.cpp's own server reads the same file of 8 bits, and what it says of its
decode rate counts; our rate is that after the first text. There, one core computes on both sides.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from statistics import median
from typing import Any

import httpx
import torch

from alpha_umi.nodes.format.render import encode_prompt, render_messages
from alpha_umi.nodes.format.trajectory import Role, Trajectory, Turn
from alpha_umi.nodes.models.engine.llamacpp.header import is_installed
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
    model = LocalChatModel(model=NAME, role=role, engine="torch", max_tokens=n_tokens, max_rationale_tokens=n_tokens)
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

    return Pair(n_written / ours_s, n_written / get_engine(NAME, engine="torch").submit(generate).result())


def measure_llamacpp(server: httpx.Client, n_tokens: int) -> Pair:
    """Write free text in llama.cpp under our loop, then in its own server."""
    model = LocalChatModel(model=NAME, role="summarizer", engine="llamacpp", max_tokens=n_tokens)
    ticks, n_written = [], 0
    for chunk in model.stream([*MESSAGES]):
        ticks.append(time.perf_counter())
        usage = chunk.usage_metadata
        n_written = usage["output_tokens"] if usage else n_written
    engine = get_engine(NAME, engine="llamacpp")
    ids = engine.submit(
        lambda backbone: encode_prompt(MESSAGES, backbone.tokenizer, backbone.find_template("umi"), "summarizer", ())
    ).result()
    body = {"prompt": ids, "n_predict": n_written, "ignore_eos": True, "temperature": 0, "cache_prompt": False}
    answer = server.post("/completion", json=body).raise_for_status().json()
    return Pair((n_written - 1) / (ticks[-1] - ticks[0]), answer["timings"]["predicted_per_second"])


@contextmanager
def serve_llamacpp() -> Iterator[httpx.Client]:
    """Run llama.cpp's server on the file that our engine made, on one core."""
    xllamacpp: Any = import_module("xllamacpp")  # optional, and without types
    os.environ["OMP_NUM_THREADS"] = "1"
    file = get_engine(NAME, engine="llamacpp").submit(lambda backbone: backbone.file).result()
    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel, params.port = str(file), 2048, 1, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.warmup, params.cache_ram_mib = False, 0
    server = xllamacpp.Server(params)
    with httpx.Client(base_url=server.listening_address, timeout=600) as client:
        yield client
    del server


def report(kind: str, other: str, pairs: Sequence[Pair]) -> None:
    """Print a row."""
    ratio = median(pair.ours / pair.bare for pair in pairs)
    ours, bare = median(pair.ours for pair in pairs), median(pair.bare for pair in pairs)
    verdict = "reached" if ratio >= GOAL else "MISSED"
    print(f"  {kind:<21} {ours:6.1f} tokens/s, {other} {bare:6.1f}, ratio {ratio:.2f} (goal {GOAL}: {verdict})")


def main(n_pairs: int = 5, n_tokens: int = 64) -> None:
    """Print one row for free text and one for text under a grammar."""
    print(f"decode rate of {NAME}, {n_pairs} pairs of up to {n_tokens} tokens, {torch.get_num_threads()} threads")
    for role, kind in ROWS.items():
        measure(role, 8)  # load, compile the grammar
        report(kind, "bare generate", [measure(role, n_tokens) for _ in range(n_pairs)])
    if is_installed():
        with serve_llamacpp() as server:
            measure_llamacpp(server, 8)
            pairs = [measure_llamacpp(server, n_tokens) for _ in range(n_pairs)]
        report("free text, llama.cpp", "its own server", pairs)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
