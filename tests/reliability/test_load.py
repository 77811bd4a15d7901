"""A small crowd on a real `langgraph dev` server; ``make faults`` has a large one."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.load import run_load, serve


@pytest.mark.slow
async def test_crowd_loses_and_crosses_no_messages(tmp_path: Path) -> None:
    with serve(tmp_path, n_jobs=4) as server:
        load = await run_load(server, n_threads=8, n_turns=3)
    assert load.faults == []
    assert load.is_harmless, load.describe()
    assert len(load.latencies_s) == 24
