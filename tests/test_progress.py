from __future__ import annotations

import io

from rich.console import Console

from alpha_umi.progress import make_progress


def draw(*, terminal: bool, **settings: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120, color_system=None)
    with make_progress(console, **settings) as bar:
        bar.update(bar.add_task("read", total=None), completed=1204, note="7 dropped")
        bar.update(bar.add_task("train", total=10), completed=3, note="loss 0.5")
        bar.update(bar.add_task("fetch", total=98_400_000, unit="bytes"), completed=12_000_000)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_a_bar_shows_what_is_known() -> None:
    shown = draw(terminal=True)
    assert "1,204  7 dropped" in shown
    assert " 30% 3/10  loss 0.5" in shown
    assert " 12% 12.0/98.4 MB" in shown


def test_outside_a_terminal_a_bar_is_shown_only_where_a_log_wants_it() -> None:
    assert draw(terminal=False) == draw(terminal=True, show=False) == ""
    assert " 30% 3/10" in draw(terminal=False, in_logs=True)
