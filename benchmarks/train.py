"""What training costs: our two stages against the paper's way and against TRL's `SFTTrainer`, on the same data.

One epoch each, LoRA of the same rank, bfloat16, one case after the other, each in its own process, to see its peak
memory. The paper's way is one sample per turn and role, padded to 4,096 tokens. TRL gets the same samples
without that padding, in the fastest of the ways it offers, which is found by trying them on a few samples. Both are
timed on a random part of the samples and scaled by tokens; ours is timed on all. TRL is optional: `pip install trl`.
What our kernels for bfloat16 on a CPU are worth, where conversations share a list of tools:

    python benchmarks/train.py [--trajectories 40] [--data FOLDER] [--base smollm2-135m]
    python benchmarks/train.py --world --only "stage 1, ours" "stage 1, torch's own kernels"
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from transformers import AutoTokenizer, PrinterCallback, Trainer, TrainingArguments
from transformers.utils import logging

from alpha_umi.nodes.format.trajectory import ROLES
from alpha_umi.nodes.models.engine.checkpoint import CheckpointPart
from alpha_umi.nodes.models.engine.weights import resolve
from alpha_umi.training.batches import Corpus, Tensors, load_corpus, make_marker, make_stage_samples
from alpha_umi.training.config import StageName, TrainConfig
from alpha_umi.training.data.build import BuildSettings, build
from alpha_umi.training.kernels import needs_ages
from alpha_umi.training.stage import StageRun, make_model, make_trainer

MAX_TOKENS = 4096
FORWARDS_PER_STEP = 8
N_PAPER_SAMPLES = 4
N_TRIED_SAMPLES = 6
N_TRL_SAMPLES = 80
TRL_WAYS: dict[str, dict[str, Any]] = {
    "packed to 4,096": {"packing": True, "max_length": 4096},
    "packed to 2,048, longer ones alone": {"packing": True, "max_length": 2048},
    "unpacked, one sample per forward pass": {"packing": False, "max_length": MAX_TOKENS},
}
Options = argparse.Namespace
TOOLBENCH = "toolbench_answers.tar.gz"


def make_run(options: Options, stage: StageName) -> StageRun:
    """Return the run of a stage, as `alpha_umi.training.glpft` would make it for a first run."""
    kinds = {"backbone": "lora"} | {role: "alora" for role in ROLES}
    config = TrainConfig.model_validate(
        {
            "base": options.base,
            "max_tokens": MAX_TOKENS,
            "precision": "bfloat16",
            "defaults": {"learning_rate": 5e-4, "tokens_per_forward": 2048, "forwards_per_step": FORWARDS_PER_STEP},
            "stages": {name: {"kind": kind, "save_every_steps": 1_000_000} for name, kind in kinds.items()},
        }
    )
    base = resolve(options.base)
    tokenizer = AutoTokenizer.from_pretrained(base)
    corpus = load_corpus(options.folder)
    markers = {role: make_marker(tokenizer, role) for role in ROLES}
    ids = random.Random(0).sample(sorted(corpus.trajectories), options.trajectories)
    chosen = Corpus({id_: corpus.trajectories[id_] for id_ in ids}, "")
    items = make_stage_samples(chosen, config, stage, tokenizer).items
    return StageRun(
        stage, config, base, CheckpointPart("none"), items, markers, options.folder / "work", options.folder / "logs"
    )


def make_turn_samples(run: StageRun) -> Iterator[tuple[list[int], list[int]]]:
    """Yield the paper's samples: ids and labels of everything up to a turn's end, with a loss on that turn alone."""
    for item in run.items:
        for turn in item.turns:
            ids = item.input_ids[: turn.end].tolist()
            yield ids, [-100] * turn.start + ids[turn.start :]


def time_ours(options: Options, stages: Sequence[StageName]) -> dict[str, Any]:
    """Train one epoch of each stage."""
    seconds, n_tokens = 0.0, 0
    for stage in stages:
        run = make_run(options, stage)
        seconds += measure(make_trainer(run, make_model(run)))
        n_tokens += sum(map(len, run.items))
    return {"seconds": seconds, "n_tokens": n_tokens}


def time_torch(options: Options) -> dict[str, Any]:
    """Train one epoch of stage 1 with torch's attention, PEFT's adapters and torch's loss."""
    run = make_run(options, "backbone")
    model = make_model(run)
    if not needs_ages(model.config):
        model.set_attn_implementation("sdpa")
    for layer in model.modules():
        vars(layer).pop("forward", None)
    with patch("alpha_umi.training.trainer.cross_entropy", partial(F.cross_entropy, reduction="none")):
        seconds = measure(make_trainer(run, model))
    return {"seconds": seconds, "n_tokens": sum(map(len, run.items))}


