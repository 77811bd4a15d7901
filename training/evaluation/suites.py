"""Tasks with known answers: instructions, tools that run, and what the last answer must hold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, TypeAlias

from langchain_core.tools import BaseTool

from alpha_umi.errors import ConfigError, TrajectoryError
from alpha_umi.tools.load import load_tools
from alpha_umi.training.data.files import read_records
from alpha_umi.training.data.sources.builtin import make_tasks
from alpha_umi.training.data.tasks.solve import solve
from alpha_umi.training.evaluation.answers import ends_with_number, holds

Check: TypeAlias = Literal["holds", "ends with number"]

N_BUILTIN = 300
_FINAL = re.compile(r"^####\s*(.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Task:
    """One task for the live agent.

    Args:
        id: Unique in the suite.
        kind: Tasks of one kind are reported together.
        instructions: What the user says, one text per turn.
        tools: What the agent is given.
        expected: What the last answer must hold, or None if giving up is right. Empty if any answer will do.
        check: How the answer is compared; see `alpha_umi.training.evaluation.answers`.
    """

    id: str
    kind: str
    instructions: tuple[str, ...]
    tools: tuple[BaseTool, ...]
    expected: tuple[str, ...] | None
    check: Check = "holds"

    def is_answered_by(self, answer: str | None) -> bool:
        """Tell whether an answer is right; a task without one is never answered."""
        if self.expected is None or answer is None or not answer.strip():
            return False
        check = holds if self.check == "holds" else ends_with_number
        return all(check(answer, text) for text in self.expected)


def load_suite(name: str, *, n_tasks: int | None, seed: int, folder: Path) -> list[Task]:
    """Return the first tasks of a suite.

    Args:
        name: ``builtin``, or ``gsm8k:FILE``.
        n_tasks: How many; by default `N_BUILTIN` of ``builtin`` and all of a file.
        seed: As for `make_builtin_suite`.
        folder: The same.

    Raises:
        ConfigError: If there is no such suite or file.
    """
    kind, _, location = name.partition(":")
    if kind == "builtin" and not location:
        return list(make_builtin_suite(n_tasks or N_BUILTIN, folder, seed=seed))
    if kind == "gsm8k" and location:
        return list(islice(load_gsm8k_suite(Path(location)), n_tasks))
    raise ConfigError(f"Unknown suite {name!r}; give builtin, or gsm8k:FILE with a file of GSM8K in JSON Lines.")


def make_builtin_suite(n_tasks: int, folder: Path, *, seed: int) -> Iterator[Task]:
    """Yield tasks for the built-in tools in wording, with numbers and with tool names that training never has.

    Args:
        n_tasks: How many.
        folder: Empty; files and a database that some tasks are about are written there, and have to stay.
        seed: Another seed than that of the training data gives other tasks than its held-out split.
    """
    for number, task in enumerate(make_tasks(n_tasks, folder, seed=seed, held_out=True)):
        instructions = tuple(request.instruction for request in task.requests)
        yield Task(f"builtin-{seed}-{number}", task.kind, instructions, tuple(task.toolset.tools), solve(task).expected)


def load_gsm8k_suite(path: Path, tools: Sequence[str] = ("builtin:calculator",)) -> Iterator[Task]:
    r"""Yield the problems of a GSM8K file: ``{"question", "answer": "… #### 42"}``.

    Args:
        path: JSON Lines, gzipped or not.
        tools: What the agent is given, as `load_tools` takes it.

    Raises:
        ConfigError: If there is no such file or tool.
        TrajectoryError: If a record is no problem with a final answer; the message names file and line.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; give a GSM8K file in JSON Lines.")
    loaded = tuple(load_tools(tools))
    for number, (where, record) in enumerate(read_records(path)):
        final = _FINAL.search(str(record.get("answer")))
        if final is None or not isinstance(record.get("question"), str):
            raise TrajectoryError(f"{where}: expected 'question' and an 'answer' that ends in '#### NUMBER'.")
        expected = (final[1].strip(),)
        yield Task(f"gsm8k-{number}", "gsm8k", (record["question"].strip(),), loaded, expected, "ends with number")
