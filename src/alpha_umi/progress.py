"""The one progress bar of all long work."""

from __future__ import annotations

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


class _DoneColumn(ProgressColumn):
    """How much is done, and the task's `note`: ``3/10``, ``1,204`` of a number unknown, ``12.0/98.4 MB``."""

    def render(self, task: Task) -> Text:
        if task.fields.get("unit") == "bytes":
            scale, form, unit = 1e6, ",.1f", " MB"
        else:
            scale, form, unit = 1, ",.0f", ""
        amounts = [task.completed] if task.total is None else [task.completed, task.total]
        done = "/".join(format(amount / scale, form) for amount in amounts)
        return Text(f"{done}{unit}  {task.fields.get('note', '')}".rstrip())


def make_progress(console: Console | None = None, *, show: bool = True, in_logs: bool = False) -> Progress:
    """Return a bar that shows how much is done, how long it took and how long the rest will take.

    Tasks may have no total, a ``unit="bytes"``, and a ``note`` that is shown as it is.

    Args:
        console: Where it is shown, if it is a terminal; stderr by default.
        show: False shows nothing.
        in_logs: Show how it ended also in a file or a pipe.
    """
    console = console or Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        _DoneColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not (show and (in_logs or console.is_terminal or console.is_jupyter)),
    )
