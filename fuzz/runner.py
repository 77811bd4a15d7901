"""Runs the targets on random inputs, counts what breaks, and continues where it stopped; ``make fuzz`` starts it."""

from __future__ import annotations

import argparse
import json
import logging
import time
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random

from rich.console import Console
from rich.table import Table

from fuzz import guided
from fuzz.targets import TARGETS

SLOW_S = 10.0
"""An input that takes longer is a crash: nothing here should take more than milliseconds."""
_MAX_CRASHES = 10
_BLOCK = 20_000
"""Inputs of a cheap target between two looks at the clock; others get their share."""


@dataclass(slots=True)
class Count:
    """What was done to one target by one engine.

    Args:
        executions: Inputs so far, over all runs with this folder.
        seconds: Wall time for them.
        crashes: One line for each input that broke a promise.
    """

    executions: int = 0
    seconds: float = 0.0
    crashes: list[str] = field(default_factory=list)


def make_input(name: str, seed: int, number: int) -> str:
    """Return an input of a target; the same for the same numbers."""
    return TARGETS[name].make(Random((seed << 64) + (zlib.crc32(name.encode()) << 32) + number))


def fuzz(name: str, count: Count, n_wanted: int, *, seed: int = 0) -> Iterator[None]:
    """Run one target on random inputs until `count` says that there were enough; pause after each block."""
    block = max(1, _BLOCK // TARGETS[name].share)
    while count.executions < n_wanted and len(count.crashes) < _MAX_CRASHES:
        start = time.perf_counter()
        for number in range(count.executions, min(count.executions + block, n_wanted)):
            text = make_input(name, seed, number)
            if fault := find_fault(name, text):
                count.crashes.append(f"seed {seed}, input {number}: {fault}: {text[:2000]!a}")
            count.executions = number + 1
        count.seconds += time.perf_counter() - start
        yield


def find_fault(name: str, text: str) -> str:
    """Return which promise an input breaks, an empty text if it breaks none."""
    start = time.process_time()
    try:
        TARGETS[name].run(text)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return f"over {SLOW_S:g} s" if time.process_time() - start > SLOW_S else ""


def render_table(counts: dict[str, Count]) -> Table:
    """Return what was done, one row for each target and engine."""
    table = Table("target", "engine", box=None)
    for title in ("executions", "seconds", "crashes"):
        table.add_column(title, justify="right")
    for key, count in counts.items():
        name, _, engine = key.rpartition(" ")
        table.add_row(name, engine, f"{count.executions:,}", f"{count.seconds:.1f}", str(len(count.crashes)))
    return table


def main() -> int:
    """Fuzz all targets, or those that are named."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--n", type=int, default=1_000_000, help="executions of a cheap target; others get a share")
    parser.add_argument("--minutes", type=float, default=60, help="stop after so long; the next run continues")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="default are all")
    parser.add_argument("--folder", type=Path, default=Path("build/fuzz"), help="counts, crashes and corpus")
    options = parser.parse_args()
    logging.disable()
    warnings.simplefilter("ignore")
    console = Console()
    session = _Session(options.folder, options.seed, time.monotonic() + 60 * options.minutes, options.n)
    names: list[str] = options.target or list(TARGETS)
    session.run_random(names)
    if guided.is_available():
        session.run_guided(names)
    else:
        console.print("atheris is not installed ('alpha-umi[fuzz]', Linux): random inputs only", markup=False)
    shown = {key: count for key, count in session.counts.items() if key.rpartition(" ")[0] in names}
    console.print(render_table(shown))
    crashes = [f"{key}, {crash}" for key, count in shown.items() for crash in count.crashes]
    for crash in crashes:
        console.print(crash, markup=False, highlight=False)
    if any(session.is_unfinished(key) for key in shown):
        console.print(f"stopped after {options.minutes:g} minutes; run it again to go on")
    return int(bool(crashes))


class _Session:
    """The counts of a folder, written down after every step."""

    def __init__(self, folder: Path, seed: int, deadline: float, n: int) -> None:
        self._path = folder / f"counts-{seed}.json"
        self._folder = folder
        self._seed = seed
        self._deadline = deadline
        self._n = n
        folder.mkdir(parents=True, exist_ok=True)
        known = json.loads(self._path.read_text("utf-8")) if self._path.is_file() else {}
        self.counts = {key: Count(**value) for key, value in known.items()}

    def run_random(self, names: list[str]) -> None:
        """Give every target its blocks in turn, so that a run that is cut short has seen all of them."""
        runs = {}
        for name in names:
            count = self.counts.setdefault(f"{name} random", Count())
            runs[name] = fuzz(name, count, self._n // TARGETS[name].share, seed=self._seed)
        while runs and time.monotonic() < self._deadline:
            for name in list(runs):
                if next(runs[name], StopIteration) is StopIteration:
                    del runs[name]
            self._save()

    def run_guided(self, names: list[str]) -> None:
        for i, name in enumerate(names):
            count = self.counts.setdefault(f"{name} atheris", Count())
            n_left = self._n // TARGETS[name].share - count.executions
            seconds = int((self._deadline - time.monotonic()) / (len(names) - i))
            if n_left > 0 and seconds > 0 and not count.crashes:
                n_done, taken_s, crashes = guided.run(name, n_left, seconds, self._folder)
                count.executions += n_done
                count.seconds += taken_s
                count.crashes += crashes
                self._save()

    def is_unfinished(self, key: str) -> bool:
        """Say whether a target is owed executions."""
        name = key.rpartition(" ")[0]
        return self.counts[key].executions < self._n // TARGETS[name].share and not self.counts[key].crashes

    def _save(self) -> None:
        temporary = self._path.with_suffix(".new")
        temporary.write_text(json.dumps({key: asdict(count) for key, count in self.counts.items()}), "utf-8")
        temporary.replace(self._path)
