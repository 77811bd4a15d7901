"""A call that cannot run is a tool run with an error to whoever listens, asked about or not."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver

from alpha_umi import create_umi_agent
from alpha_umi.nodes.models.scripted import ScriptedChatModel


class Listener(BaseCallbackHandler):
    """Notes the runs of tools that began, and how they failed."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_tool_start(self, serialized: dict[str, Any], input_str: str, **_: Any) -> None:
        self.seen.append(serialized["name"])

    def on_tool_error(self, error: BaseException, **_: Any) -> None:
        self.seen.append(str(error))


def pay(sum: int) -> str:
    """Pay a sum."""
    return f"Paid {sum}."


@pytest.mark.parametrize("approvals", [None, False])
@pytest.mark.parametrize("call", ['pay\nAction Input: {"sum": "much"}', "steal\nAction Input: {}"])
def test_a_call_that_cannot_run_is_seen_by_callbacks(approvals: Any, call: str) -> None:
    script = {"planner": ["I pay.\nNext: caller.", "No.\nNext: give up."], "caller": [f"Action: {call}"]}
    agent = create_umi_agent(
        ScriptedChatModel(script=script),  # type: ignore[arg-type]  # roles as plain texts
        [pay],
        approvals=approvals,
        checkpointer=InMemorySaver(),
    )
    listener = Listener()
    config: RunnableConfig = {"configurable": {"thread_id": "t"}, "callbacks": [listener]}
    result = agent.invoke({"messages": [HumanMessage("Pay.")]}, config)
    assert result["finish"] == "give up"
    assert listener.seen[0] == call.partition("\n")[0]
    assert len(listener.seen) == 2
