"""Tasks made from the sheets of invented tools that ship: `world:20000`; or from your own: `world:FOLDER,500`.

With `world:20000,mcp=TOOLS.jsonl,clinc=REQUESTS.jsonl` (either or both) real tools stand by, and real requests come up
that no tool can do.

A tenth as many are added in wordings that never occur in training, and a tenth for domains that never do.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from alpha_umi.errors import ConfigError
from alpha_umi.training.data.dataset import Example, Split, Tally
from alpha_umi.training.data.sheets.bystanders import Bystanders
from alpha_umi.training.data.sheets.form import ToolSheet
from alpha_umi.training.data.sheets.load import load_sheets, load_world
from alpha_umi.training.data.sheets.tasks import World

_HELD_OUT_SHARE = 0.1
_GROUP = 12
"""Conversations for one list of tools."""
_EXTRAS = ("mcp=", "clinc=")


def read(location: str, tally: Tally, *, seed: int) -> Iterator[Example]:
    """Yield as many conversations as `location` says, and the held-out ones after them."""
    parts = location.split(",")
    extras = dict(part.split("=", 1) for part in parts if part.startswith(_EXTRAS))
    folder, _, count = ",".join(part for part in parts if not part.startswith(_EXTRAS)).rpartition(",")
    if not count.isdecimal() or int(count) == 0:
        raise ConfigError(f"--source world:{location}: give the number of tasks, for example world:4000.")
    files = extras.get("mcp", ""), extras.get("clinc", "")
    bystanders = {held_out: Bystanders(*files, tally, held_out=held_out) for held_out in (False, True)}
    sheets = load_sheets(Path(folder)) if folder else load_world()
    known, unknown = [s for s in sheets if not s.held_out], [s for s in sheets if s.held_out]
    n_held_out = round(int(count) * _HELD_OUT_SHARE)
    splits: list[tuple[Split, list[ToolSheet], int]] = [
        ("train", known, int(count)),
        ("dev-instructions", known, n_held_out),
        ("dev-tools", unknown, n_held_out if unknown else 0),
    ]
    for split, drawn, n_tasks in splits:
        held_out = split != "train"
        world = World(drawn, held_out=held_out)
        first = 0
        while first < n_tasks:
            rng = random.Random(f"{seed} world-{split}-{first}")
            made = world.make_group(rng, min(_GROUP, n_tasks - first))
            trajectories = bystanders[held_out].join([each.trajectory for each in made], rng)
            for number, trajectory in enumerate(trajectories, first):
                name = f"world-{split}-{number}"
                yield Example(name, "world", trajectory, f"world:{name}", split=split)
            first += len(made)  # a group may be smaller, where few requests go with one list of tools
