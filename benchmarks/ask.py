"""What `alpha-umi ask` takes from the start of its process to the answer, in torch and in llama.cpp.

Run it with `python -m benchmarks.ask [pairs]`; it needs `alpha-umi models pull smollm2-135m` and the extra `llamacpp`.
Both engines answer README's question with the checkpoint that ships, one after the other, in turns; medians count. What
a first start makes is there. CPU seconds say more than the clock where other work runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import astuple, dataclass
from statistics import median

from alpha_umi.nodes.models.engine import EngineName

QUESTION = "What is 17% of 2340, and which weekday is 2027-03-01?"
ENGINES: tuple[EngineName, EngineName] = ("torch", "llamacpp")
GOAL = 0.25
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Cost:
    """What one process took."""

    cpu_s: float
    wall_s: float
    memory_mib: float


def ask(engine: EngineName) -> tuple[Cost, str | None]:
    """Answer in a process of its own; return what it took, and the answer."""
    environment = {**os.environ, "ALPHA_UMI_GENERATION__ENGINE": engine}
    environment.pop("ALPHA_UMI_CONFIG", None)
    command = [sys.executable, "-m", "alpha_umi", "ask", "--json", QUESTION]
    with tempfile.TemporaryFile() as out:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in (0, 3):  # answered or gave up
            raise SystemExit(f"ask ended with code {process.returncode} in {engine}")
        out.seek(0)
        answer: str | None = json.load(out)["answer"]
    return Cost(usage.ru_utime + usage.ru_stime, wall_s, usage.ru_maxrss * _RSS_UNIT / 1024**2), answer


def main(n_pairs: int = 5) -> None:
    """Print a row for each figure."""
    answers = [ask(engine)[1] for engine in ENGINES]
    pairs = [[ask(engine)[0] for engine in ENGINES] for _ in range(n_pairs)]
    print(f"alpha-umi ask, second start, {n_pairs} pairs; median in torch, in llama.cpp, and of the pairs' ratios")
    for i, name in enumerate(("CPU seconds", "seconds", "MiB at most")):
        both = [[astuple(cost)[i] for cost in pair] for pair in pairs]
        ratio = median(llamacpp / torch for torch, llamacpp in both)
        torch, llamacpp = (median(each) for each in zip(*both, strict=True))
        verdict = f" (goal {GOAL}: {'met' if ratio <= GOAL else 'missed'})" if i == 0 else ""
        print(f"  {name:<12} {torch:8.1f} {llamacpp:8.1f} {ratio:6.2f}{verdict}")
    print(f"  the answers are {'the same' if answers[0] == answers[1] else f'not the same: {answers}'}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
