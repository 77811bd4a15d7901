"""What processes of their own do to one thread in `test_threads.py`."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
import time
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from alpha_umi import create_umi_agent
from alpha_umi.errors import StorageError
from alpha_umi.graph.checkpointers import open_async_checkpointer, open_checkpointer
from alpha_umi.nodes.models.scripted import ScriptedChatModel, replay
from alpha_umi.tools import declare_effects

IN_USE = 3


def talk(where: str, answered: str, name: str, n_turns: int) -> None:
    """Put questions on thread ``t`` whenever it is free, and note down those that were answered."""
    script = replay({"planner": ["Easy.\nNext: conclusion."], "summarizer": ["Yes."]})
    with open_checkpointer(where) as saver, open(answered, "a") as file:
        agent = create_umi_agent(ScriptedChatModel(script=script), [], approvals=False, checkpointer=saver)
        for n in range(n_turns):
            question: Any = {"messages": [{"role": "user", "content": f"{name}{n}"}]}
            while True:
                try:
                    result = agent.invoke(question, {"configurable": {"thread_id": "t"}})
                    break
                except StorageError:
                    time.sleep(0.01)
            assert result["answer"] == "Yes."
            file.write(f"{name}{n}\n")


def die_with_claim(where: str, thread: str) -> None:
    """Claim a thread and end as by ``kill -9``, while a forked child lives on."""
    with open_checkpointer(where) as saver, saver.claim(thread):
        if not os.fork():
            os.kill(os.getppid(), signal.SIGKILL)  # not before the child has let go of the locks it was born with
            time.sleep(20)
            os._exit(0)
        time.sleep(20)


def run_on_a_full_disk(where: str, effects: str, free_bytes: int, outcome: Connection) -> None:
    """Go on with thread ``t`` where no file can grow by more than so many bytes; tell how that ended."""
    effects_module: Any = import_module("alpha_umi.nodes.durability.effects")
    effects_module._SAVE_TIMEOUT_S = 0.5
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as on a full disk, writing then fails and nothing is killed
    sizes = [path.stat().st_size for path in Path(where).parent.glob(f"{Path(where).name}*") if path.is_file()]
    limit = max(sizes, default=4096) + free_bytes
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        import_module("killed_agent").run(where, effects, "t", n_steps=5)
        outcome.send("done")
    except Exception as error:
        outcome.send(f"{type(error).__name__}: {error}")


def ask_at(where: str, question: str, offset_h: float, is_async: bool, answers: Connection) -> None:
    """Ask on thread ``t`` where the clock is so many hours off, and tell all questions of the thread."""
    real = time.time_ns
    time.time_ns = lambda: real() + int(offset_h * 3600e9)
    time.time = lambda: time.time_ns() / 1e9
    script = replay({"planner": ["Easy.\nNext: conclusion."], "summarizer": ["Yes."]})
    messages: Any = {"messages": question}
    config: Any = {"configurable": {"thread_id": "t"}}

    async def ask() -> Any:
        async with open_async_checkpointer(where) as saver:
            agent = create_umi_agent(ScriptedChatModel(script=script), [], approvals=False, checkpointer=saver)
            return await agent.ainvoke(messages, config)

    if is_async:
        result = asyncio.run(ask())
    else:
        with open_checkpointer(where) as saver:
            agent = create_umi_agent(ScriptedChatModel(script=script), [], approvals=False, checkpointer=saver)
            result = agent.invoke(messages, config)
    answers.send([message.text for message in result["messages"] if message.type == "human"])


def resume(where: str, sums: str, is_async: bool, ready: Any, patience_s: float = 600.0) -> None:
    """Go on with thread ``t`` at the same moment as others; every effect is a line of `sums`.

    Exits with `IN_USE` where the thread is in use for longer than `patience_s`.
    """
    claims: Any = import_module("alpha_umi.nodes.durability.claims")
    claims._CLAIM_TIMEOUT_S = patience_s

    @declare_effects("idempotent")
    def pay(sum: int) -> str:
        """Pay."""
        with open(sums, "a") as file:
            file.write(f"{sum}\n")
        time.sleep(0.05)
        return "paid"

    config: Any = {"configurable": {"thread_id": "t"}}
    calls = [f'Action: pay\nAction Input: {{"sum": {n}}}' for n in range(4)]
    plans = [*["I pay.\nNext: caller."] * 4, "Done.\nNext: conclusion."]
    model = ScriptedChatModel(script=replay({"planner": plans, "caller": calls, "summarizer": ["Done."]}))

    async def go_on() -> None:
        async with open_async_checkpointer(where) as saver:
            agent = create_umi_agent(model, [pay], approvals=False, checkpointer=saver)
            await asyncio.to_thread(ready.wait)
            await agent.ainvoke(None, config)

    if is_async:
        asyncio.run(go_on())
        return
    with open_checkpointer(where) as saver:
        agent = create_umi_agent(model, [pay], approvals=False, checkpointer=saver)
        ready.wait()
        try:
            agent.invoke(None, config)
        except claims.ThreadInUse:
            sys.exit(IN_USE)
