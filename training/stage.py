"""Training one model: from its parent's weights and a list of items to a folder of weights.

The order of the stages is in `alpha_umi.training.glpft`.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState  # type: ignore[import-untyped]
from peft import LoraConfig, get_peft_model, load_peft_weights, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import PrinterCallback, TrainerState, TrainingArguments, set_seed
from transformers.trainer import TRAINER_STATE_NAME, TRAINING_ARGS_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from alpha_umi.documents import read_document
from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.trajectory import Role
from alpha_umi.nodes.models.engine.checkpoint import CheckpointPart, load_merged
from alpha_umi.nodes.models.engine.fit import no_progress_bar, quiet_peft, read_adapter_config
from alpha_umi.training.batches import CollateTurns, TrainingItem, collate_whole, make_batches
from alpha_umi.training.callbacks import (
    METRICS,
    MetricsFile,
    ProgressBar,
    TrainingClock,
    make_tensorboard,
    read_spent,
)
from alpha_umi.training.config import StageConfig, StageName, TrainConfig
from alpha_umi.training.kernels import BLOCKWISE, BY_AGE, keep_memory, merge_adapters, needs_ages
from alpha_umi.training.trainer import (
    WHOLE,
    UmiTrainer,
    find_checkpoint,
    saving,
)

EXPORT = "export"


@dataclass(frozen=True)
class StageRun:
    """Everything one stage needs.

    Args:
        base: Folder of the base model.
        parent: What the stage starts from, on top of the base.
        markers: Token ids of each role's marker, for kind ``alora``.
        work: Folder for checkpoints and the export; kept until the export is in its place.
        logs: Folder for metrics.
        bar: Shows progress; is stopped at the end.
        start: An adapter whose weights are trained further; of kind ``none``, random ones.
    """

    name: StageName
    config: TrainConfig
    base: Path
    parent: CheckpointPart
    items: Sequence[TrainingItem]
    markers: Mapping[Role, Sequence[int]]
    work: Path
    logs: Path
    bar: ProgressBar | None = None
    start: CheckpointPart = field(default_factory=lambda: CheckpointPart("none"))

    @property
    def settings(self) -> StageConfig:
        """The stage's own settings."""
        return self.config.stages[self.name]


@no_progress_bar()
def run_stage(run: StageRun) -> dict[str, Any]:
    """Train, or continue from the newest whole checkpoint, and export the weights to ``work/export``.

    Returns:
        Metrics of the stage for ``umi.json``.

    Raises:
        TrainingStopped: The loss is no number, or the disk is full.
    """
    checkpoint = _sweep(run.work)
    set_seed(run.config.seed)  # before the adapter is made, whose first weights are random
    bar = run.bar or ProgressBar(run.name, show=False)
    bar.announce(_describe(run))
    try:
        state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME)) if checkpoint else TrainerState()
        callbacks = [bar, MetricsFile(run.logs / METRICS, run.name)]
        trainer = make_trainer(run, make_model(run), callbacks, spent_s=read_spent(state))
        if trainer.is_world_process_zero():
            for callback in make_tensorboard(run.logs, state.global_step + 1):
                trainer.add_callback(callback)
        if checkpoint and (state.global_step >= state.max_steps or trainer.is_time_over):
            trainer.restore(checkpoint)
        else:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        bar.stop()
    _export(trainer, run)
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    clocked = {} if run.settings.max_minutes is None else {"train_s": round(trainer.spent_s, 1)}
    return clocked | {
        "n_steps": trainer.state.global_step,
        "n_samples": sum(item.n_trajectories for item in run.items),
        "n_tokens": sum(map(len, run.items)),
        "first_loss": losses[0] if losses else None,
        "last_loss": losses[-1] if losses else None,
    }


