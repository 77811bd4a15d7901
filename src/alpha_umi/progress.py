"""The one progress bar of all long work: drawn on a terminal, lines in a file or a pipe."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

LINE_EVERY_S = 20.0
_LOOK_EVERY_S = 5.0


class _DoneColumn(ProgressColumn):
    """How much is done, and the task's `note`: ``3/10``, ``1,204`` of a number unknown, ``12.0/98.4 MB``."""

    def render(self, task: Task) -> Text:
        return Text(_render_done(task))


class WorkProgress(Progress):
    """A bar on a terminal. In a file or a pipe, lines of what is not finished: one each `LINE_EVERY_S`.

    Tasks may have no total, a ``unit="bytes"``, a ``note`` that is shown as it is, and ``first``, what was done before.

    Args:
        console: Where it is shown.
        show: False shows nothing.
        in_logs: In a file or a pipe, write also how it ended.
        clock: Returns seconds.
    """

    def __init__(self, console: Console, *, show: bool, in_logs: bool, clock: Callable[[], float]) -> None:
        """Show nothing yet; `start`, or ``with``, does."""
        self.in_lines = show and not (console.is_terminal or console.is_jupyter)
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            _DoneColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not show or self.in_lines,
            get_time=clock,
        )
        self._writes_end, self._written_s = in_logs, clock()
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="alpha-umi-progress", daemon=True)

    def start(self) -> None:
        """Draw the bar, or begin to watch for when a line is due."""
        super().start()
        if self.in_lines and not self._watcher.is_alive():
            self._watcher.start()

    def stop(self) -> None:
        """Leave the terminal as it was; also after an error."""
        super().stop()
        if self._writes_end and not self._ended.is_set():
            self.write_lines()
        self._ended.set()
        if self._watcher.is_alive():
            self._watcher.join()

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_EVERY_S):
            self.write_if_due()

    def write_if_due(self) -> None:
        """Write lines if the last ones are `LINE_EVERY_S` old."""
        if self.get_time() - self._written_s >= LINE_EVERY_S and not all(task.finished for task in self.tasks):
            self.write_lines()

    def write_lines(self) -> None:
        """Write where each task stands, in a file or a pipe."""
        if not self.in_lines or self._ended.is_set():
            return
        self._written_s = self.get_time()
        for task in self.tasks:
            self.console.print(_render_line(task), highlight=False, markup=False, soft_wrap=True)


def _render_done(task: Task) -> str:
    def show(amount: float) -> str:
        return f"{amount / 1e6:,.1f}" if is_bytes else f"{int(amount):,}"

    is_bytes = task.fields.get("unit") == "bytes"
    done = "/".join(show(amount) for amount in (task.completed, task.total) if amount is not None)
    if not task.completed and task.total is None:
        done = ""
    return f"{done}{' MB' if is_bytes else ''}  {task.fields.get('note', '')}".strip()


def _render_line(task: Task) -> str:
    took_s = (task.finished_time if task.finished else task.elapsed) or 0.0
    line = f"{task.description.strip()}  {_render_done(task)}  {_format_s(took_s)}"
    n_done = task.completed - task.fields.get("first", 0)
    if task.finished or not task.total or n_done <= 0:
        return line
    return f"{line}, {_format_s(took_s * (task.total - task.completed) / n_done)} left"


def _format_s(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def make_progress(
    console: Console | None = None,
    *,
    show: bool = True,
    in_logs: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> WorkProgress:
    """Return a bar that shows how much is done, how long it took and how long the rest will take.

    Args:
        console: Where it is shown; stderr by default.
        show: False shows nothing.
        in_logs: In a file or a pipe, show also how it ended.
        clock: Returns seconds.
    """
    return WorkProgress(console or Console(stderr=True), show=show, in_logs=in_logs, clock=clock)
