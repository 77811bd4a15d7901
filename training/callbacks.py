"""What a person sees of a running training: a progress bar, a file of metrics, TensorBoard."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

METRICS = "metrics.jsonl"
_N_LINES = 20


class ProgressBar(TrainerCallback):
    """Draws steps, loss, tokens per second and the time left on stderr; into a file or pipe it writes some lines.

    Args:
        name: Of the stage.
        show: False draws nothing.
    """

    def __init__(self, name: str, *, show: bool) -> None:
        """Prepare the bar; it appears when the training begins."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
        )
        console = Console(file=sys.stderr)
        self._name = name
        self._writes_lines = show and not (console.is_terminal or console.is_jupyter)
        self._written = 0  # step of the last line
        self._bar = Progress(*columns, console=console, disable=not show or self._writes_lines)
        self._task: TaskID = self._bar.add_task(f"{name:<10}", total=None, note="")

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start where the training starts."""
        self._bar.update(self._task, total=state.max_steps, completed=state.global_step)
        if state.is_world_process_zero:
            self._bar.start()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Move on by a step."""
        self._bar.update(self._task, completed=state.global_step)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Show the newest figures."""
        logs = kwargs.get("logs") or {}
        if "loss" in logs:
            note = f"loss {logs['loss']:.4f}  {logs.get('tokens_per_s', 0):,.0f} tokens/s"
            self._bar.update(self._task, note=note)
            if self._writes_lines and state.is_world_process_zero:
                self._write_line(state, note)

    def _write_line(self, state: TrainerState, note: str) -> None:
        """Write one line now and then, however seldom there are figures."""
        step, every = state.global_step, max(1, state.max_steps // _N_LINES)
        if not self._written or step - self._written >= every or step == state.max_steps:
            self._written = step
            self._bar.console.print(f"{self._name} {step}/{state.max_steps}  {note}", highlight=False)

    def stop(self) -> None:
        """Leave the terminal as it was; also after an error."""
        self._bar.stop()


class MetricsFile(TrainerCallback):
    """Keeps one JSON line per logged step; after a resume the file holds each step once.

    Args:
        path: The file.
        stage: Written into every line.
    """

    def __init__(self, path: Path, stage: str) -> None:
        """Remember the place."""
        self._path = path
        self._stage = stage

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begin with what the checkpoint knows: lines of steps that will be repeated go."""
        if state.is_world_process_zero:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lines = [self._format(row) for row in state.log_history if "loss" in row]
            self._path.write_text("".join(lines), "utf-8")

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Append the newest line."""
        if state.is_world_process_zero and "loss" in state.log_history[-1]:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(self._format(state.log_history[-1]))

    def _format(self, row: dict[str, Any]) -> str:
        return json.dumps({"stage": self._stage, **row}) + "\n"


def make_tensorboard(folder: Path, first_step: int) -> list[TrainerCallback]:
    """Return a callback that writes TensorBoard files, or none where TensorBoard is not installed.

    Args:
        folder: Where the event files go.
        first_step: Values of this step and later ones, written before a kill, are hidden.
    """
    if find_spec("tensorboard") is None:
        return []
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - tensorboard is optional
    from transformers.integrations.integration_utils import TensorBoardCallback  # noqa: PLC0415 - imports it too

    writer = SummaryWriter(str(folder), purge_step=first_step)
    return [TensorBoardCallback(writer)]  # type: ignore[no-untyped-call]
