from __future__ import annotations

import io
import threading

from rich.console import Console

from alpha_umi.progress import make_progress


def draw(*, terminal: bool, show: bool = True, in_logs: bool = False) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120, color_system=None)
    with make_progress(console, show=show, in_logs=in_logs) as bar:
        bar.update(bar.add_task("read", total=None), completed=1204, note="7 dropped")
        bar.update(bar.add_task("train", total=10), completed=3, note="loss 0.5")
        bar.update(bar.add_task("fetch", total=98_400_000, unit="bytes"), completed=12_000_000)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_a_bar_shows_what_is_known() -> None:
    shown = draw(terminal=True)
    assert "1,204  7 dropped" in shown
    assert " 30% 3/10  loss 0.5" in shown
    assert " 12% 12.0/98.4 MB" in shown


def test_in_a_file_short_work_says_nothing_unless_a_log_wants_how_it_ended() -> None:
    assert draw(terminal=False) == draw(terminal=True, show=False) == ""
    assert "train  3/10  loss 0.5  0:00:00, 0:00:00 left\n" in draw(terminal=False, in_logs=True)


def test_in_a_file_long_work_writes_a_line_each_20_seconds() -> None:
    console, now = Console(file=io.StringIO(), force_terminal=False), 0.0
    bar = make_progress(console, clock=lambda: now)
    task = bar.add_task("tasks [1]", total=300, completed=200, first=200)
    for now in range(0, 75, 5):
        bar.update(task, completed=200 + now, note="7 failed")
        bar.write_if_due()
    bar.update(task, completed=300)
    now = 500
    bar.write_if_due()
    bar.write_lines()
    bar.stop()
    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "tasks [1]  220/300  7 failed  0:00:20, 0:01:20 left",
        "tasks [1]  240/300  7 failed  0:00:40, 0:01:00 left",
        "tasks [1]  260/300  7 failed  0:01:00, 0:00:40 left",
        "tasks [1]  300/300  7 failed  0:01:10",
    ]


def test_the_watching_thread_ends_with_the_work() -> None:
    n_before = threading.active_count()
    with make_progress(Console(file=io.StringIO(), force_terminal=False)):
        assert threading.active_count() == n_before + 1
    assert threading.active_count() == n_before
