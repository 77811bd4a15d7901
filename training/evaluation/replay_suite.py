"""ComplexFuncBench as a live suite: recorded tools, and an exact check of the calls that were made.

A call whose arguments come from an earlier response (``$var1.path$`` in the file) has to be made after it; calls that
do not need each other may be made in any order, and in one step.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.trajectory import Trajectory
from alpha_umi.tools.replay import ReplayTask, load_complexfuncbench, make_key
from alpha_umi.training.data.files import read_records
from alpha_umi.training.evaluation.live_task import LiveTask

GROUP = "complexfuncbench-replay"
VARIABLE = "COMPLEXFUNCBENCH"
_PLACES = ("data/complexfuncbench_train.jsonl.gz", "../shared/data/complexfuncbench_train.jsonl.gz")
_REFERENCE = re.compile(r"\$(\w+)\.[\w.]+\$")

Needs: TypeAlias = Mapping[int, frozenset[int]]
"""Which earlier calls of a task each call takes arguments from, by position."""


def load_replay_suite(path: Path | None = None) -> list[LiveTask]:
    """Return the tasks that can be solved.

    Args:
        path: The user's own copy; default is the file that ``COMPLEXFUNCBENCH`` names, then ``data/`` and
            ``../shared/data/`` of the working directory.

    Raises:
        ConfigError: If there is no copy, or it cannot be read.
    """
    file = path or _find_file()
    needs = _read_needs(file)
    return [
        LiveTask(GROUP, task.id, task.query, task.make_tools, functools.partial(check_calls, task, needs[task.id]))
        for task in load_complexfuncbench(file)
    ]


def _find_file() -> Path:
    named = os.environ.get(VARIABLE)
    for place in [named] if named else _PLACES:
        if Path(place).is_file():
            return Path(place)
    raise ConfigError(
        f"There is no copy of ComplexFuncBench{f' at {named}' if named else ''}; write {GROUP}:FILE, or set {VARIABLE} "
        "to a file of tasks (.jsonl or .jsonl.gz)."
    )


def _read_needs(file: Path) -> dict[str, Needs]:
    """Read what only the file says; a task that cannot be read here is left out by `load_complexfuncbench` too."""
    needs: dict[str, Needs] = {}
    for _, row in read_records(file):
        calls = row.get("calls")
        if isinstance(calls, list):
            needs[str(row.get("id"))] = _find_needs(calls)
    return needs


def _find_needs(calls: Sequence[Any]) -> Needs:
    labels = {call.get("label"): i for i, call in enumerate(calls) if isinstance(call, dict)}
    return {
        i: frozenset(labels[label] for label in _REFERENCE.findall(json.dumps(call["arguments"])) if label in labels)
        for i, call in enumerate(calls)
        if isinstance(call, dict) and "arguments" in call
    }


def check_calls(task: ReplayTask, needs: Needs, trajectory: Trajectory) -> dict[str, float]:
    """Score the calls of one run.

    - ``completeness``: share of the task's calls that were made, each after those it takes arguments from.
    - ``call_accuracy``: share of the calls made that belong to the task; absent if none was made.
    - ``solved``: 1 if all were made, no other one was, and an answer was given.

    Args:
        task: With every right way to make each of its calls.
        needs: Which calls have to come before which.
        trajectory: Of the run; its last turn counts.
    """
    steps = trajectory.turns[-1].steps if trajectory.turns else ()
    made = [
        (number, make_key(call.name, call.arguments) if isinstance(call.arguments, dict) else None)
        for number, step in enumerate(steps)
        for call in step.calls
    ]
    ways: dict[int, set[str]] = {}
    for recording in task.recordings:
        ways.setdefault(recording.step, set()).add(make_key(recording.tool, recording.arguments))
    known = set().union(*ways.values())
    times = {position: [number for number, key in made if key in keys] for position, keys in ways.items()}
    complete = [position for position in ways if _is_made(position, times, needs)]
    n_known = sum(key in known for _, key in made)
    answered = bool(steps) and bool((steps[-1].answer or "").strip())
    scores = {
        "solved": float(len(complete) == len(ways) and n_known == len(made) and answered),
        "completeness": len(complete) / len(ways) if ways else 1.0,
    }
    return scores | ({"call_accuracy": n_known / len(made)} if made else {})


def _is_made(position: int, times: Mapping[int, Sequence[int]], needs: Needs) -> bool:
    """Tell whether a call was made, and at least once after everything it takes arguments from."""
    sources = [times.get(source, ()) for source in needs.get(position, ())]
    return any(all(source and source[0] < number for source in sources) for number in times[position])
