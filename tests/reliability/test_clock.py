"""A clock that is set forwards and back by hours, while an agent runs and between two processes."""

from __future__ import annotations

import multiprocessing
import random
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base.id import uuid6

from alpha_umi import create_umi_agent
from alpha_umi.graph.checkpointers import open_checkpointer
from alpha_umi.nodes.models.scripted import ScriptedChatModel, replay
from alpha_umi.tools import Toolbox, declare_effects

HOURS_NS = 3600 * 10**9
SCRIPT: Any = {
    "planner": ["I pay.\nNext: caller."] * 3 + ["Paid.\nNext: conclusion."],
    "caller": [
        'Action: pay\nAction Input: {"sum": 1}',
        "Action: hang\nAction Input: {}",
        'Action: pay\nAction Input: {"sum": 2}',
    ],
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
        agent = create_umi_agent(
            ScriptedChatModel(script=replay(SCRIPT)), make_tools(effects), approvals=False, checkpointer=saver
        )
        question: Any = {"messages": "Pay."}
        result = agent.invoke(question, CONFIG)
    assert (result["finish"], effects) == ("answer", [1, 2])
    texts = [message.text for message in result["messages"] if message.type == "tool"]
    assert texts[0] == texts[2] == "paid"
    assert "no answer within 1 s" in texts[1]


@pytest.mark.parametrize("is_async", [False, True])
def test_thread_goes_on_in_a_process_whose_clock_is_hours_behind(is_async: bool, tmp_path: Path) -> None:
    context, ask = multiprocessing.get_context("forkserver"), import_module("shared_thread").ask_at
    for turn, offset_h in enumerate([5.0, 0.0, -5.0, 2.0]):
        ours, theirs = context.Pipe(duplex=False)
        arguments = (str(tmp_path / "t.sqlite"), f"question {turn}", offset_h, is_async, theirs)
        process = context.Process(target=ask, args=arguments)
        process.start()
        process.join(120)
        assert process.exitcode == 0
        assert ours.recv() == [f"question {i}" for i in range(turn + 1)]
        ours.close()
        theirs.close()


def test_loading_a_thread_takes_back_no_time_that_others_have_used_meanwhile(clock: Clock, tmp_path: Path) -> None:
    script: Any = {"planner": ["Easy.\nNext: conclusion."], "summarizer": ["Yes."]}
    ids: list[str] = []
    is_over = threading.Event()

    def make_ids() -> None:
        while not is_over.is_set():
            ids.append(str(uuid6()))

    with open_checkpointer(tmp_path / "t.sqlite") as saver:
        question: Any = {"messages": "?"}
        create_umi_agent(ScriptedChatModel(script=replay(script)), [], approvals=False, checkpointer=saver).invoke(
            question, CONFIG
        )
        clock.offset_h = -5
        thread = threading.Thread(target=make_ids)
        thread.start()
        for _ in range(1000):
            saver.get_tuple(CONFIG)
        is_over.set()
        thread.join()
    assert len(ids) > 100
    assert ids == sorted(set(ids))
