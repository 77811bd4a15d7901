"""The agent inside other LangChain apps: as a tool, and in an LCEL pipe.

`agent.as_tool()` of LangGraph needs a flat input and cannot be used on a graph over messages; `as_tool` here can.
"""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tools import StructuredTool

from alpha_umi.graph.factory import UmiAgent
from alpha_umi.nodes.state import UmiInput

_DESCRIPTION = "Answers a question by planning and calling tools. Give it one complete question in plain words."


def as_tool(agent: UmiAgent, *, name: str = "alpha_umi", description: str = _DESCRIPTION) -> StructuredTool:
    """Offer the agent to another agent: query in, answer out.

    Args:
        agent: The compiled agent.
        name: Tool name as the other agent sees it.
        description: Tells the other agent when to use it.
    """
    runnable = as_runnable(agent)

    def ask(query: str) -> str:
        return runnable.invoke(query).text

    async def ask_async(query: str) -> str:
        return (await runnable.ainvoke(query)).text

    return StructuredTool.from_function(ask, ask_async, name=name, description=description)


def as_runnable(agent: UmiAgent) -> Runnable[LanguageModelInput, AIMessage]:
    """Give the agent the interface of a chat model, for LCEL pipes between a prompt and a parser.

    The message's `text` is the answer, or why there is none; `response_metadata` holds `finish` and `reason`.
    """
    values = agent.copy(update={"stream_mode": "values"})
    return RunnableLambda(_make_input) | values | RunnableLambda(_read_output)


def _make_input(value: LanguageModelInput) -> UmiInput:
    messages: Any = value.to_messages() if isinstance(value, PromptValue) else value
    return {"messages": messages}


def _read_output(state: dict[str, Any]) -> AIMessage:
    """Make one message of the final state; streamed states without an end give an empty one."""
    finish, reason = state.get("finish"), state.get("reason")
    text = state.get("answer") or (f"No answer: {reason}" if finish else "")
    last: BaseMessage | None = state["messages"][-1] if state.get("messages") else None
    return AIMessage(
        text,
        response_metadata={"finish": finish, "reason": reason},
        usage_metadata=last.usage_metadata if isinstance(last, AIMessage) else None,
    )
