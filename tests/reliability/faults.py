"""Injects faults at length and prints what they did; run by ``make faults``. The tests hold a short version of each."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

COLUMNS = ("fault", "injected", "threads lost", "effects doubled", "outcomes not told", "hangs", "unknown, told")


def main() -> int:
    """Inject every fault; return 1 if one of them did damage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30, help="processes to kill for each row of the table")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    table, is_harmless = Table(*COLUMNS), True
    for fault, damage in inject_kills(options.kills, options.seed):
        counts = (damage.n_kills, damage.n_lost, damage.n_doubled, damage.n_untold, damage.n_hangs, damage.n_unknown)
        table.add_row(fault, *map(str, counts))
        is_harmless &= damage.is_none and damage.n_kills >= options.kills
    Console(width=140).print(table)
    return 0 if is_harmless else 1


def inject_kills(n_kills: int, seed: int) -> Iterator[tuple[str, Any]]:
    """Kill runs of five steps at random moments, and resume them until they are finished."""
    killing = import_module("killing")
    with import_module("postgres_server").run_server() as server, tempfile.TemporaryDirectory() as folder:
        kinds: list[tuple[str, str | None, dict[str, Any]]] = [
            ("kill -9, SQLite", f"{folder}/a.sqlite", {}),
            ("kill -9, SQLite, saved before each step", f"{folder}/b.sqlite", {"durability": "sync"}),
            ("kill -9, SQLite, parallel calls", f"{folder}/c.sqlite", {"n_calls": 2}),
            ("kill -9, PostgreSQL", server and server.make_database(), {}),
        ]
        for fault, where, options in kinds:
            if where is None:
                Console(stderr=True).print(f"NOT TESTED, PostgreSQL is not installed: {fault}")
                continue
            effects = Path(folder) / fault
            effects.mkdir()
            victim = killing.Victim(where, effects, n_steps=5, **options)
            yield fault, killing.kill_at_random(victim, n_kills, 5 * options.get("n_calls", 1), seed)


if __name__ == "__main__":
    sys.exit(main())
