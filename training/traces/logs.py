"""Files of what ``alpha-umi ask --json`` printed, one object a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from alpha_umi.training.data.dataset import Tally
from alpha_umi.training.data.files import read_records
from alpha_umi.training.data.sources.own import read_messages, read_tools
from alpha_umi.training.traces.trace import OF_ANOTHER, Trace, get_state, make_trace


def read_logs(path: Path, tally: Tally) -> Iterator[Trace]:
    """Yield the trace of each line; lines of something else are counted and left out.

    Raises:
        ConfigError: If there is no such file.
        TrajectoryError: If the file cannot be read to its end.
    """
    for number, (where, record) in enumerate(read_records(path, tally.skip), 1):
        with tally.reading(where):
            state = get_state(record)
            if state is None:
                tally.drop(OF_ANOTHER)
                continue
            messages, tools = read_messages(state["messages"]), read_tools(state.get("tools", ()))
            trace = make_trace(f"{path.stem}-{number}", where, messages, tools, tally, finish=state["finish"])
            if trace is not None:
                yield trace
