"""The Hugging Face `Trainer` with our two losses, and checkpoints that are either whole or not there.

Its tensors are made by `alpha_umi.training.batches`.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import DynamicCache, Trainer, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from alpha_umi.errors import AlphaUmiError
from alpha_umi.training.batches import Tensors, make_branch_mask, make_turn_mask
from alpha_umi.training.callbacks import TrainingClock
from alpha_umi.training.kernels import cross_entropy, make_ages, needs_ages
from alpha_umi.training.samples import IGNORE_INDEX

WHOLE = "whole"
"""Name of the empty file that is written into a checkpoint last."""


class TrainingStopped(AlphaUmiError, RuntimeError):
    """The training cannot continue; what was saved before is untouched."""


class UmiTrainer(Trainer):
    """Trains on batches of `collate_whole` or `CollateTurns`; which one it is shows in the tensors.

    The loss is the sum over the trained tokens of an optimiser step, of all its forward passes and processes, divided
    by their number. So it does not depend on how trajectories are grouped.
    """

    loss_is_scaled_for_ga = True

    def __init__(self, *args: Any, clock: TrainingClock | None = None, **kwargs: Any) -> None:
        """See `transformers.Trainer`; a clock ends the training, and its learning rate, when its time is over."""
        super().__init__(*args, **kwargs)
        self._clock = clock
        if clock:
            self.add_callback(clock)
        self.model_accepts_loss_kwargs = True  # makes the Trainer count the trained tokens of each step
        self._n_tokens, self._since = 0, time.monotonic()

    @property
    def is_time_over(self) -> bool:
        """Whether the clock has run down."""
        return self._clock is not None and self._clock.share >= 1

    @property
    def spent_s(self) -> float:
        """Seconds that the clock has counted; 0 without one."""
        return self._clock.spent_s if self._clock else 0.0

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Return the schedule of the learning rate; with a clock it has gone as far as steps or time, what is more."""
        if self._clock is None:
            return super().create_scheduler(num_training_steps, optimizer)
        clock, warmup = self._clock, max(float(self.args.warmup_steps), 1e-9)

        def get_factor(step: int) -> float:
            done = max((step + 1) / num_training_steps, clock.share)
            return done / warmup if done < warmup else 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))

        self.lr_scheduler = LambdaLR(cast(Optimizer, optimizer or self.optimizer), get_factor)
        return self.lr_scheduler

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Tensors,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the loss of one forward pass as its share of the step's loss."""
        labels, weights = inputs["labels"], inputs.get("weights")
        context = self._read_prefix(model, inputs) if "prefix_ids" in inputs else self._read_branches(inputs)
        trained = labels[:, 1:] != IGNORE_INDEX
        # the head, a fifth of a small model's work, sees only the positions whose next token is trained
        outputs = model(input_ids=inputs["input_ids"], logits_to_keep=F.pad(trained, (0, 1)), **context)
        losses = cross_entropy(outputs.logits, labels[:, 1:][trained])
        if weights is not None:
            losses = losses * weights[:, 1:][trained]
        # the gradients of the processes are averaged, but the count, which the Trainer always gives, is that of all
        loss = losses.sum() / cast(Tensor, num_items_in_batch) * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def _read_prefix(self, model: nn.Module, inputs: Tensors) -> Tensors:
        """Let the backbone alone read what comes before the last trained turn; its cache serves all turns."""
        prefix_ids = inputs["prefix_ids"]
        backbone: Any = self.accelerator.unwrap_model(model)
        with torch.no_grad(), backbone.disable_adapter():
            none = prefix_ids.new_empty(0)  # no logits: for a single row of hidden states torch copies the whole head
            context = self._read_branches(inputs, "prefix_")
            # without the model's config, which would have layers forget what is outside their window
            context |= {"past_key_values": DynamicCache(), "use_cache": True, "logits_to_keep": none}
            cache = model(input_ids=prefix_ids, **context).past_key_values
        n_prefix = prefix_ids.shape[1]
        mask = make_turn_mask(inputs["turn_starts"], n_prefix, inputs.get("branches"), inputs.get("prefix_branches"))
        positions = inputs["position_ids"]
        read = torch.arange(n_prefix, device=positions.device).expand(len(positions), -1)
        key_positions = torch.cat([inputs.get("prefix_position_ids", read), positions], dim=1)
        return {
            "past_key_values": cache,
            "position_ids": positions,
            "attention_mask": self._fit_mask(mask, positions, key_positions),
        }

    def _read_branches(self, inputs: Tensors, prefix: str = "") -> Tensors:
        """Return what the model needs where several conversations share a sequence."""
        branches = inputs.get(f"{prefix}branches")
        if branches is None:
            return {}
        positions = inputs[f"{prefix}position_ids"]
        mask = self._fit_mask(make_branch_mask(branches), positions, positions)
        return {"position_ids": positions, "attention_mask": mask}

    def _fit_mask(self, mask: Tensor, positions: Tensor, key_positions: Tensor) -> Tensor:
        """Give a model whose layers have windows the ages of what the mask shows."""
        config = self.accelerator.unwrap_model(self.model).config
        return make_ages(mask, positions, key_positions) if needs_ages(config) else mask

    def training_step(
        self, model: nn.Module, inputs: Tensors, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Run one forward and backward pass; a loss that is no number ends the training before it does harm."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not torch.isfinite(loss):
            self._stop(f"the loss is {loss.item()} on trajectories {', '.join(inputs['ids'][:4])}")
        n_tokens = inputs["input_ids"].numel() + (inputs["prefix_ids"].numel() if "prefix_ids" in inputs else 0)
        self._n_tokens += n_tokens * self.accelerator.num_processes
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the tokens per second since the last row, padding and prefixes included."""
        if "loss" in logs:
            now = time.monotonic()
            logs["tokens_per_s"] = self._n_tokens / max(now - self._since, 1e-9)
            self._n_tokens, self._since = 0, now
        super().log(logs, start_time)

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        """Return the norm of the gradients, which must be a number for the optimiser to use them.

        Private in the Trainer: no public hook gets the norm before the optimiser's step.
        """
        norm = super()._get_grad_norm(model, grad_norm)  # type: ignore[no-untyped-call]
        if not torch.isfinite(torch.as_tensor(norm)):
            self._stop(f"the norm of the gradients is {float(norm)}")
        return norm

    def _stop(self, fault: str) -> None:
        last = find_checkpoint(Path(cast(str, self.args.output_dir)))
        raise TrainingStopped(
            f"Stopped in step {self.state.global_step + 1} of {self.state.max_steps}: {fault}. "
            f"The last good checkpoint is {last.name if last else 'none'}. Lower learning_rate or max_grad_norm, or "
            "look at these trajectories with 'alpha-umi data show'; changed settings need a fresh --out folder."
        )

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Save a checkpoint and then mark it as whole; what cannot be saved whole is removed.

        Private in the Trainer: `on_save` is called only where nothing failed.
        """
        folder = Path(cast(str, self.args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        with saving(folder):
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.is_world_process_zero():
                (folder / WHOLE).touch()

    def restore(self, checkpoint: Path) -> None:
        """Load the weights and the history of a finished training.

        Through a private method of the Trainer: `train` would add a step where an epoch was cut short.
        """
        self._load_from_checkpoint(str(checkpoint))
        self.state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))


def find_checkpoint(run: Path) -> Path | None:
    """Return the newest whole checkpoint of a run, ignoring those that a kill left half-written."""
    folders = [mark.parent for mark in run.glob(f"{PREFIX_CHECKPOINT_DIR}-*/{WHOLE}")]
    return max(folders, key=lambda folder: int(folder.name.rpartition("-")[2]), default=None)


@contextmanager
def saving(folder: Path) -> Iterator[None]:
    """Turn a failure to write `folder` into an error that says what to do, and remove what was written.

    Raises:
        TrainingStopped: The disk is full, or cannot be written for another reason.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        last = find_checkpoint(folder.parent)
        free = shutil.disk_usage(folder.parent).free
        raise TrainingStopped(
            f"{folder} could not be written ({error}); {free / 1e6:,.0f} MB are free there. Nothing that was saved "
            f"before is lost: the last good checkpoint is {last.name if last else 'none'}. Make room, then run the "
            "same command with --resume."
        ) from error
