"""A clock that is set forwards and back by hours, while an agent runs and between two processes."""

from __future__ import annotations

import random
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from langgraph.checkpoint.base import id as checkpoint_id

from alpha_umi import create_umi_agent
from alpha_umi.graph.checkpointers import open_async_checkpointer, open_checkpointer
from alpha_umi.nodes.durability import checkpointers
from alpha_umi.nodes.models.scripted import ScriptedChatModel, replay
from alpha_umi.tools import Toolbox, declare_effects

HOURS_NS = 3600 * 10**9
SCRIPT: Any = {
    "planner": ["I pay.\nNext: caller."] * 3 + ["Paid.\nNext: conclusion."],
    "caller": ['Action: pay\nAction Input: {"sum": 1}', "Action: hang\nAction Input: {}"],
    "summarizer": ["Done."],
}
CONFIG: Any = {"configurable": {"thread_id": "t"}}


class Clock:
    """The time of day, which jumps by up to `jump_h` hours each time that anybody looks, and is `offset_h` off."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.offset_h = self.jump_h = 0.0
        self._rng = random.Random(3)
        real = time.time_ns

        def now_ns() -> int:
            hours = self.offset_h + self._rng.uniform(-self.jump_h, self.jump_h)
            return real() + int(hours * HOURS_NS)

        monkeypatch.setattr(time, "time_ns", now_ns)
        monkeypatch.setattr(time, "time", lambda: now_ns() / 1e9)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def begin_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what a process remembers of the time."""
    monkeypatch.setattr(checkpoint_id, "_last_v6_timestamp", None)


def make_tools(effects: list[int]) -> Toolbox:
    def pay(sum: int) -> str:
        """Pay."""
        effects.append(sum)
        return "paid"

    @declare_effects("none")
    def hang() -> None:
        """Hang."""
        time.sleep(60)

    return Toolbox([pay, hang], timeout_s=1)


def test_time_limits_ledger_and_threads_hold_while_the_clock_jumps(clock: Clock, tmp_path: Path) -> None:
    clock.jump_h = 12
    effects: list[int] = []
    with open_checkpointer(tmp_path / "t.sqlite") as saver, saver.claim("t"):
        agent = create_umi_agent(ScriptedChatModel(script=replay(SCRIPT)), make_tools(effects), checkpointer=saver)
        question: Any = {"messages": "Pay."}
        result = agent.invoke(question, CONFIG)
    assert (result["finish"], effects) == ("answer", [1, 1])
    texts = [message.text for message in result["messages"] if message.type == "tool"]
    assert texts[0] == texts[2] == "paid"
    assert "no answer within 1 s" in texts[1]


@pytest.mark.parametrize("is_async", [False, True])
async def test_thread_goes_on_in_a_process_whose_clock_is_hours_behind(
    is_async: bool, clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script: Any = {"planner": ["Easy.\nNext: conclusion."], "summarizer": ["Yes."]}
    for turn, offset_h in enumerate([5.0, 0.0, -5.0, 2.0]):
        begin_process(monkeypatch)
        clock.offset_h = offset_h
        model = ScriptedChatModel(script=replay(script))
        question: Any = {"messages": f"question {turn}"}
        if is_async:
            async with open_async_checkpointer(tmp_path / "t.sqlite") as async_saver:
                result = await create_umi_agent(model, [], checkpointer=async_saver).ainvoke(question, CONFIG)
        else:
            with open_checkpointer(tmp_path / "t.sqlite") as saver:
                result = create_umi_agent(model, [], checkpointer=saver).invoke(question, CONFIG)
        questions = [message.text for message in result["messages"] if message.type == "human"]
        assert questions == [f"question {i}" for i in range(turn + 1)]


def test_loading_a_thread_takes_back_no_time_that_others_have_used_meanwhile(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: Any = SimpleNamespace(checkpoint={"id": str(checkpoint_id.uuid6())})
    clock.offset_h = -5
    others: list[str] = []

    class Meanwhile:
        """LangGraph's module, while another thread makes ids."""

        def __getattr__(self, name: str) -> Any:
            value = getattr(checkpoint_id, name)
            others.extend(str(checkpoint_id.uuid6()) for _ in range(3))
            return value

        def __setattr__(self, name: str, value: Any) -> None:
            setattr(checkpoint_id, name, value)

    monkeypatch.setattr(checkpointers, "checkpoint_id", Meanwhile())
    checkpointers._keep_ids_ascending(loaded)
    assert str(checkpoint_id.uuid6()) > max(others)
