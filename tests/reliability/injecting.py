"""Injects faults into tools, models and the clock, and counts what that did; in short and at length."""

from __future__ import annotations

import asyncio
import faulthandler
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias, cast
from unittest.mock import patch

from langgraph.checkpoint.base import id as checkpoint_id

from alpha_umi import create_umi_agent
from alpha_umi.errors import ModelFault
from alpha_umi.graph.checkpointers import open_checkpointer
from alpha_umi.graph.embed import UmiAgent
from alpha_umi.nodes.models.openai import make_openai
from alpha_umi.nodes.models.scripted import ScriptedChatModel, replay
from alpha_umi.tools import Isolation, Toolbox, declare_effects
from alpha_umi.tools.http.breaker import RemoteSettings
from alpha_umi.tools.isolation import isolate_tool
from alpha_umi.tools.openapi import load_openapi

HANG_S = 600.0
SUMS = {1, 2, 3}
SCRIPT: Any = {
    "planner": [*["I go on.\nNext: caller."] * 4, "All is done.\nNext: conclusion."],
    "caller": [
        'Action: pay\nAction Input: {"sum": 1}',
        "Action: FAULT\nAction Input: {}",
        'Action: pay\nAction Input: {"sum": 2}',
        'Action: pay\nAction Input: {"sum": 3}',
    ],
    "summarizer": ["Done."],
}
N_CALLS = 10
"""Model calls of a whole run: five plans, four calls and an answer."""
Drive: TypeAlias = Callable[[UmiAgent, Any, Any], Any]
Say: TypeAlias = Callable[[Any, list[Any]], str]


@declare_effects("none")
def raise_error() -> None:
    """Raise."""
    raise ValueError("no")


@declare_effects("none")
def exit_interpreter() -> None:
    """Exit."""
    raise SystemExit(3)


@declare_effects("none")
async def interrupt_interpreter() -> None:
    """Interrupt."""
    raise KeyboardInterrupt


@declare_effects("none")
def hang_in_thread() -> None:
    """Hang."""
    threading.Event().wait(2 * HANG_S)


@declare_effects("none")
async def hang_on_loop() -> None:
    """Hang."""
    await asyncio.sleep(2 * HANG_S)


PLAIN: Mapping[str, Any] = {
    "tool raises": raise_error,
    "tool raises SystemExit": exit_interpreter,
    "tool raises KeyboardInterrupt": interrupt_interpreter,
    "tool hangs, in a thread": hang_in_thread,
    "tool hangs, on the event loop": hang_on_loop,
}


def inject_tool_faults(n: int, n_isolated: int) -> Iterator[tuple[str, Any]]:
    """Run agents of four steps whose second tool call goes wrong.

    Args:
        n: Times for each fault.
        n_isolated: Times for each fault in a process of its own, which takes a second to start.
    """
    for fault, function in PLAIN.items():
        call = f"Action: {function.__name__}\nAction Input: {{}}"
        yield fault, _repeat(n, partial(_run_with_tool, function, call, 1.0 if "hangs" in fault else 60.0))
    tools, folder = import_module("faulty_tools"), tempfile.gettempdir()
    hang = isolate_tool(tools.hang, Isolation(seconds=3))
    for fault, tool, arguments in [
        ("isolated tool exits the process", tools.leave, '{"code": 9}'),
        ("isolated tool floods memory", tools.flood, "{}"),
        ("isolated tool hangs", hang, f'{{"path": "{folder}/umi-signs-of-life"}}'),
    ]:
        call = f"Action: {tool.name}\nAction Input: {arguments}"
        yield fault, _repeat(n_isolated, partial(_run_with_tool, tool, call, 60.0))


def inject_model_faults(n: int, seed: int) -> Iterator[tuple[str, Any]]:
    """Run agents whose model fails, writes nothing or is left at a random call, and resume them."""
    rng = random.Random(seed)
    for fault, kind in [("model raises", RuntimeError), ("model has no memory", MemoryError)]:
        yield fault, _repeat(n, partial(_run_failing, rng, kind))
    yield (
        "model writes nothing",
        _repeat(n, lambda: _run(_fall_silent_at(rng.randrange(N_CALLS)), _drive), may_be_cut=True),
    )
    yield "client leaves the stream", _repeat(n, lambda: _run(replay(SCRIPT), partial(_leave_and_resume, rng)))


def inject_clock_jumps(n: int, seed: int) -> Iterator[tuple[str, Any]]:
    """Resume threads in what looks like processes whose clocks are up to a day off."""
    rng, real = random.Random(seed), time.time_ns

    def begin_process() -> None:
        offset_ns = int(rng.uniform(-24, 24) * 3600e9)
        checkpoint_id._last_v6_timestamp = None
        time.time_ns = lambda: real() + offset_ns

    def drive(agent: UmiAgent, question: Any, config: Any) -> Any:
        for node in ("caller", "tools", "planner"):
            begin_process()
            agent.invoke(question, config, interrupt_after=[node])
            question = None
        begin_process()
        return agent.invoke(None, config)

    with patch.object(time, "time_ns", real):
        yield "clock jumps between processes", _repeat(n, lambda: _run(replay(SCRIPT), drive))


