"""What the graph itself costs: time per step with a model and a tool that take none.

A step is planner → caller → approval → tools; the model is the scripted one. Prints the median over several runs.
"""

from __future__ import annotations

import asyncio
import statistics
import time

from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver

from alpha_umi import UmiContext, create_umi_agent
from alpha_umi.graph.embed import UmiAgent
from alpha_umi.nodes.models.scripted import Outputs, ScriptedChatModel
from alpha_umi.nodes.state import UmiInput

N_STEPS, N_RUNS, GOAL_MS = 8, 25, 5.0


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def make_agent(checkpointer: InMemorySaver | None = None) -> UmiAgent:
    """Make an agent that calls a tool `N_STEPS` times and then concludes, for all runs."""
    script: Outputs = {
        "planner": (["Add.\nNext: caller."] * N_STEPS + ["Done.\nNext: conclusion."]) * (N_RUNS + 1),
        "caller": [f'Action: add\nAction Input: {{"a": {i}, "b": 2}}' for i in range(N_STEPS)] * (N_RUNS + 1),
        "summarizer": ["3"] * (N_RUNS + 1),
    }
    return create_umi_agent(ScriptedChatModel(script=script), [add], approvals=False, checkpointer=checkpointer)


def time_runs(name: str, agent: UmiAgent, *, use_async: bool) -> float:
    """Return the median milliseconds per step."""
    context = UmiContext(max_steps=N_STEPS)
    rates = []
    for i in range(N_RUNS + 1):
        config: RunnableConfig = {"configurable": {"thread_id": str(i)}}
        question: UmiInput = {"messages": [HumanMessage("Add one and two.")]}
        started = time.perf_counter()
        if use_async:
            result = asyncio.run(agent.ainvoke(question, config, context=context))
        else:
            result = agent.invoke(question, config, context=context)
        rates.append((time.perf_counter() - started) * 1000 / N_STEPS)
        assert result["finish"] == "answer", result
    median = statistics.median(rates[1:])
    print(f"  {name:<28} {median:6.2f} ms per step   goal < {GOAL_MS:g} ms: {'met' if median < GOAL_MS else 'missed'}")
    return median


def main() -> None:
    """Print the table."""
    print(f"graph overhead, {N_STEPS} steps, median of {N_RUNS} runs")
    time_runs("invoke", make_agent(), use_async=False)
    time_runs("ainvoke", make_agent(), use_async=True)
    time_runs("invoke, in-memory checkpoints", make_agent(InMemorySaver()), use_async=False)


if __name__ == "__main__":
    main()
