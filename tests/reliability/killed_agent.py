"""An agent in a process of its own that gets killed, and is started again until its thread is finished."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable
from functools import partial, reduce
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any, Literal, TypeAlias

from langchain_core.runnables import RunnableConfig

from alpha_umi import UmiContext, create_umi_agent
from alpha_umi.graph.checkpointers import open_async_checkpointer, open_checkpointer
from alpha_umi.graph.embed import UmiAgent
from alpha_umi.nodes.models.scripted import ScriptedChatModel, replay

When: TypeAlias = Literal["before", "after"]
Kill: TypeAlias = tuple[When, str, int]

QUESTION: Any = {"messages": [{"role": "user", "content": "Pay in, one sum after the other."}]}
ANSWER = "All is paid in."


def make_agent(effects: str, n_steps: int, n_calls: int, **options: Any) -> UmiAgent:
    """Build an agent that calls a tool `n_calls` times in each of its steps, every time with other arguments.

    Args:
        effects: File that gets one line for each effect that took place.
        n_steps: Steps before it concludes.
        n_calls: Parallel calls of each step.
        options: Further ones of `create_umi_agent`.
    """

    def pay_in(sum: int) -> str:
        """Pay in a sum."""
        time.sleep(random.uniform(0, 0.01))
        append(effects, sum)
        time.sleep(random.uniform(0, 0.01))
        return f"{sum} is paid in."

    calls = [
        "\n".join(f'Action: pay_in\nAction Input: {{"sum": {step * n_calls + i}}}' for i in range(n_calls))
        for step in range(n_steps)
    ]
    script = replay(
        {
            "planner": [*["I pay in.\nNext: caller."] * n_steps, "That was all.\nNext: conclusion."],
            "caller": calls,
            "summarizer": [ANSWER],
        }
    )
    return create_umi_agent(ScriptedChatModel(script=script), [pay_in], approvals=False, **options)


def append(path: str, sum: int) -> None:
    """Let an effect take place, outside the process and on the disk."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{sum}\n".encode())
    os.fsync(file)
    os.close(file)


def run(
    where: str,
    effects: str,
    thread: str,
    *,
    n_steps: int = 5,
    n_calls: int = 1,
    is_async: bool = False,
    durability: Any = "async",
    kill: Kill | None = None,
    ready: Connection | None = None,
) -> None:
    """Begin a thread, or go on with it, to its end.

    Args:
        where: Database of the threads.
        effects: File that gets a line for each effect.
        thread: Name of the thread.
        n_steps: Steps of the run.
        n_calls: Parallel calls of each step.
        is_async: Whether to run by `ainvoke`.
        durability: LangGraph's mode of saving.
        kill: When the process dies.
        ready: Told when the run begins.
    """
    if kill:
        die(*kill)
    config: RunnableConfig = {"configurable": {"thread_id": thread}}
    options: dict[str, Any] = {"durability": durability, "context": UmiContext(max_steps=n_steps)}
    if is_async:
        make = partial(make_agent, effects, n_steps, n_calls)
        asyncio.run(_arun(where, make, config, options))
        return
    with open_checkpointer(where) as saver:
        agent = make_agent(effects, n_steps, n_calls, checkpointer=saver)
        if ready:
            ready.send(True)
        state = agent.get_state(config)
        if not state.values or state.tasks:
            agent.invoke(None if state.tasks else QUESTION, config, **options)


async def _arun(where: str, make: Callable[..., UmiAgent], config: RunnableConfig, options: dict[str, Any]) -> None:
    async with open_async_checkpointer(where) as saver:
        agent = make(checkpointer=saver)
        state = await agent.aget_state(config)
        if not state.values or state.tasks:
            await agent.ainvoke(None if state.tasks else QUESTION, config, **options)


def die(when: When, target: str, nth_call: int) -> None:
    """Let the process die, as by ``kill -9``, before or after the n-th call of a function ``module:Class.method``."""
    module, _, path = target.partition(":")
    *parents, name = path.split(".")
    owner = reduce(getattr, parents, import_module(module))
    real, calls = getattr(owner, name), iter(range(1, 10_000))

    def call(*args: Any, **kwargs: Any) -> Any:
        is_last = next(calls) == nth_call
        if is_last and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args, **kwargs)
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, call)
