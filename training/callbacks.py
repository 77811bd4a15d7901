"""What goes along with a training: its clock, the progress that is shown, and the files of its metrics."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast  # type: ignore[import-untyped]
from transformers import TrainerCallback, TrainerState
from transformers.trainer_callback import ExportableState

from alpha_umi.progress import make_progress

METRICS = "metrics.jsonl"


class TrainingClock(TrainerCallback, ExportableState):
    """Ends a training after some time, which goes on where it was after a resume.

    Args:
        limit_s: Seconds of training.
        spent_s: Seconds that were spent before.
        clock: Returns seconds.
    """

    def __init__(self, limit_s: float, spent_s: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin to count when the training begins."""
        self.limit_s, self.spent_s, self._now = limit_s, spent_s, clock
        self._last_s = clock()

    @property
    def share(self) -> float:
        """The share of the time that is over, in [0, 1]."""
        return min(1.0, self.spent_s / self.limit_s)

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Start to count."""
        self._last_s = self._now()

    def on_optimizer_step(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Count the time of a step, which is that of the first process in all of them."""
        now = self._now()
        spent = torch.tensor(self.spent_s + now - self._last_s, dtype=torch.float32)
        self.spent_s, self._last_s = float(broadcast(spent.to(args.device))), now

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """End the training when the time is over, with a checkpoint."""
        if self.spent_s >= self.limit_s:
            control.should_training_stop = control.should_save = True

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"spent_s": self.spent_s}


def read_spent(state: TrainerState) -> float:
    """Return the seconds that a `TrainingClock` had counted up to a checkpoint."""
    kept: Any = state.stateful_callbacks or {}
    return float(kept.get(TrainingClock.__name__, {}).get("spent_s", 0.0))


class ProgressBar(TrainerCallback):
    """Draws steps, loss, tokens per second and the time left on stderr; into a file or pipe it writes lines.

    There also comes a line with the first figures and one with the last step; while a single step takes long, the lines
    count its forward passes.

    Args:
        stage: Its name.
        show: False shows nothing.
        limit_s: Seconds after which the training ends, whatever its steps.
        clock: Returns seconds.
    """

    def __init__(
        self, stage: str, *, show: bool, limit_s: float = math.inf, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin with the reading of the data."""
        self._bar = make_progress(show=show, clock=clock)
        self._limit_s, self._clock = limit_s, clock
        self._began_s = clock()
        self._total, self._n_passes, self._note = 0, 0, "reading data"
        self._task = self._bar.add_task(f"{stage:<10}", total=None, note=self._note)
        self._show = show
        if self._bar.in_lines:  # on a terminal others draw bars before the training begins
            self._bar.start()

    def announce(self, headline: str) -> None:
        """Write what will be trained, wherever the rest goes; the weights are loaded next."""
        self._note = "loading weights"
        self._bar.update(self._task, note=self._note)
        if self._show:
            self._bar.console.print(headline, highlight=False, soft_wrap=True)

    def _move(self, done: float, part: str = "") -> None:
        timed = self._total * (self._clock() - self._began_s) / self._limit_s
        self._bar.update(self._task, completed=max(done, timed), note=f"{self._note}{part}".strip())

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Start where the training starts."""
        self._total, self._note = state.max_steps, ""
        self._began_s = self._clock()
        self._bar.reset(self._task, total=self._total, completed=state.global_step, first=state.global_step, note="")
        self._bar.start()

    def on_substep_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Move on by one of several forward passes of a step."""
        n_all = args.gradient_accumulation_steps
        self._n_passes = self._n_passes % n_all + 1
        self._move(state.global_step + self._n_passes / n_all, f" pass {self._n_passes}/{n_all}")

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Move on by a step."""
        self._n_passes = 0
        self._move(state.global_step)

    def on_log(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Show the newest figures."""
        row = state.log_history[-1]
        if "loss" in row:
            is_first, self._note = not self._note, f"loss {row['loss']:.4f}  {row['tokens_per_s']:,.0f} tokens/s"
            self._move(state.global_step)
            if is_first or state.global_step == state.max_steps:
                self._bar.write_lines()

    def stop(self) -> None:
        """Leave the terminal as it was; also after an error."""
        self._bar.stop()


@dataclass(eq=False)
class MetricsFile(TrainerCallback):
    """Keeps one JSON line per logged step; after a resume the file holds each step once."""

    _path: Path
    _stage: str

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Begin with what the checkpoint knows: lines of steps that will be repeated go."""
        if state.is_world_process_zero:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lines = [self._format(row) for row in state.log_history if "loss" in row]
            self._path.write_text("".join(lines), "utf-8")

    def on_log(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Append the newest line."""
        if state.is_world_process_zero and "loss" in state.log_history[-1]:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(self._format(state.log_history[-1]))

    def _format(self, row: dict[str, Any]) -> str:
        return json.dumps({"stage": self._stage, **row}) + "\n"


def make_tensorboard(folder: Path, first_step: int) -> list[TrainerCallback]:
    """Return a callback that writes TensorBoard files, or none where TensorBoard is not installed.

    Values of `first_step` and later ones, written before a kill, are hidden.
    """
    if find_spec("tensorboard") is None:
        return []
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - tensorboard is optional
    from transformers.integrations.integration_utils import TensorBoardCallback  # noqa: PLC0415 - imports it too

    writer = SummaryWriter(str(folder), purge_step=first_step)
    return [TensorBoardCallback(writer)]  # type: ignore[no-untyped-call]
