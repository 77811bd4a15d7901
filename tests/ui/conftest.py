"""A desk over a scripted model, as the page has it, without a browser."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from alpha_umi import create_umi_agent, declare_effects
from alpha_umi.graph.checkpointers import open_async_checkpointer
from alpha_umi.nodes.models.scripted import ScriptedChatModel, replay
from alpha_umi.nodes.state import UmiContext
from alpha_umi.ui.conversation import Conversation
from alpha_umi.ui.desk import Desk

Script: TypeAlias = Mapping[str, Sequence[str]]
OpenDesk: TypeAlias = Callable[..., AbstractAsyncContextManager[Desk]]

COUNT: Script = {
    "planner": ["I count the bolts.\nNext: caller.", "The bolts are counted.\nNext: conclusion."],
    "caller": ['Action: count\nAction Input: {"item": "bolt"}'],
    "summarizer": ["There are 7 bolts."],
}
ORDER: Script = {**COUNT, "caller": ['Action: order\nAction Input: {"item": "bolt", "pieces": 5}']}


@declare_effects("none")
def count(item: str) -> int:
    """Count the pieces of an item."""
    return {"bolt": 7}[item]


def order(item: str, pieces: int) -> str:
    """Order pieces of an item."""
    return f"{pieces} of {item} are ordered."


@pytest.fixture
def open_desk(tmp_path: Path) -> OpenDesk:
    """Open the threads of one file, as often as wanted: each time as another process would."""

    @asynccontextmanager
    async def open(
        script: Script | Callable[..., str] = COUNT, delay_s: float = 0, **context: Any
    ) -> AsyncIterator[Desk]:
        outputs: Any = script if callable(script) else replay(script)  # type: ignore[arg-type]  # names of roles
        model = ScriptedChatModel(script=outputs, delay_s=delay_s)
        async with open_async_checkpointer(tmp_path / "threads.sqlite") as saver:
            agent = create_umi_agent(model, [count, order], checkpointer=saver)
            desk = Desk(agent, saver, UmiContext(**context))
            yield desk
            await desk.stop()

    return open


async def ask(desk: Desk, thread: str, question: str = "How many bolts?") -> Conversation:
    """Ask, and return when nothing runs any more."""
    talk = await desk.open(thread)
    talk.ask(question)
    await talk.wait()
    return talk
