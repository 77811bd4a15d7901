"""Kills agents at random moments and counts what that did; `test_kill.py` in short, ``make faults`` at length."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, ToolMessage

from alpha_umi.graph.checkpointers import open_checkpointer

HANG_S = 600.0
"""What hangs hangs for ever; no machine is so busy that a run takes this long."""


@dataclass
class Damage:
    """What faults did to threads, effects and what must be kept from others.

    `n_let_through` counts secrets that were shown, and texts that became control tokens.
    """

    n_kills: int = 0
    n_lost: int = 0
    n_doubled: int = 0
    n_untold: int = 0
    n_unknown: int = 0
    n_hangs: int = 0
    n_unapproved: int = 0
    n_let_through: int = 0
    n_effects: int = 0

    @property
    def is_none(self) -> bool:
        """Whether nothing was lost, doubled, shown, kept from the model or done without the person."""
        told = self.n_untold or self.n_hangs
        return not (self.n_lost or self.n_doubled or self.n_unapproved or self.n_let_through or told)


class Victim:
    """Starts agents in processes of their own, forked from one that has imported everything.

    Args:
        where: Database of the threads.
        folder: Gets the files of effects.
        target: Module with the function `run`.
        options: Of that function.
    """

    def __init__(self, where: str, folder: Path, *, target: str = "killed_agent", **options: Any) -> None:
        self.where = where
        self._target = target
        self._folder = folder
        self._options = options
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["alpha_umi.graph.factory", "alpha_umi.graph.checkpointers"])

    def run(self, thread: str, *, kill: Any = None, kill_after_s: float | None = None) -> int | None:
        """Go on with a thread and return the exit code; None after a hang."""
        ours, theirs = self._context.Pipe(duplex=False)
        options = {**self._options, "kill": kill, "ready": None if self._options.get("is_async") else theirs}
        process = self._context.Process(
            target=import_module(self._target).run,
            args=(self.where, str(self._folder / thread), thread),
            kwargs=options,
        )
        process.start()
        theirs.close()
        ours.poll(HANG_S)
        start = time.perf_counter()
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            process.kill()
        process.join(HANG_S)
        if process.exitcode is None:
            process.kill()
            process.join()
            return None
        ours.close()
        self.lasted_s = time.perf_counter() - start
        return process.exitcode

    def read_effects(self, thread: str) -> Counter[int]:
        """Count the effects that took place, by the sum that was paid in."""
        path = self._folder / thread
        return Counter(map(int, path.read_text().split())) if path.exists() else Counter()

    def examine(self, thread: str, n_calls: int, damage: Damage, effects: str | None = None) -> None:
        """Compare a finished thread with its effects, which are in a file of its name or another."""
        with open_checkpointer(self.where) as saver:
            found = saver.get_tuple({"configurable": {"thread_id": thread}})
        values = found.checkpoint["channel_values"] if found else {}
        messages: Sequence[Any] = values.get("messages", ())
        calls = [call for message in messages if isinstance(message, AIMessage) for call in message.tool_calls]
        answers = {message.tool_call_id: message for message in messages if isinstance(message, ToolMessage)}
        counts = self.read_effects(effects or thread)
        if values.get("finish") != "answer" or len(calls) != n_calls or len(answers) != n_calls:
            damage.n_lost += 1
        damage.n_doubled += sum(count > 1 for count in counts.values())
        for call in calls:
            answer = answers.get(call["id"] or "")
            is_unknown = answer is not None and "outcome unknown" in answer.text
            damage.n_unknown += is_unknown
            damage.n_untold += counts[call["args"]["sum"]] == 0 and not is_unknown


def kill_at_random(victim: Victim, n_kills: int, n_calls: int, seed: int) -> Damage:
    """Kill runs until there were so many kills; go on with each thread until it is finished.

    Args:
        victim: What to kill.
        n_kills: How many processes to kill.
        n_calls: Calls of a whole run.
        seed: Of the moments.
    """
    rng, damage = random.Random(seed), Damage()
    victim.run("warm")
    victim.run("whole")
    whole_s = victim.lasted_s
    for n in range(10 * n_kills):
        if damage.n_kills >= n_kills:
            break
        exitcode: int | None = -signal.SIGKILL
        while exitcode == -signal.SIGKILL:
            kill_after_s = rng.uniform(0, whole_s) if damage.n_kills < n_kills else None
            exitcode = victim.run(f"thread-{n}", kill_after_s=kill_after_s)
            damage.n_kills += exitcode == -signal.SIGKILL
        damage.n_hangs += exitcode is None
        damage.n_lost += exitcode not in (0, None)
        victim.examine(f"thread-{n}", n_calls, damage)
    return damage
