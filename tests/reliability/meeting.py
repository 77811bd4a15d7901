"""Where policies and processes meet: parallel searches, processes on one thread, forks, calls sent past the gate."""

from __future__ import annotations

import multiprocessing
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, Send

from alpha_umi import UmiContext, create_umi_agent
from alpha_umi.errors import InputError
from alpha_umi.graph.checkpointers import open_checkpointer
from alpha_umi.nodes.models.scripted import ScriptedChatModel, replay
from alpha_umi.tools import declare_effects

THREAD: Any = {"configurable": {"thread_id": "t"}}
QUESTION: Any = {"messages": "Pay."}
N_PROCESSES = 3


def inject_pairs(n: int, seed: int) -> Iterator[tuple[str, Any]]:
    """Kill two searches that work side by side in one thread, and resume them until both are finished."""
    killing, pairs = import_module("killing"), import_module("paired_agent")
    with tempfile.TemporaryDirectory() as folder:
        victim = killing.Victim(f"{folder}/t.sqlite", Path(folder), target="paired_agent")
        victim.examine = lambda thread, _, damage: pairs.examine(victim.where, thread, Path(folder) / thread, damage)
        yield "kill -9, two searches side by side", killing.kill_at_random(victim, n, 0, seed)


def inject_meetings(n: int, seed: int) -> Iterator[tuple[str, Any]]:
    """Have three processes resume one thread at the same moment; some of them wait for it, some do not."""
    rng, damage, sharing = random.Random(seed), import_module("killing").Damage(), import_module("shared_thread")
    context = multiprocessing.get_context("forkserver")
    for _ in range(n):
        with tempfile.TemporaryDirectory() as folder:
            where, sums, barrier = f"{folder}/t.sqlite", Path(folder) / "sums", context.Barrier(N_PROCESSES)
            with open_checkpointer(where) as saver:
                agent = create_umi_agent(ScriptedChatModel(script=[]), [], approvals=False, checkpointer=saver)
                agent.invoke(QUESTION, THREAD, interrupt_before=["planner"])
            processes = [
                context.Process(target=sharing.resume, args=(where, str(sums), False, barrier, patience_s))
                for patience_s in rng.choices([0.0, 600.0], k=N_PROCESSES)
            ]
            for process in processes:
                process.start()
            for process in processes:
                process.join(import_module("killing").HANG_S)
                damage.n_hangs += process.exitcode is None
                damage.n_lost += process.exitcode not in (0, sharing.IN_USE, None)
                process.kill()
            counts = Counter(sums.read_text().split())
            damage.n_kills += 1
            damage.n_doubled += sum(count > 1 for count in counts.values())
            with open_checkpointer(where) as saver:
                found: Any = saver.get_tuple(THREAD)
            damage.n_lost += len(counts) != 4 or found.checkpoint["channel_values"].get("finish") != "answer"
    yield "three processes resume one thread", damage


def inject_forks(n: int) -> Iterator[tuple[str, Any]]:
    """Run an agent with a coroutine tool, then another in a forked child, then one in the parent again."""
    damage, run_forked = import_module("killing").Damage(), import_module("tests.conftest").run_forked

    def run() -> str:
        did: list[int] = []

        async def pay(sum: int) -> str:
            """Pay."""
            did.append(sum)
            return "paid"

        plans = ["I pay.\nNext: caller.", "Done.\nNext: conclusion."]
        script: Any = {"planner": plans, "caller": ['Action: pay\nAction Input: {"sum": 1}'], "summarizer": ["Done."]}
        with tempfile.TemporaryDirectory() as folder, open_checkpointer(Path(folder) / "t.sqlite") as saver:
            agent = create_umi_agent(
                ScriptedChatModel(script=replay(script)), [pay], approvals=False, checkpointer=saver
            )
            result = agent.invoke(QUESTION, THREAD)
        (told,) = [message.text for message in result["messages"] if message.type == "tool"]
        return f"{result['finish']} {told} {did}"

    for _ in range(n):
        said = [run(), run_forked(run)[1], run()]
        damage.n_kills += 1
        damage.n_hangs += "" in said
        damage.n_lost += any(each not in ("", "answer paid [1]") for each in said)
    yield "process forks", damage


def make_pay(did: Counter[str]) -> Callable[..., str]:
    """Return a tool that counts what it does; no ledger hides what the gate lets through."""

    @declare_effects("none")
    def pay(to: str) -> str:
        """Pay."""
        did[to] += 1
        return "paid"

    return pay


def inject_detours(n: int, seed: int) -> Iterator[tuple[str, Any]]:
    """Send calls straight to the node of the tools, by `Command` and `Send`, at any moment of a thread."""
    rng, damage = random.Random(seed), import_module("killing").Damage()
    for _ in range(n):
        did: Counter[str] = Counter()
        plans = ["I pay.\nNext: caller.", "Done.\nNext: conclusion."] * 3
        script: Any = {"planner": plans, "caller": ['Action: pay\nAction Input: {"to": "x"}'] * 3}
        context = UmiContext(approve_tools=True, strategy=rng.choice(["react", "dfsdt"]))
        agent = create_umi_agent(
            ScriptedChatModel(script=replay({**script, "summarizer": ["Done."] * 3})),
            [make_pay(did)],
            defaults=context,
            approvals=False,
            checkpointer=InMemorySaver() if rng.random() < 0.8 else None,
        )
        task: dict[str, Any] = {"name": "pay", "arguments": {"to": rng.choice("xy")}, "id": "call_1", "approve": False}
        kind = rng.choice([None, "ask", "reject", "approve"]) if agent.checkpointer else None
        if kind:
            (question,) = agent.invoke(QUESTION, THREAD)["__interrupt__"]
            (action,) = question.value["action_requests"]
            task["id"] = rng.choice([action["tool_call_id"], action["id"], "call_9"])
            if kind != "ask":
                agent.invoke(Command(resume={"decisions": [{"id": action["id"], "type": kind}]}), THREAD)
        n_agreed = kind == "approve"
        damage.n_lost += did.total() != n_agreed
        goto = rng.choice([Send("tools", task), [Send("tools", task)] * 2, "tools"])
        with suppress(InputError):
            agent.invoke(Command(goto=goto, update=rng.choice([{"messages": "Pay."}, None])), THREAD)
        damage.n_kills += 1
        damage.n_unapproved += did.total() - n_agreed
    yield "Command and Send past the gate", damage
