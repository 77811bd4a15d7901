"""The no-progress guard in a chain: noticed, told once, then ended with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver

from alpha_umi import UmiContext, create_umi_agent
from alpha_umi.graph.embed import UmiAgent
from alpha_umi.nodes.give_up import find_stall, has_result
from alpha_umi.nodes.models.scripted import ScriptedChatModel
from tests.graph.maze import QUESTION, is_hint, look

CONFIG: RunnableConfig = {"configurable": {"thread_id": "t"}}
LIMITS = {"repeat_limit": 2, "failure_limit": 3}
GO, END = "I look.\nNext: caller.", "I know.\nNext: conclusion."


def call(place: str) -> str:
    return f'Action: look\nAction Input: {{"place": "{place}"}}'


def run(planner: Sequence[str], places: Sequence[str], **limits: Any) -> tuple[UmiAgent, ScriptedChatModel, Any]:
    script: Any = {"planner": planner, "caller": [*map(call, places)], "summarizer": ["There."]}
    model = ScriptedChatModel(script=script)
    agent = create_umi_agent(
        model, [look], defaults=UmiContext(**limits), approvals=False, checkpointer=InMemorySaver()
    )
    return agent, model, agent.invoke(QUESTION, CONFIG)


def list_hints(model: ScriptedChatModel) -> list[str]:
    return [request.messages[-1].text for request in model.requests if is_hint(request.messages[-1])]


def make_turn(*steps: tuple[str, str]) -> list[Any]:
    """Return a transcript of calls ``(place, status)``."""
    messages: list[Any] = [HumanMessage("q")]
    for i, (place, status) in enumerate(steps):
        messages.append(AIMessage("", tool_calls=[{"name": "look", "args": {"place": place}, "id": str(i)}]))
        messages.append(ToolMessage("x", tool_call_id=str(i), status=status))
    return messages


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([], None),
        ([("a", "success"), ("b", "success")], None),
        ([("a", "success"), ("a", "success")], "2 times"),
        ([("a", "success"), ("b", "success"), ("a", "success")], "2 times"),
        ([("a", "success"), ("a", "success"), ("b", "success")], None),  # only the newest step counts
        ([("a", "error"), ("b", "error"), ("c", "error")], "last 3 calls failed"),
        ([("a", "error"), ("b", "success"), ("c", "error"), ("d", "error")], None),
    ],
)
def test_guard_finds_repetitions_and_failures(steps: list[tuple[str, str]], expected: str | None) -> None:
    found = find_stall(make_turn(*steps), LIMITS)
    assert (found is None) if expected is None else (expected in (found or ""))


def test_guard_looks_at_the_present_turn_only() -> None:
    messages = [*make_turn(("a", "success")), *make_turn(("a", "success"))]
    assert find_stall(messages, LIMITS) is None
    assert not has_result([*make_turn(("a", "success")), HumanMessage("q")])


def test_guard_limits_of_none_are_off() -> None:
    messages = make_turn(*[("a", "error")] * 9)
    assert find_stall(messages, {"repeat_limit": None, "failure_limit": None}) is None


def test_guard_tells_the_planner_once_and_it_may_go_on() -> None:
    agent, model, result = run([GO] * 3 + [END], ["attic", "attic", "cellar"])
    assert (result["finish"], result["answer"]) == ("answer", "There.")
    (hint,) = list_hints(model)
    assert "look" in hint
    assert "2 times with the same arguments" in hint
    assert agent.get_state(CONFIG).values["stall"]["told_at_step"] == 2
    assert "2 times" not in str(result["messages"])


def test_guard_concludes_when_the_planner_does_not_listen() -> None:
    agent, model, result = run([GO] * 4, ["attic"] * 3)
    assert (result["finish"], result["answer"]) == ("no progress", "There.")
    assert "3 times with the same arguments" in result["reason"]
    assert len(list_hints(model)) == 1
    assert "3 times" in agent.get_state(CONFIG).values["stall"]["reason"]


def test_guard_gives_up_when_nothing_ever_worked() -> None:
    _, model, result = run([GO] * 6, ["fire"] * 5, repeat_limit=None)
    assert (result["finish"], result["answer"]) == ("give up", None)
    assert "4 calls failed" in result["reason"]
    assert "too hot" in result["reason"]
    assert len(list_hints(model)) == 1


def test_guard_repeats_the_hint_for_a_plan_without_decision() -> None:
    _, model, result = run([GO, GO, "Hm.", END], ["attic"] * 2)
    assert result["finish"] == "answer"
    assert len(list_hints(model)) == 2


def test_guard_can_be_turned_off() -> None:
    _, model, result = run([GO] * 5 + [END], ["attic"] * 5, repeat_limit=None, failure_limit=None)
    assert result["finish"] == "answer"
    assert list_hints(model) == []


def test_guard_begins_anew_with_each_turn() -> None:
    agent, _, _ = run([GO, GO, END, END], ["attic"] * 2)
    agent.update_state(CONFIG, {})
    assert agent.get_state(CONFIG).values["stall"] is not None
    model = ScriptedChatModel(script={"planner": [END], "summarizer": ["Still there."]})
    again = create_umi_agent(model, [look], approvals=False, checkpointer=agent.checkpointer)
    again.invoke({"messages": [HumanMessage("And now?")]}, CONFIG)
    assert again.get_state(CONFIG).values["stall"] is None
