"""A search as a tool, called twice side by side, in a process of its own that a person answers and a kill ends."""

from __future__ import annotations

from collections import Counter
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.types import Command

from alpha_umi import UmiContext, as_tool, create_umi_agent
from alpha_umi.graph.checkpointers import open_checkpointer
from alpha_umi.graph.embed import UmiAgent
from alpha_umi.nodes.models.scripted import ScriptedChatModel, replay
from alpha_umi.tools import declare_effects

PEOPLE = ("Alice", "Bob")
SUMS = (1, 2)
MAX_ANSWERS = 40


def make_agent(effects: str, checkpointer: Any) -> UmiAgent:
    """Build an agent whose bank, itself an agent that searches, pays each person's sums; every payment is a line."""

    def pay(to: str, sum: int) -> str:
        """Pay."""
        import_module("killed_agent").append(effects, f"{to}-{sum}")
        return f"account of {to}"

    def say(role: Any, messages: list[Any]) -> str:
        text = "\n".join(message.text for message in messages)
        name = next(name for name in PEOPLE if f"Pay {name}." in text)
        n_done = sum(message.role == "observation" for message in messages)
        if role == "planner":
            return "I pay.\nNext: caller." if n_done < len(SUMS) else "It is paid.\nNext: conclusion."
        if role == "caller":
            return f'Action: pay\nAction Input: {{"to": "{name}", "sum": {SUMS[n_done]}}}'
        names = " and ".join(name for name in PEOPLE if name in text)
        return f"{names}: {sum(message.text == f'account of {name}' for message in messages)}"

    defaults = UmiContext(approve_tools=True, repeat_limit=None, failure_limit=None)
    bank = create_umi_agent(ScriptedChatModel(script=say), [pay], strategy="dfsdt", defaults=defaults)
    calls = "\n".join(f'Action: bank\nAction Input: {{"query": "Pay {name}."}}' for name in PEOPLE)
    plans = ["Both.\nNext: caller.", "Done.\nNext: conclusion."]
    model = ScriptedChatModel(script=replay({"planner": plans, "caller": [calls], "summarizer": ["Done."]}))
    tool = declare_effects("idempotent")(as_tool(bank, name="bank"))  # what it pays is recorded call by call
    return create_umi_agent(model, [tool], approvals=False, checkpointer=checkpointer)


def run(where: str, effects: str, thread: str, *, kill: Any = None, ready: Connection | None = None) -> None:
    """Begin a thread, or go on with it, to its end; each call is approved, and no payment is repeated.

    Args:
        where: Database of the threads.
        effects: File that gets a line for each payment.
        thread: Name of the thread.
        kill: Not used; this process is killed from outside.
        ready: Told when the run begins.
    """
    config: RunnableConfig = {"configurable": {"thread_id": thread}}
    with open_checkpointer(where) as saver:
        agent = make_agent(effects, saver)
        state = agent.get_state(config)
        if ready:
            ready.send(True)
        value: Any = None if state.values else {"messages": "Pay both."}
        for _ in range(MAX_ANSWERS if state.tasks or not state.values else 0):
            result = agent.invoke(value, config)
            questions = result.get("__interrupt__", ())
            if not questions:
                return
            value = Command(resume={each.id: decide(each.value["action_requests"]) for each in questions})


def decide(asked: Any) -> Any:
    """Approve what is asked about for the first time, and reject what may have taken effect."""
    kinds = ["reject" if "outcome unknown" in action["description"] else "approve" for action in asked]
    return {"decisions": [{"id": action["id"], "type": kind} for action, kind in zip(asked, kinds, strict=True)]}


def examine(where: str, thread: str, effects: Path, damage: Any) -> None:
    """Count payments made twice, those not made without a word, and answers about another person."""
    paid = Counter(effects.read_text().split() if effects.exists() else ())
    with open_checkpointer(where) as saver:
        state = make_agent(str(effects), saver).get_state({"configurable": {"thread_id": thread}})
    answers = [message.text for message in state.values.get("messages", ()) if isinstance(message, ToolMessage)]
    told = [answer.partition(": ") for answer in answers]
    damage.n_lost += [name for name, *_ in told] != list(PEOPLE) or state.values.get("finish") != "answer"
    damage.n_doubled += sum(n > 1 for n in paid.values())
    damage.n_effects += paid.total()
    for name, _, n_told in told:
        n_paid = sum(payment.startswith(name) for payment in paid)
        damage.n_untold += max(int(n_told) - n_paid, 0)
        damage.n_unknown += len(SUMS) - int(n_told)
