"""Injects faults at length and prints what they did; run by ``make faults``. The tests hold a short version of each."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

COLUMNS = (
    "fault",
    "injected",
    "threads lost",
    "effects doubled",
    "unapproved effects",
    "let through",
    "outcomes not told",
    "hangs",
    "unknown, told",
)


def main() -> int:
    """Inject every fault; return 1 if one of them did damage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30, help="faults of each row; all else is in proportion to it")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--threads", type=int, help="that talk to a server at the same time; 0 leaves it out")
    options = parser.parse_args()
    n_threads = options.kills * 20 // 3 if options.threads is None else options.threads
    table, is_harmless = Table(*COLUMNS), True
    sys.path.append(str(Path(__file__).parents[2]))
    logging.getLogger("concurrent.futures").addFilter(is_telling)
    injecting, meeting, strangers = map(import_module, ("injecting", "meeting", "strangers"))
    rows = chain(
        inject_kills(options.kills, options.seed),
        inject_answers(options.kills, options.seed),
        injecting.inject_tool_faults(options.kills, max(options.kills // 3, 1)),
        injecting.inject_model_faults(options.kills, options.seed),
        injecting.inject_clock_jumps(options.kills, options.seed),
        injecting.inject_drips(options.kills),
        meeting.inject_pairs(options.kills, options.seed),
        meeting.inject_meetings(options.kills, options.seed),
        meeting.inject_forks(options.kills),
        meeting.inject_detours(10 * options.kills, options.seed),
        strangers.inject_names(options.kills, options.seed),
        strangers.inject_echoes(options.kills, options.seed),
        strangers.inject_passwords(10 * options.kills, options.seed),
        strangers.inject_arguments(options.kills, options.seed),
        strangers.inject_tokens(10 * options.kills, options.seed),
        strangers.inject_files(10 * options.kills, options.seed),
    )
    for fault, damage in rows:
        told = (damage.n_untold, damage.n_hangs, damage.n_unknown)
        counts = (damage.n_kills, damage.n_lost, damage.n_doubled, damage.n_unapproved, damage.n_let_through, *told)
        table.add_row(fault, *map(str, counts))
        n_wanted = options.kills // 3 if "isolated" in fault else options.kills
        is_harmless &= damage.is_none and damage.n_kills >= n_wanted
    Console(width=140).print(table)
    if n_threads:
        is_harmless &= measure_load(n_threads, max(options.kills * 2 // 3, 2))
    return 0 if is_harmless else 1


def is_telling(record: logging.LogRecord) -> bool:
    """Leave out that LangGraph cannot save the error of a second parallel step, since its executor has ended."""
    return "after shutdown" not in str(record.exc_info)


def measure_load(n_threads: int, n_turns: int) -> bool:
    """Let crowds talk to servers, print the figures, and say whether nothing was lost and nobody waited long."""
    load = import_module("benchmarks.load")
    scripted, local = load.measure(n_threads, n_turns, 10), load.measure_local(min(n_threads, 16), n_turns)
    loads = {"scripted model": scripted, "tiny local model": local}
    columns = (
        "server with",
        "threads",
        "turns",
        "lost",
        "crossed",
        "p50 s",
        "p99 s",
        "overtaken",
        "MB at start, end",
    )
    table = Table(*columns)
    for name, each in loads.items():
        p50_s, p99_s = each.percentile_s(50), each.percentile_s(99)
        figures = (each.n_threads, each.n_turns, each.n_lost, each.n_crossed, f"{p50_s:.2f}", f"{p99_s:.2f}")
        memory = f"{each.start_mb:.0f}, {each.end_mb:.0f}"
        table.add_row(name, *map(str, figures), str(each.n_overtaken), memory)
    Console(width=140).print(table)
    return all(each.is_harmless and each.is_fair for each in loads.values())


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


def inject_answers(n_kills: int, seed: int) -> Iterator[tuple[str, Any]]:
    """Answer questions about calls rightly, wrongly and with old answers, and kill the processes meanwhile."""
    answer_at_random = import_module("answering").answer_at_random
    with tempfile.TemporaryDirectory() as folder:
        for strategy in ("react", "dfsdt"):
            damage = answer_at_random(f"{folder}/threads.sqlite", Path(folder), strategy, n_kills, seed)
            yield f"kill -9, random and old approvals, {strategy}", damage


if __name__ == "__main__":
    sys.exit(main())
