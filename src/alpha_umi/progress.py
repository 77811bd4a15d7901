"""The one progress bar of all long work."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def make_progress(console: Console | None) -> Progress:
    """Return a bar that shows how much is done, how long it took and how long the rest will take.

    Args:
        console: Where it is shown, if it is a terminal; stderr by default.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    left = (TextColumn("left"), TimeRemainingColumn())
    console = console or Console(stderr=True)
    return Progress(*columns, *left, console=console, disable=not (console.is_terminal or console.is_jupyter))
