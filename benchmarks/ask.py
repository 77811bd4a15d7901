"""What `alpha-umi ask` takes from the start of its process to the answer, in torch and in llama.cpp.

Run it with `python -m benchmarks.ask [pairs] [questions]`; it needs `alpha-umi models pull smollm2-135m` and the extra
`llamacpp`. Last comes the memory of a process of each engine that has answered so many different questions.
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
MEMORY_GOAL_MIB = 500
_ASK_MANY = """
import psutil, sys
from langchain_core.messages import HumanMessage
from alpha_umi import create_umi_agent
from alpha_umi.nodes.models.specs import load_models

tools = ["builtin:calculator", "builtin:calendar", "builtin:convert_units"]
agent = create_umi_agent(load_models("hf:smollm2-135m-umi", engine=sys.argv[1]), tools)
for i in range(int(sys.argv[2])):
    question = f"What is {17 + i}% of {2340 + i}, and which weekday is 2027-03-{1 + i % 28:02}?"
    agent.invoke({"messages": [HumanMessage(question)]})
print(psutil.Process().memory_info().rss / 1024**2)
"""
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


def measure_memory(engine: EngineName, n_questions: int) -> float:
    """Return the MiB of a process after that many questions."""
    command = [sys.executable, "-c", _ASK_MANY, engine, str(n_questions)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def main(n_pairs: int = 5, n_questions: int = 20) -> None:
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
    torch, llamacpp = (measure_memory(engine, n_questions) for engine in ENGINES)
    verdict = "met" if llamacpp <= MEMORY_GOAL_MIB else "missed"
    print(
        f"  {'MiB after':<12} {torch:8.1f} {llamacpp:8.1f} {llamacpp / torch:6.2f} (goal for llama.cpp "
        f"{MEMORY_GOAL_MIB} MiB: {verdict}), {n_questions} questions"
    )
    print(f"  the answers are {'the same' if answers[0] == answers[1] else f'not the same: {answers}'}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
