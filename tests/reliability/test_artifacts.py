"""What a tool returns beside its text: stored if it can be, else dropped with a word, and never the end of a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt

from alpha_umi import create_umi_agent
from alpha_umi.graph.checkpointers import open_checkpointer
from alpha_umi.graph.embed import UmiAgent
from alpha_umi.nodes.durability.checkpointers import StorableSerializer
from alpha_umi.nodes.format.trajectory import Role
from alpha_umi.nodes.models.scripted import ScriptedChatModel
from alpha_umi.tools import declare_effects

QUESTION: Any = {"messages": "Draw."}
THREAD: Any = {"configurable": {"thread_id": "1"}}


class Handle:
    """What no serializer knows."""


def make_endless() -> list[Any]:
    endless: list[Any] = []
    endless.append(endless)
    return endless


UNSTORABLE = [Handle(), {"a": [Handle()]}, threading.Lock(), lambda: 1, 2**80, make_endless(), (n for n in "ab")]
STORABLE = [{"points": [1, 2.5, None]}, b"\x00\xff", {3: "x"}, Path("a")]


def make_agent(
    artifact: Any, effects: Any, say: Callable[[], str] = lambda: "drawn", *, checkpointer: Any = None
) -> UmiAgent:
    @declare_effects(effects)
    @tool(response_format="content_and_artifact")
    def draw() -> tuple[str, Any]:
        """Draw."""
        return say(), artifact

    def write(role: Role, messages: list[BaseMessage]) -> str:
        if role == "caller":
            return "Action: draw\nAction Input: {}"
        is_drawn = messages[-1].role == "observation"  # type: ignore[attr-defined]
        return "Here." if role == "summarizer" else f"Next: {'conclusion' if is_drawn else 'caller'}."

    return create_umi_agent(ScriptedChatModel(script=write), [draw], approvals=False, checkpointer=checkpointer)


def find_result(state: Any) -> ToolMessage:
    (message,) = (message for message in state["messages"] if isinstance(message, ToolMessage))
    return message


@pytest.mark.parametrize("effects", ["none", "once"])
@pytest.mark.parametrize("where", ["memory", "file", "around"])
def test_artifact_that_cannot_be_stored_is_dropped_with_a_word(
    effects: str, where: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened = open_checkpointer(tmp_path / "t.sqlite") if where == "file" else nullcontext(InMemorySaver())
    with opened as saver:
        for i, artifact in enumerate(UNSTORABLE):
            caplog.clear()
            agent: Any = make_agent(artifact, effects, checkpointer=None if where == "around" else saver)
            if where == "around":
                agent = StateGraph(MessagesState).add_node("umi", agent).add_edge(START, "umi").compile(saver)
            config: Any = {"configurable": {"thread_id": str(i)}}
            agent.invoke(QUESTION, config)
            state = agent.get_state(config).values
            assert state["messages"][-1].text == "Here."
            message = find_result(state)
            assert (message.text, message.artifact) == ("drawn", None)
            why = message.additional_kwargs["artifact_dropped"]
            assert f"of draw, a {type(artifact).__name__}, was dropped" in why
            assert why in caplog.messages


@pytest.mark.parametrize("artifact", STORABLE, ids=repr)
def test_artifact_that_can_be_stored_is(artifact: Any) -> None:
    agent = make_agent(artifact, "once", checkpointer=InMemorySaver())
    agent.invoke(QUESTION, THREAD)
    message = find_result(agent.get_state(THREAD).values)
    assert (message.artifact, message.additional_kwargs) == (artifact, {})


async def test_artifact_is_as_it_was_where_nothing_is_stored() -> None:
    handle = Handle()
    assert find_result(await make_agent(handle, "once").ainvoke(QUESTION)).artifact is handle


FOREIGN: dict[str, Any] = {
    "kwargs": [HumanMessage("a"), AIMessage("b", response_metadata={"x": Handle()}), HumanMessage("c")],
    "block": [HumanMessage([{"type": "text", "text": "a"}, {"type": "image", "data": Handle()}])],
    "artifact": [
        AIMessage("b", id="b", name="n"),
        ToolMessage("x", tool_call_id="1", artifact=Handle()),
        HumanMessage("a"),
    ],
    "as dictionary": [{"role": "user", "content": "a", "x": {1: [Handle(), 2**80]}}],
    "arguments": [
        HumanMessage("a"),
        AIMessage("", tool_calls=[{"name": "draw", "args": {"a": Handle(), "b": date(2026, 1, 1)}, "id": "1"}]),
        ToolMessage("x", tool_call_id="1"),
        HumanMessage("b"),
    ],
}


@pytest.mark.parametrize("given", FOREIGN)
@pytest.mark.parametrize("where", ["memory", "file"])
def test_foreign_objects_that_a_caller_passes_do_not_end_a_thread(
    where: str, given: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened = open_checkpointer(tmp_path / "t.sqlite") if where == "file" else nullcontext(InMemorySaver())
    with opened as saver:
        agent: Any = make_agent(None, "none", checkpointer=saver)
        for question in (FOREIGN[given], "Draw again."):
            assert agent.invoke({"messages": question}, THREAD)["answer"] == "Here."
        state = agent.get_state(THREAD).values
        assert "Handle, not stored" in str(state)
        assert len(state["messages"]) == len(FOREIGN[given]) + 7
    assert any("Handle" in line and "cannot be stored" in line for line in caplog.messages)


@pytest.mark.parametrize("where", ["alone", "around"])
async def test_questions_and_answers_that_cannot_be_stored_do_not_end_a_thread(where: str) -> None:
    def ask() -> str:
        """Ask a person."""
        return f"The answer is a {type(interrupt({'question': 'Which?', 'about': Handle()})).__name__}."

    saver = InMemorySaver()
    for i, is_async in enumerate((False, True)):
        agent: Any = make_agent(None, "none", ask, checkpointer=None if where == "around" else saver)
        if where == "around":
            agent = StateGraph(MessagesState).add_node("umi", agent).add_edge(START, "umi").compile(saver)
        config: Any = {"configurable": {"thread_id": str(i)}}
        answer: Any = Command(resume=Handle() if where == "alone" else 1)
        for given in (QUESTION, answer):
            result = await agent.ainvoke(given, config) if is_async else agent.invoke(given, config)
            if given is QUESTION:
                assert result["__interrupt__"][0].value == {"question": "Which?", "about": "(Handle, not stored)"}
        assert result["messages"][-1].text == "Here."


def test_numbers_of_other_libraries_are_stored_as_numbers() -> None:
    value = {"a": np.float32(1.5), "b": (np.int64(3), 2**80), "c": {1j}}
    stored = StorableSerializer(JsonPlusSerializer())
    assert stored.loads_typed(stored.dumps_typed(value)) == {
        "a": 1.5,
        "b": [3, "(int, not stored)"],
        "c": ["(complex, not stored)"],
    }
