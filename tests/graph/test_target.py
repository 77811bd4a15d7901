"""The agent as a target of `langsmith.evaluate`; the whole loop is in tests/cli/test_eval_push.py."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

import alpha_umi
from alpha_umi import as_target, create_umi_agent, declare_effects
from alpha_umi.errors import InputError
from alpha_umi.nodes.models.scripted import Outputs, ScriptedChatModel, replay
from alpha_umi.tools.retrieval import ToolRetriever

SCRIPT: Outputs = {
    "planner": ["I add.\nNext: caller.", "I know.\nNext: conclusion."],
    "caller": ['Action: add\nAction Input: {"a": 2, "b": 3}'],
    "summarizer": ["The sum is 5."],
}
REQUEST = {"role": "user", "content": "What is 2 + 3?"}
DESCRIBED = {"type": "function", "function": {"name": "add", "description": "Add.", "parameters": {}}}


@declare_effects("none")
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def make_agent(*tools: Any, **more: Any) -> Any:
    return create_umi_agent(ScriptedChatModel(script=replay(SCRIPT)), tools, **more)


def strip(message: dict[str, Any]) -> dict[str, Any]:
    """Take off the ids of calls, which are drawn."""
    calls = [{key: call[key] for key in ("type", "function")} for call in message.get("tool_calls", ())]
    kept = {key: value for key, value in message.items() if key not in ("tool_calls", "tool_call_id")}
    return kept | ({"tool_calls": calls} if calls else {})


STEPS = [
    {
        "role": "assistant",
        "content": "I add.",
        "tool_calls": [{"type": "function", "function": {"name": "add", "arguments": '{"a": 2, "b": 3}'}}],
    },
    {"role": "tool", "name": "add", "content": "5"},
    {"role": "assistant", "content": "The sum is 5."},
]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("keeps", [False, True])
def test_target_gives_answer_messages_and_usage(is_async: bool, keeps: bool) -> None:
    saver = InMemorySaver()
    target = as_target(make_agent(add, checkpointer=saver if keeps else None))
    inputs = {"messages": [REQUEST], "tools": [DESCRIBED]}
    outputs = asyncio.run(target.ainvoke(inputs)) if is_async else target.invoke(inputs)
    assert [strip(message) for message in outputs.pop("messages")] == [REQUEST, *STEPS]
    usage = outputs.pop("usage")
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0
    assert outputs == {"answer": "The sum is 5.", "finish": "answer", "reason": None}
    assert not list(saver.list(None))


@pytest.mark.parametrize("keeps", [False, True])
def test_follow_ups_are_turns_of_one_thread_and_examples_are_not(keeps: bool) -> None:
    model = ScriptedChatModel(script=replay(SCRIPT))
    agent = create_umi_agent(model, [add], checkpointer=InMemorySaver() if keeps else None)
    target = as_target(agent)
    inputs = {"messages": "What is 2 + 3?", "follow_ups": ["Once more!", "And again!"]}
    once = target.invoke({"messages": "What is 2 + 3?"})
    for outputs in (target.invoke(inputs), target.invoke(inputs)):
        turns = [{"role": "user", "content": text} for text in ("What is 2 + 3?", "Once more!", "And again!")]
        assert [strip(message) for message in outputs["messages"]] == [
            each for turn in turns for each in (turn, *STEPS)
        ]
        assert outputs["usage"]["output_tokens"] == 3 * once["usage"]["output_tokens"]


def test_tools_are_offered_by_example() -> None:
    def multiply(a: int, b: int) -> int:
        """Multiply two numbers."""
        return a * b

    multiply.__name__ = "add"
    ran: list[str] = []

    def book(n: int) -> str:
        """Book seats; nobody declares what it does."""
        ran.append("booked")
        return "booked"

    script = {**SCRIPT, "caller": ['Action: book\nAction Input: {"n": 1}']}
    target = as_target(make_agent(add, checkpointer=InMemorySaver()), lambda inputs: [inputs["other"]])
    assert target.invoke({"messages": "2 and 3?", "other": multiply})["messages"][2]["content"] == "6"
    assert target.invoke({"messages": "2 and 3?", "other": add})["messages"][2]["content"] == "5"
    agent = create_umi_agent(ScriptedChatModel(script=replay(script)), [add], checkpointer=InMemorySaver())
    assert as_target(agent, lambda _: [book]).invoke({"messages": "Book!"})["finish"] == "answer"
    assert ran == ["booked"]  # what stands in for tools asks nobody


def test_bounds_and_settings_hold_for_other_tools() -> None:
    toolbox = alpha_umi.Toolbox([add], max_observation_chars=100)
    agent = make_agent().remake(toolbox.with_tools([add]))
    assert (agent.toolbox.max_observation_chars, agent.toolbox.names) == (100, ("add",))
    searching = make_agent(add, strategy="dfsdt")
    assert searching.remake(toolbox).invoke({"messages": "2 + 3?"}, output_keys=["tree"])["tree"] is not None


def test_tools_are_searched_where_they_stand_in_for_the_agents() -> None:
    toolbox = alpha_umi.Toolbox([add])
    retriever = ToolRetriever(toolbox.specs, top_k=1)
    agent: Any = create_umi_agent(ScriptedChatModel(script=replay(SCRIPT)), toolbox, retriever=retriever)

    def subtract(a: int, b: int) -> int:
        """Subtract two numbers."""
        return a - b

    for tools, offered in (([add], ["find_tools", "add"]), ([subtract, add], None)):
        state = agent.remake(toolbox.with_tools(tools)).invoke({"messages": "2 + 3?"}, output_keys=["offered"])
        assert state["offered"] == offered


def test_tools_that_the_agent_lacks_are_named() -> None:
    with pytest.raises(InputError, match=r"does not have \(add\).*EvalSuite"):
        as_target(make_agent()).invoke({"messages": "2 + 3?", "tools": [DESCRIBED]})


def test_calls_that_wait_for_a_person_are_told() -> None:
    def book(n: int) -> str:
        """Book seats; nobody declares what it does."""
        raise AssertionError

    script = {**SCRIPT, "caller": ['Action: book\nAction Input: {"n": 1}']}
    agent = create_umi_agent(ScriptedChatModel(script=replay(script)), [book], checkpointer=InMemorySaver())
    with pytest.raises(InputError, match=r"decision on calls of book.*as_target\(agent, tools=…\)"):
        as_target(agent).invoke({"messages": "Book!"})


def test_inputs_without_messages_are_told() -> None:
    with pytest.raises(InputError, match="no 'messages', but question"):
        as_target(make_agent()).invoke({"question": "2 + 3?"})
