"""In one turn, a call that must not run twice runs once, whatever the model decides."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from alpha_umi import UmiContext, create_umi_agent
from alpha_umi.graph.embed import UmiAgent
from alpha_umi.nodes.models.scripted import ScriptedChatModel
from alpha_umi.tools import declare_effects

THREAD: RunnableConfig = {"configurable": {"thread_id": "t"}}
QUESTION: Any = {"messages": [{"role": "user", "content": "Pay."}]}
NO_GUARD = UmiContext(repeat_limit=None, failure_limit=None)
STRATEGIES = ["react", "dfsdt"]
CALL, END, GIVE_UP = "I go on.\nNext: caller.", "Done.\nNext: conclusion.", "No way.\nNext: give up."


class Shop:
    """Tools that note what they did."""

    def __init__(self) -> None:
        self.did: list[str] = []

    def pay(self, sum: int, to: str = "me") -> str:
        """Pay a sum."""
        self.did.append(f"pay {sum}")
        if sum < 0:
            raise RuntimeError("no such sum")
        return f"{sum} is paid."

    @declare_effects("none")
    def look(self, at: str) -> str:
        """Look at something."""
        self.did.append(f"look {at}")
        return f"{at} is there."

    @declare_effects("idempotent")
    def set(self, to: int) -> str:
        """Set a value."""
        self.did.append(f"set {to}")
        return "It is set."


def call(name: str, **arguments: Any) -> str:
    return f"Action: {name}\nAction Input: {json.dumps(arguments)}"


def build(plans: Sequence[str], calls: Sequence[str], **options: Any) -> tuple[UmiAgent, Shop]:
    shop = Shop()
    model = ScriptedChatModel(script={"planner": plans, "caller": calls, "summarizer": ["Done."] * 2})
    options = {"defaults": NO_GUARD, **options}
    return create_umi_agent(model, [shop.pay, shop.look, shop.set], **{"approvals": False, **options}), shop


def observe(result: Any) -> list[tuple[str, str]]:
    return [(message.status, message.text) for message in result["messages"] if isinstance(message, ToolMessage)]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("limit", [None, 2])
def test_repeated_call_is_answered_with_what_came_out_of_it(strategy: Any, limit: int | None) -> None:
    calls = [call("pay", sum=1, to="a"), call("look", at="x"), 'Action: pay\nAction Input: {"to": "a",  "sum": 1}']
    defaults = UmiContext(repeat_limit=limit)
    agent, shop = build([*[CALL] * 3, END], calls, strategy=strategy, defaults=defaults)
    result = agent.invoke(QUESTION)
    assert shop.did == ["pay 1", "look x"]
    if limit is None or strategy == "react":
        status, text = observe(result)[2]
        assert status == "success"
        assert "did not run again" in text
        assert text.endswith("1 is paid.")


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_repeated_call_is_not_run_async(strategy: Any) -> None:
    agent, shop = build([CALL, CALL, END], [call("pay", sum=1)] * 2, strategy=strategy)
    await agent.ainvoke(QUESTION)
    assert shop.did == ["pay 1"]


@pytest.mark.parametrize(
    ("calls", "did"),
    [
        ([call("pay", sum=1), call("pay", sum=2)], ["pay 1", "pay 2"]),
        ([call("look", at="x")] * 2, ["look x"] * 2),
        ([call("set", to=1)] * 2, ["set 1"] * 2),
        ([call("pay", sum=-1)] * 2, ["pay -1"]),  # it failed, but who knows how far it came
        ([call("pay"), call("pay", sum=1)], ["pay 1"]),  # the first one never ran
        ([f"{call('pay', sum=1)}\n{call('pay', sum=1)}", call("look", at="x")], ["pay 1", "look x"]),
    ],
)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_only_what_must_not_run_twice_and_did_run_is_held_back(strategy: Any, calls: list[str], did: list[str]) -> None:
    agent, shop = build([CALL, CALL, END], calls, strategy=strategy)
    agent.invoke(QUESTION)
    assert shop.did == did


def test_a_call_that_was_refused_twice_is_told_twice_what_is_wrong() -> None:
    agent, _ = build([CALL, CALL, END], [call("pay", sum="x")] * 2)
    assert [text.partition("\n")[0] for _, text in observe(agent.invoke(QUESTION))] == [
        "The arguments of pay are wrong:"
    ] * 2


def test_chain_that_begins_afresh_does_not_repeat_a_call() -> None:
    agent, shop = build(
        [CALL, GIVE_UP, CALL, END], [call("pay", sum=1)] * 2, defaults=UmiContext(max_restarts=1, repeat_limit=None)
    )
    result = agent.invoke(QUESTION)
    assert shop.did == ["pay 1"]
    assert observe(result)[0][1].endswith("1 is paid.")


def test_other_branch_of_a_search_does_not_repeat_a_call() -> None:
    calls = [call("pay", sum=1), call("look", at="x"), call("pay", sum=1)]
    agent, shop = build([CALL, GIVE_UP, CALL, CALL, END], calls, strategy="dfsdt")
    result = agent.invoke(QUESTION)
    assert shop.did == ["pay 1", "look x"]
    assert observe(result)[-1][1].endswith("1 is paid.")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_next_turn_may_make_the_call_again(strategy: Any) -> None:
    agent, shop = build([CALL, END] * 2, [call("pay", sum=1)] * 2, strategy=strategy, checkpointer=InMemorySaver())
    agent.invoke(QUESTION, THREAD)
    agent.invoke(QUESTION, THREAD)
    assert shop.did == ["pay 1"] * 2


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_nobody_is_asked_about_a_call_that_ran(strategy: Any) -> None:
    agent, shop = build(
        [CALL, CALL, END], [call("pay", sum=1)] * 2, strategy=strategy, approvals=True, checkpointer=InMemorySaver()
    )
    asked = agent.invoke(QUESTION, THREAD)
    (action,) = asked["__interrupt__"][0].value["action_requests"]
    result = agent.invoke(Command(resume={"decisions": [{"id": action["id"], "type": "approve"}]}), THREAD)
    assert "__interrupt__" not in result
    assert shop.did == ["pay 1"]