def time_paper(options: Options) -> dict[str, Any]:
    """Train on a few padded samples and scale to all of them."""
    run = make_run(options, "backbone")
    samples = list(make_turn_samples(run))
    chosen = random.Random(0).sample(samples, min(N_PAPER_SAMPLES, len(samples)))

    def pad(rows: list[tuple[list[int], list[int]]]) -> Tensors:
        ((ids, labels),) = rows
        n_pad = MAX_TOKENS - len(ids)
        return {
            "input_ids": torch.tensor([ids + [0] * n_pad]),
            "labels": torch.tensor([labels + [-100] * n_pad]),
            "attention_mask": torch.tensor([[1] * len(ids) + [0] * n_pad]),
        }

    arguments = TrainingArguments(**make_arguments(options))
    trainer = Trainer(make_model(run), arguments, data_collator=pad, train_dataset=chosen)
    seconds = measure(trainer) * len(samples) / len(chosen)
    note = f"timed on {len(chosen)} of {len(samples)} samples"
    return {"seconds": seconds, "n_tokens": MAX_TOKENS * len(samples), "note": note}


def time_trl(options: Options) -> dict[str, Any]:
    """Train on the samples per turn in the fastest of TRL's ways."""
    run = make_run(options, "backbone")
    samples = list(make_turn_samples(run))
    tried = random.Random(0).sample(samples, min(N_TRIED_SAMPLES, len(samples)))
    rates = {}
    for name, settings in TRL_WAYS.items():
        fitting = [sample for sample in tried if len(sample[0]) <= settings["max_length"]]
        n_tokens = sum(len(ids) for ids, _ in fitting)
        rates[name] = n_tokens / measure(make_trl_trainer(options, run, fitting, settings)) if fitting else 0.0
    best = max(rates, key=lambda name: rates[name])
    longest = TRL_WAYS[best]["max_length"]
    chosen = random.Random(1).sample(samples, min(N_TRL_SAMPLES, len(samples)))
    seconds = 0.0
    for group, settings in (
        ([sample for sample in chosen if len(sample[0]) <= longest], TRL_WAYS[best]),
        ([sample for sample in chosen if len(sample[0]) > longest], {"packing": False, "max_length": MAX_TOKENS}),
    ):
        seconds += measure(make_trl_trainer(options, run, group, settings)) if group else 0.0
    tries = ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
    n_tokens = sum(len(ids) for ids, _ in samples)
    return {
        "seconds": seconds * n_tokens / sum(len(ids) for ids, _ in chosen),
        "n_tokens": n_tokens,
        "note": f"{best}, timed on {len(chosen)} of {len(samples)} samples (tokens/s when tried: {tries})",
    }


def make_trl_trainer(options: Options, run: StageRun, samples: Sequence[Any], settings: dict[str, Any]) -> Trainer:
    """Return TRL's trainer on tokenised samples."""
    datasets: Any = import_module("datasets")
    trl: Any = import_module("trl")
    rows = datasets.Dataset.from_list([{"input_ids": ids, "labels": labels} for ids, labels in samples])
    arguments = trl.SFTConfig(**make_arguments(options), gradient_checkpointing=False, **settings)
    tokenizer = AutoTokenizer.from_pretrained(run.base)
    trainer: Trainer = trl.SFTTrainer(make_model(run), arguments, train_dataset=rows, processing_class=tokenizer)
    return trainer