def _describe(run: StageRun) -> str:
    settings, config, n_processes = run.settings, run.config, PartialState(cpu=uses_cpu(run.config)).num_processes
    n_steps = settings.count_steps(-(-len(make_batches(run.items, settings.tokens_per_forward)) // n_processes))
    quantization = "" if config.quantization == "none" else f" on {config.quantization}"
    return (
        f"{run.name}: {settings.kind} on {config.base}, {get_device(config)}, {config.precision}{quantization}, "
        f"{settings.tokens_per_forward * settings.forwards_per_step * n_processes:,} tokens a step, {n_steps:,} steps"
        + ("" if settings.max_minutes is None else f" or {settings.max_minutes:g} minutes")
    )


def make_model(run: StageRun) -> Any:
    """Load the parent and put on it what the stage trains: an adapter, or all weights in float32."""
    settings = run.settings
    is_full = settings.kind == "full"
    dtype = torch.float32 if is_full else getattr(torch, run.config.precision)
    model = load_merged(run.base, run.parent, dtype=dtype)
    uses_kernels = run.config.precision == "bfloat16" and uses_cpu(run.config)
    if uses_kernels:
        keep_memory()
    if needs_ages(model.config):
        model.set_attn_implementation(BY_AGE)
    elif uses_kernels:
        model.set_attn_implementation(BLOCKWISE)
    if is_full:
        return model.requires_grad_(True)  # where the parent is an adapter, PEFT has frozen what it was merged into
    if run.config.quantization == "nf4":
        quantize(model)
    adapted = add_adapter(model, settings)
    if run.start.path is not None:
        _copy_adapter(run.start.path, adapted, settings.lora_alpha)
    if uses_kernels and not settings.lora_dropout:
        merge_adapters(adapted)
    return adapted


def add_adapter(model: Any, settings: StageConfig) -> Any:
    """Put a random adapter on a frozen model."""
    config = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=_choose_targets(model),
        task_type="CAUSAL_LM",
    )
    with quiet_peft():
        adapted = get_peft_model(model, config)
    for layer in adapted.modules():
        if isinstance(layer, LoraLayer):
            layer.cast_input_dtype_enabled = False  # autocast would cast what was cast to float32 back again
    return adapted


def _choose_targets(model: Any) -> str | list[str]:
    """Return what an adapter goes on: all linear layers, but next to experts those of attention alone.

    For a mixture of experts PEFT would also adapt the experts' weights, which are no layers that the engine can switch
    from row to row.
    """
    if all(parameter.ndim < 3 for parameter in model.parameters()):
        return "all-linear"
    names = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    return sorted({name.rpartition(".")[2] for name in names if "attn" in name})


def check_quantization(config: TrainConfig) -> None:
    """Refuse 4-bit weights where they cannot be used.

    Raises:
        ConfigError: Says what is missing.
    """
    if config.quantization == "none":
        return
    if find_spec("bitsandbytes") is None:
        raise ConfigError("quantization nf4 needs bitsandbytes: pip install 'alpha-umi[qlora]' (Linux on x86-64).")
    if get_device(config).type != "cuda":
        raise ConfigError("quantization nf4 needs a CUDA device; set 'quantization: none' to train here.")


def quantize(model: Any) -> None:
    """Put 4-bit layers in the place of all linear ones but the head; what they hold is packed on its way to the GPU.

    Not by `from_pretrained`: the parent's adapter has to be merged into weights as they are served, before rounding.
    """
    layers: Any = import_module("bitsandbytes").nn
    for name, layer in list(model.named_modules()):
        if isinstance(layer, nn.Linear) and layer is not model.get_output_embeddings():
            packed = layers.Linear4bit(
                layer.in_features, layer.out_features, compute_dtype=layer.weight.dtype, device="meta"
            )
            packed.weight = layers.Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4")
            packed.bias = layer.bias
            model.set_submodule(name, packed)
    model.is_loaded_in_4bit = True  # PEFT then makes adapters for such layers


def _copy_adapter(source: Path, model: Any, alpha: float) -> None:
    """Put an adapter's weights in the place of the random ones, scaled to this `lora_alpha` where it had another."""
    weights, trained_alpha = load_peft_weights(str(source), device="cpu"), read_adapter_config(source)["lora_alpha"]
    if trained_alpha != alpha:
        weights = _scale(weights, trained_alpha / alpha)
    try:
        result: Any = set_peft_model_state_dict(model, weights)
    except RuntimeError as error:  # torch names every weight that differs
        raise ConfigError(f"start_from: {source} has another shape: {error}") from error
    if result.unexpected_keys or any("lora_" in key for key in result.missing_keys):
        raise ConfigError(f"start_from: {source} is an adapter on other layers than are trained here.")


def _scale(weights: Mapping[str, torch.Tensor], factor: float) -> dict[str, torch.Tensor]:
    """Multiply the product of each layer's two halves by a factor.

    The first half gets the size that PEFT starts it with, give or take half a power of 2, which costs no precision: a
    learning rate suits numbers of one size, and those of `alpha-umi models compact` are thousands of times larger.
    """
    scaled: dict[str, torch.Tensor] = {}
    for name, down in weights.items():
        if "lora_A" in name:
            norm = float(down.float().norm()) or 1.0
            size = 2.0 ** round(math.log2(math.sqrt(down.shape[0] / 3) / norm))  # uniform within 1 / sqrt(inputs)
            up = name.replace("lora_A", "lora_B")
            scaled |= {name: down.float() * size, up: weights[up].float() * (factor / size)}
    return scaled


def make_trainer(run: StageRun, model: Any, callbacks: Sequence[Any] = (), *, spent_s: float = 0.0) -> UmiTrainer:
    """Return the trainer of a stage, of whose time so much is spent."""
    minutes = run.settings.max_minutes
    collate: Any = CollateTurns(run.markers) if run.settings.kind == "alora" else collate_whole
    trainer = UmiTrainer(
        model=model,
        args=_make_arguments(run),
        train_dataset=make_batches(run.items, run.settings.tokens_per_forward),
        data_collator=collate,
        callbacks=list(callbacks),
        clock=None if minutes is None else TrainingClock(60 * minutes, spent_s),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def uses_cpu(config: TrainConfig) -> bool:
    """Tell whether the training stays on the CPU."""
    return config.device == "cpu" or not torch.accelerator.is_available()


def get_device(config: TrainConfig) -> torch.device:
    """Return where the training runs."""
    device = None if uses_cpu(config) else torch.accelerator.current_accelerator()
    return device or torch.device("cpu")


def _make_arguments(run: StageRun) -> TrainingArguments:
    settings = run.settings
    arguments = TrainingArguments(
        output_dir=str(run.work),
        per_device_train_batch_size=1,  # an item of the data set is a batch already
        gradient_accumulation_steps=settings.forwards_per_step,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps or -1,
        bf16=run.config.precision == "bfloat16",
        use_cpu=uses_cpu(run.config),
        seed=run.config.seed,
        data_seed=run.config.seed,
        logging_steps=settings.log_every_steps,
        logging_nan_inf_filter=False,
        save_steps=settings.save_every_steps,
        save_total_limit=2,  # while one is written, the one before is whole
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=not uses_cpu(run.config),
        ddp_find_unused_parameters=False,
        activation_checkpointing=settings.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
    )
    # several GPUs without a launcher would be split by DataParallel, which cannot split our batches
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _sweep(work: Path) -> Path | None:
    """Remove what a kill left half-written and return the newest whole checkpoint."""
    checkpoint = find_checkpoint(work)
    shutil.rmtree(work / EXPORT, ignore_errors=True)
    for folder in work.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        if not (folder / WHOLE).is_file():
            shutil.rmtree(folder, ignore_errors=True)
    return checkpoint


def _export(trainer: UmiTrainer, run: StageRun) -> None:
    """Save the trained weights alone, in the form in which they are served."""
    folder = run.work / EXPORT
    with saving(folder):
        trainer.save_model(str(folder))
        if trainer.is_world_process_zero():
            for name in ("README.md", TRAINING_ARGS_NAME):
                (folder / name).unlink(missing_ok=True)
            if run.settings.kind != "full":
                change_adapter_config(folder, _describe_adapter(run))
    trainer.accelerator.wait_for_everyone()


def _describe_adapter(run: StageRun) -> dict[str, Any]:
    """Say what the adapter belongs on, without the paths of this machine, and from where on it is active."""
    base = {"base_model_name_or_path": run.config.base if run.parent.kind == "none" else None}
    if run.settings.kind != "alora" or run.name == "backbone":
        return base
    return base | {"alora_invocation_tokens": list(run.markers[run.name])}


def change_adapter_config(folder: Path, changes: Mapping[str, Any]) -> None:
    """Change settings of an adapter, and put what PEFT orders otherwise in every run into one order."""
    path = folder / "adapter_config.json"
    settings = {**read_document(path, "train the stage again", dict[str, Any]), **changes}
    settings["target_modules"] = sorted(settings["target_modules"])
    path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", "utf-8")
