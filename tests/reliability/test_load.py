"""A small crowd on a real `langgraph dev` server; ``make faults`` has a large one."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.load import Load, run_load, serve


@pytest.mark.slow
async def test_crowd_loses_and_crosses_no_messages(tmp_path: Path) -> None:
    with serve(tmp_path, n_jobs=4) as server:
        load = await run_load(server, n_threads=8, n_turns=3)
    assert load.faults == []
    assert load.is_harmless, load.describe()
    assert len(load.latencies_s) == 24
    assert load.is_fair, load.describe()


def test_load_counts_who_is_overtaken() -> None:
    load = Load(n_threads=2, n_turns=9)
    for number in (1, 2, 3, 4, 5, 6, 7):
        load.note_answer(number)
    assert (load.n_overtaken, load.is_fair) == (0, True)
    load.note_answer(0)
    assert (load.n_overtaken, load.is_fair) == (7, False)
