"""Tasks for the built-in tools, generated: the location is how many to train on, for example `builtin:4000`.

A tenth as many are added that are held out: their wording, numbers, names and tool names never occur in training. Every
observation comes from running the tool.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

from alpha_umi.errors import ConfigError
from alpha_umi.training.data.dataset import Example, Split, Tally
from alpha_umi.training.data.split import called_tools
from alpha_umi.training.data.tasks.compose import GeneratedTask, make_task
from alpha_umi.training.data.tasks.questions import make_fixtures
from alpha_umi.training.data.tasks.solve import solve
from alpha_umi.training.data.tasks.toolset import list_heldout_names

_HELD_OUT_SHARE = 0.1


def read(location: str, tally: Tally, *, seed: int) -> Iterator[Example]:
    """Yield as many examples as `location` says, and the held-out ones after them."""
    if not location.isdecimal() or int(location) == 0:
        raise ConfigError(f"--source builtin:{location}: give the number of tasks, for example builtin:4000.")
    for held_out, n_tasks in ((False, int(location)), (True, round(int(location) * _HELD_OUT_SHARE))):
        with tempfile.TemporaryDirectory() as folder:
            for number, task in enumerate(make_tasks(n_tasks, Path(folder), seed=seed, held_out=held_out)):
                trajectory = solve(task).trajectory
                is_new = not list_heldout_names().isdisjoint(called_tools(trajectory))
                heldout_split: Split = "dev-tools" if is_new else "dev-instructions"
                split = heldout_split if held_out else "train"
                name = f"builtin-{'heldout' if held_out else 'train'}-{number}"
                yield Example(name, "builtin", trajectory, f"builtin:{name}", split=split)


def make_tasks(n_tasks: int, folder: Path, *, seed: int, held_out: bool) -> Iterator[GeneratedTask]:
    """Yield tasks with tools that run; the same arguments give the same tasks.

    Files and a database that some tasks are about are written into `folder`, which is empty, and have to stay. Tasks
    that are `held_out` are unlike those for training.
    """
    fixtures = make_fixtures(folder, random.Random(f"{seed} {held_out} fixtures"))
    for number in range(n_tasks):
        yield make_task(random.Random(f"{seed} {held_out} {number}"), held_out=held_out, fixtures=fixtures)
