"""ComplexFuncBench as a live suite: recorded tools, and an exact check of the calls that were made.

A call whose arguments come from an earlier response (``$var1.path$`` in the file) has to be made after it; calls that
do not need each other may be made in any order, and in one step.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.trajectory import Call, Trajectory
from alpha_umi.tools.replay import ReplayTask, load_complexfuncbench, make_key
from alpha_umi.training.evaluation.live_task import LiveTask

GROUP = "complexfuncbench-replay"
VARIABLE = "COMPLEXFUNCBENCH"
_PLACES = ("data/complexfuncbench_train.jsonl.gz", "../shared/data/complexfuncbench_train.jsonl.gz")


def load_replay_suite(path: Path | None = None) -> list[LiveTask]:
    """Return the tasks that can be solved.

    Args:
        path: The user's own copy; default is the file that ``COMPLEXFUNCBENCH`` names, then ``data/`` and
            ``../shared/data/`` of the working directory.

    Raises:
        ConfigError: If there is no copy, or it cannot be read.
    """
    return [
        LiveTask(GROUP, task.id, task.query, task.make_tools, functools.partial(check_calls, task))
        for task in load_complexfuncbench(path or _find_file())
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


def check_calls(task: ReplayTask, trajectory: Trajectory) -> dict[str, float]:
    """Score the calls of one run.

    - ``completeness``: share of the task's calls that were made, each after those it takes arguments from.
    - ``call_accuracy``: share of the calls made that belong to the task; absent if none was made.
    - ``solved``: 1 if all were made, no other one was, and an answer was given.

    Args:
        task: With every right way to make each of its calls, and which of them have to come before which.
        trajectory: Of the run; its last turn counts.
    """
    steps = trajectory.turns[-1].steps if trajectory.turns else ()
    made = [(number, _make_key(call)) for number, step in enumerate(steps) for call in step.calls]
    ways: dict[int, set[str]] = {}
    for recording in task.recordings:
        ways.setdefault(recording.step, set()).add(make_key(recording.tool, recording.arguments))
    known = set().union(*ways.values())
    times = {position: [number for number, key in made if key in keys] for position, keys in ways.items()}
    complete = [position for position in ways if _is_made(times, position, task.sources.get(position, ()))]
    n_known = sum(key in known for _, key in made)
    answered = bool(steps) and bool((steps[-1].answer or "").strip())
    scores = {
        "solved": float(len(complete) == len(ways) and n_known == len(made) and answered),
        "completeness": len(complete) / len(ways) if ways else 1.0,
    }
    return scores | ({"call_accuracy": n_known / len(made)} if made else {})


def _make_key(call: Call) -> str | None:
    return make_key(call.name, call.arguments) if isinstance(call.arguments, dict) else None


def _is_made(times: Mapping[int, Sequence[int]], position: int, sources: Iterable[int]) -> bool:
    """Tell whether a call was made, and at least once after everything it takes arguments from."""
    first = [times.get(source, ())[:1] for source in sources]
    return any(all(earliest and earliest[0] < number for earliest in first) for number in times[position])