def inject_drips(n: int) -> Iterator[tuple[str, Any]]:
    """Run agents whose tool or model meets a server that drips.

    A thread that is left, and a connection that the server has to end, after hundreds of drips, count as hangs.
    """
    dripping = import_module("dripping")
    kinds, n_left = list(dripping.DRIPS.values()), 0

    def run() -> tuple[Any, Counter[int]]:
        nonlocal n_left
        kinds.append(kinds.pop(0))
        with dripping.dripping(kinds[0]) as server:
            document = {"openapi": "3.1.0", "paths": {"/": {"get": {"operationId": "look"}}}}
            (tool,) = load_openapi(document, base_url=f"http://{server.host}")
            done = _run_with_tool(tool, "Action: look\nAction Input: {}", 1.0)
            for thread in threading.enumerate():
                if thread.name == "tool-look":
                    thread.join(HANG_S)
                    n_left += thread.is_alive()
            n_left += server.ended
        return done

    damage = _repeat(n, run)
    damage.n_hangs += n_left
    yield "server drips its answer", damage
    damage = import_module("killing").Damage()
    for _ in range(n):
        kinds.append(kinds.pop(0))
        with dripping.dripping(kinds[0]) as server:
            remote = RemoteSettings(retries=0, model_timeout_s=1.0)
            agent = create_umi_agent(make_openai("m", {"remote": remote}, base_url=f"http://{server.host}/v1"), [])
            try:
                agent.invoke(cast(Any, {"messages": "Pay."}))
            except ModelFault:
                damage.n_kills += 1
            damage.n_hangs += server.ended
    yield "model server drips its answer", damage


def _repeat(n: int, inject: Callable[[], tuple[Any, Counter[int]]], *, may_be_cut: bool = False) -> Any:
    """Inject a fault so many times, each on a thread of its own, and count the damage.

    Args:
        n: How often.
        inject: Runs a thread to its end; returns its state and how often each sum was paid.
        may_be_cut: Whether the agent may do without some of the payments, and say so.
    """
    damage = import_module("killing").Damage()
    for _ in range(n):
        faulthandler.dump_traceback_later(HANG_S, exit=True)  # ends with 1, and says where it hangs
        result, effects = inject()
        faulthandler.cancel_dump_traceback_later()
        damage.n_kills += 1
        damage.n_lost += result.get("finish") is None or (not may_be_cut and set(effects) != SUMS)
        damage.n_doubled += 0 if may_be_cut else sum(count > 1 for count in effects.values())
        damage.n_unknown += sum("outcome unknown" in message.text for message in result["messages"])
    return damage


def _run_with_tool(tool: Any, call: str, timeout_s: float) -> tuple[Any, Counter[int]]:
    calls = [call if "FAULT" in text else text for text in SCRIPT["caller"]]
    return _run(replay({**SCRIPT, "caller": calls}), _drive, [tool], timeout_s)


def _run(say: Say, drive: Drive, tools: Any = (), timeout_s: float = 60.0) -> tuple[Any, Counter[int]]:
    effects: Counter[int] = Counter()

    def pay(sum: int) -> str:
        """Pay a sum."""
        effects[sum] += 1
        return f"{sum} is paid"

    with tempfile.TemporaryDirectory() as folder, open_checkpointer(Path(folder) / "t.sqlite") as saver:
        toolbox = Toolbox([pay, *tools], timeout_s=timeout_s)
        agent = create_umi_agent(ScriptedChatModel(script=say), toolbox, approvals=False, checkpointer=saver)
        return drive(agent, {"messages": "Pay three sums."}, {"configurable": {"thread_id": "t"}}), effects


def _run_failing(rng: random.Random, kind: type[Exception]) -> tuple[Any, Counter[int]]:
    return _run(_raise_at(rng.randrange(N_CALLS), kind), _drive_on)


def _drive(agent: UmiAgent, question: Any, config: Any) -> Any:
    return agent.invoke(question, config)


def _drive_on(agent: UmiAgent, question: Any, config: Any) -> Any:
    """Resume after an error."""
    try:
        return agent.invoke(question, config)
    except (RuntimeError, MemoryError):
        return agent.invoke(None, config)


def _leave_and_resume(rng: random.Random, agent: UmiAgent, question: Any, config: Any) -> Any:
    n_last = rng.randrange(1, 20)
    for n, _ in enumerate(agent.stream(question, config, stream_mode="updates"), start=1):
        if n == n_last:
            break
    return agent.invoke(None, config) if agent.get_state(config).tasks else agent.get_state(config).values


def _raise_at(n: int, kind: type[Exception]) -> Say:
    calls, say = iter(range(1_000)), replay(SCRIPT)

    def fail(role: Any, messages: list[Any]) -> str:
        if next(calls) == n:
            raise kind("the model failed")
        return say(role, messages)

    return fail


def _fall_silent_at(n: int) -> Say:
    calls, say = iter(range(1_000)), replay(SCRIPT)

    def fall_silent(role: Any, messages: list[Any]) -> str:
        return "" if next(calls) == n else say(role, messages)

    return fall_silent
