"""Search in a process of its own that ends itself by SIGKILL: `killed_search.py DATABASE WHERE NUMBER`.

WHERE is ``model`` or ``tool``, NUMBER counts its calls from 1.
"""

from __future__ import annotations

import os
import signal
import sys
from itertools import count
from pathlib import Path

from alpha_umi import create_umi_agent
from alpha_umi.graph.checkpointers import open_checkpointer
from tests.graph.maze import QUESTION, SUITE, look, make_player

THREAD = "t"
PLANS = SUITE["both below fail"]


def main(database: str, where: str, number: str) -> None:
    """Search until the given call."""
    calls = count(1)

    def maybe_die(place: str) -> None:
        if place == where and next(calls) == int(number):
            os.kill(os.getpid(), signal.SIGKILL)

    def search_place(place: str) -> str:
        """Look into a place."""
        maybe_die("tool")
        return look(place)

    search_place.__name__ = "look"
    search_place.effects = "idempotent"  # type: ignore[attr-defined]  # functions take any attribute
    with open_checkpointer(Path(database)) as saver:
        player = make_player(PLANS, before=lambda: maybe_die("model"))
        agent = create_umi_agent(player, [search_place], strategy="dfsdt", approvals=False, checkpointer=saver)
        agent.invoke(QUESTION, {"configurable": {"thread_id": THREAD}}, durability="sync")


if __name__ == "__main__":
    main(*sys.argv[1:])