def make_arguments(options: Options) -> dict[str, Any]:
    """Return the settings that all trainers share."""
    return {
        "output_dir": str(options.folder / "other"),
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": FORWARDS_PER_STEP,
        "learning_rate": 5e-4,
        "num_train_epochs": 1,
        "bf16": True,
        "use_cpu": not torch.accelerator.is_available(),
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_pin_memory": torch.accelerator.is_available(),
    }


def measure(trainer: Trainer) -> float:
    """Return the seconds of one epoch, without loading."""
    trainer.remove_callback(PrinterCallback)
    started = time.perf_counter()
    trainer.train()
    return time.perf_counter() - started


CASES: dict[str, Callable[[Options], dict[str, Any]]] = {
    "stage 1, ours": lambda options: time_ours(options, ["backbone"]),
    "stage 1, torch's own kernels": time_torch,
    "stage 2, ours": lambda options: time_ours(options, list(ROLES)),
    "samples per turn, TRL": time_trl,
    "samples per turn, the paper's way": time_paper,
}


def run_case(name: str, options: Options) -> dict[str, Any] | None:
    """Measure a case in its own process."""
    if "TRL" in name and find_spec("trl") is None:
        print(f"  {name:<36} left out: TRL is not installed (pip install trl)")
        return None
    command = [sys.executable, __file__, "--case", name, "--folder", str(options.folder), "--base", options.base]
    command += ["--trajectories", str(options.trajectories)]
    with tempfile.TemporaryFile("w+") as log:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, text=True, check=False)
        if done.returncode != 0:
            log.seek(0)
            sys.exit(f"{name} failed:\n{log.read()[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    rate = options.trajectories / result["seconds"]
    print(
        f"  {name:<36} {result['seconds']:8.1f} s {rate:8.3f} trajectories/s {result['n_tokens']:10,} tokens "
        f"{result['peak_bytes'] / 2**30:6.2f} GiB  {result.get('note', '')}",
        flush=True,
    )
    return result


def print_ratios(results: dict[str, dict[str, Any]]) -> None:
    """Print how much faster we are; all of stage 2 means its three roles together, as the samples per turn do."""
    for ours, other, goal in (
        ("stage 2, ours", "samples per turn, the paper's way", 10),
        ("stage 2, ours", "samples per turn, TRL", 3),
        ("stage 1, ours", "samples per turn, TRL", 2),
        ("stage 1, ours", "stage 1, torch's own kernels", 1),
    ):
        if ours in results and other in results:
            ratio = results[other]["seconds"] / results[ours]["seconds"]
            memory = results[ours]["peak_bytes"] / results[other]["peak_bytes"]
            verdict = "met" if ratio >= goal else "missed"
            print(f"  {ours} against {other}: {ratio:.1f}x faster (goal {goal}x: {verdict}), {memory:.2f}x the memory")


def make_data(options: Options) -> None:
    """Build the data once, from ToolBench's answers if they are given, else by the built-in generator."""
    generated = f"{'world' if options.world else 'builtin'}:{options.trajectories}"
    source = f"toolbench:{options.data / TOOLBENCH}" if options.data else generated
    print(f"data: {source.partition(':')[0]}")
    build([source], options.folder, BuildSettings(heldout_tools=0, heldout_instructions=0))


def main() -> None:
    """Print the table, or measure one case and print it as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trajectories", type=int, default=40)
    parser.add_argument("--data", type=Path, help=f"folder with {TOOLBENCH}; without it, generated trajectories")
    parser.add_argument("--world", action="store_true", help="generate them from the tool sheets")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="CASE", help="of: %(choices)s")
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    if options.case:
        warnings.simplefilter("ignore")
        result = CASES[options.case](options)
        in_bytes = 1 if sys.platform == "darwin" else 1024
        result["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * in_bytes
        print(json.dumps(result))
        return
    with tempfile.TemporaryDirectory() as folder:
        options.folder = Path(folder)
        make_data(options)
        print(f"training {options.base} on {options.trajectories} trajectories, one epoch, LoRA, bfloat16")
        results = {name: run_case(name, options) for name in options.only}
        print_ratios({name: result for name, result in results.items() if result is not None})


if __name__ == "__main__":
    main()
