"""An agent in a process of its own that asks about every call, and is answered and killed from outside."""

import os
import time
from multiprocessing.connection import Connection
from typing import Annotated, Any

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import InjectedToolCallId
from langgraph.types import Command

from alpha_umi import UmiContext, create_umi_agent
from alpha_umi.graph.checkpointers import open_checkpointer
from alpha_umi.graph.embed import UmiAgent
from alpha_umi.nodes.models.scripted import ScriptedChatModel, replay

QUESTION: Any = {"messages": [{"role": "user", "content": "Pay."}]}
STEPS = [(1, 2), (3,), (1, 4)]


def make_agent(effects: str, strategy: Any, checkpointer: Any) -> UmiAgent:
    """Build an agent whose tool writes a line ``ID SUM`` for each effect, outside the process and on the disk."""

    def pay(sum: int, id: Annotated[str, InjectedToolCallId]) -> str:
        """Pay a sum."""
        file = os.open(effects, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, f"{id} {sum}\n".encode())
        os.close(file)
        time.sleep(0.005)
        return "paid"

    script: Any = {
        "planner": [*["I go on.\nNext: caller."] * len(STEPS), "Done.\nNext: conclusion."],
        "caller": ["\n".join(f'Action: pay\nAction Input: {{"sum": {sum}}}' for sum in step) for step in STEPS],
        "summarizer": ["Done."],
    }
    context = UmiContext(approve_tools=True, repeat_limit=None, failure_limit=None, strategy=strategy)
    model = ScriptedChatModel(script=replay(script))
    return create_umi_agent(model, [pay], defaults=context, approvals=False, checkpointer=checkpointer)


def run(
    where: str,
    effects: str,
    thread: str,
    *,
    answer: Any = None,
    strategy: Any = "react",
    kill: Any = None,
    ready: Connection | None = None,
) -> None:
    """Begin a thread, or go on with it, until it asks or ends.

    Args:
        where: Database of the threads.
        effects: File that gets a line for each effect.
        thread: Name of the thread.
        answer: What it is resumed with; None goes on without.
        strategy: Of the run.
        kill: Not used; this process is killed from outside.
        ready: Told when the run begins.
    """
    config: RunnableConfig = {"configurable": {"thread_id": thread}}
    with open_checkpointer(where) as saver:
        agent = make_agent(effects, strategy, saver)
        begins = not agent.get_state(config).values
        if ready:
            ready.send(True)
        value = QUESTION if begins else None if answer is None else Command(resume=answer)
        agent.invoke(value, config)
