"""What a tool returns beside its text: stored if it can be, else dropped with a word, and never the end of a thread."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import BaseMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from alpha_umi import create_umi_agent
from alpha_umi.graph.checkpointers import open_checkpointer
from alpha_umi.graph.factory import UmiAgent
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


def make_agent(artifact: Any, effects: Any, **options: Any) -> UmiAgent:
    @declare_effects(effects)
    @tool(response_format="content_and_artifact")
    def draw() -> tuple[str, Any]:
        """Draw."""
        return "drawn", artifact

    def write(role: Role, messages: list[BaseMessage]) -> str:
        if role == "caller":
            return "Action: draw\nAction Input: {}"
        is_drawn = messages[-1].role == "observation"  # type: ignore[attr-defined]
        return "Here." if role == "summarizer" else f"Next: {'conclusion' if is_drawn else 'caller'}."

    return create_umi_agent(ScriptedChatModel(script=write), [draw], **options)


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
