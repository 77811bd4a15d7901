"""What a stage costs, and which precision is the faster here: rough, from the base's configuration alone.

Operations of a token: 2 for each parameter outside the embeddings, and 2 · keys · layers · size of all heads for
attention. They are done once where a token is only read (what stands before an alora turn), once more on the way back,
once more for the gradients where all weights are trained, and once more with gradient checkpointing. The head adds
2 · hidden size · vocabulary for each trained token, as often.

Memory: the frozen weights (4, 2 or, as nf4, 0.6 bytes each); 16 bytes for each trained parameter (weight, gradient, two
moments); for each token of a forward pass and each layer 10 hidden and 7 feed-forward sizes in the precision of the
arithmetic, or one hidden size with checkpointing; 14 bytes for each trained token and word of the vocabulary.

Time: operations over the speed that `measure_speed` finds here, or `GPU_SPEED`; nf4 takes half as long again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState  # type: ignore[import-untyped]
from transformers import AutoModel, AutoModelForCausalLM

from alpha_umi.nodes.models.engine.fit import load_config
from alpha_umi.nodes.models.engine.pytorch.backbone import choose_dtype
from alpha_umi.training.batches import TrainingBatch, TrainingItem, make_batches
from alpha_umi.training.config import Precision, StageConfig, StageName, TrainConfig
from alpha_umi.training.stage import add_adapter, get_device

GPU_SPEED = 25e12
"""Operations per second of a 24 GB GPU: a third of what the slowest common one (RTX 3090, 71e12) can do in bfloat16."""
_BYTES = {"float32": 4.0, "bfloat16": 2.0}
_TRIAL_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Cost:
    """An estimate for one stage; `_gpu` is a GPU of 24 GB that computes in bfloat16."""

    n_parameters: int
    n_trained: int
    n_bytes: float
    n_bytes_gpu: float
    hours: float
    hours_gpu: float


def choose_precision(config: TrainConfig, base: Path) -> Precision:
    """Return what the inference engine would take; where that leaves a CPU in doubt, what a trial finds faster."""
    device = get_device(config)
    if (dtype := choose_dtype("auto", device)) == torch.bfloat16:
        return "bfloat16"
    # float16 would need scaled losses; processes that train together must not differ
    if dtype == torch.float16 or PartialState(cpu=device.type == "cpu").num_processes > 1:
        return "float32"
    choices: tuple[Precision, ...] = ("float32", "bfloat16")
    return max(choices, key=lambda precision: measure_speed(base, precision, device))


def measure_speed(base: Path, precision: Precision, device: torch.device) -> float:
    """Return operations per second of a short forward and backward pass through two layers with random weights."""
    shape, dtype = load_config(base), getattr(torch, precision)
    kinds = getattr(shape, "layer_types", None)
    shape.update({"num_hidden_layers": 2, "vocab_size": 8, "pad_token_id": None})
    shape.update({"layer_types": kinds[:2]} if kinds else {})
    model: Any = AutoModel.from_config(shape, dtype=dtype).to(device)  # type: ignore[no-untyped-call]
    model.requires_grad_(False)
    inputs = torch.randn(1, _TRIAL_TOKENS, shape.hidden_size, dtype=dtype, device=device, requires_grad=True)
    times = []
    for _ in range(2):  # the first one also prepares
        start = time.perf_counter()
        model(inputs_embeds=inputs, use_cache=False).last_hidden_state.float().sum().backward()
        torch.as_tensor(inputs.grad).sum().item()  # waits for a GPU
        times.append(time.perf_counter() - start)
    n_parameters: int = model.num_parameters(exclude_embeddings=True)
    return 4 * n_parameters * _TRIAL_TOKENS / min(times)


def estimate(config: TrainConfig, name: StageName, base: Path, items: Sequence[TrainingItem]) -> Cost:
    """Return what a stage costs; the formulas stand at the top of this file."""
    settings, shape = config.stages[name], load_config(base)
    precision: Precision = "float32" if config.precision == "float32" else "bfloat16"
    is_packed = config.quantization == "nf4"
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(shape)  # type: ignore[no-untyped-call]
        n_body = model.num_parameters(exclude_embeddings=True)
        model = model if settings.kind == "full" else add_adapter(model, settings)
    n_all: int = sum(parameter.numel() for parameter in model.parameters())
    n_trained: int = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    batches = make_batches(items, settings.tokens_per_forward)
    n_passes = settings.count_steps(len(batches)) * settings.forwards_per_step / len(batches)
    work = n_passes * _count_work(settings, shape, n_body, items) * (1.5 if is_packed else 1)

    def count_bytes(precision: Precision) -> float:
        frozen = (n_all - n_trained) * (0.6 if is_packed else _BYTES[precision])
        return frozen + 16 * n_trained + max(_count_states(settings, shape, batch, precision) for batch in batches)

    hours = work / measure_speed(base, precision, get_device(config)) / 3600
    return Cost(n_all, n_trained, count_bytes(precision), count_bytes("bfloat16"), hours, work / GPU_SPEED / 3600)


def _count_work(settings: StageConfig, shape: Any, n_body: int, items: Sequence[TrainingItem]) -> float:
    """Return the operations of one pass over the items."""
    n_runs = 2 + (settings.kind == "full") + settings.gradient_checkpointing
    heads = (getattr(shape, "head_dim", None) or 0) * shape.num_attention_heads or shape.hidden_size
    work = 0.0
    for item in items:
        n_read, n_turns = (len(item), _count_trained(item)) if settings.kind == "alora" else (0, len(item))
        work += (2 * n_body + 2 * len(item) * shape.num_hidden_layers * heads) * (n_read + n_runs * n_turns)
        work += n_runs * 2 * shape.hidden_size * shape.vocab_size * _count_trained(item)
    return float(work)


def _count_states(settings: StageConfig, shape: Any, batch: TrainingBatch, precision: Precision) -> float:
    """Return the bytes that one forward pass keeps for the way back."""
    n_labels = sum(map(_count_trained, batch))
    n_tokens = n_labels if settings.kind == "alora" else len(batch) * len(batch[0])
    size = 10 * shape.hidden_size + 7 * shape.intermediate_size
    size = shape.hidden_size if settings.gradient_checkpointing else size
    return float(n_tokens * shape.num_hidden_layers * size * _BYTES[precision] + 14 * shape.vocab_size * n_labels)


def _count_trained(item: TrainingItem) -> int:
    return sum(turn.end - turn.start for turn in item.turns)
