"""The agent as what `langsmith.evaluate` and `aevaluate` measure: one example's inputs in, what it did out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any, TypeAlias
from uuid import uuid4

from langchain_core.messages import HumanMessage
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import merge_configs
from langgraph.checkpoint.memory import InMemorySaver

from alpha_umi.errors import InputError
from alpha_umi.graph.embed import UmiAgent, list_asked
from alpha_umi.nodes.format.openai_messages import to_openai
from alpha_umi.nodes.format.trajectory import Trajectory
from alpha_umi.nodes.state import UmiInput
from alpha_umi.tools.convert import ToolLike

OfferTools: TypeAlias = Callable[[Mapping[str, Any]], Sequence[ToolLike]]

_OUTPUT = ["messages", "answer", "finish", "reason", "usage"]


def as_target(agent: UmiAgent, tools: OfferTools | None = None) -> Runnable[dict[str, Any], dict[str, Any]]:
    """Make a target for `langsmith.evaluate` and `aevaluate` of the agent.

    The inputs of an example are ``messages``, the request in any form that the agent takes, and, where there is more
    than one turn, ``follow_ups``, a text for each. The outputs are ``answer``, ``finish`` and ``reason`` of the last
    turn, the tokens of all turns as ``usage``, and ``messages``, the trajectory in OpenAI's form
    (`alpha_umi.nodes.format.openai_messages`), as trajectory evaluators take it. Each example has a thread of its own,
    which is kept nowhere.

    Args:
        agent: The compiled agent.
        tools: Returns the tools that an example offers, by its inputs; they run unasked, in the place of the agent's
            own. None: the agent's own tools.

    Raises:
        InputError: At a call, if the inputs cannot be read, if they bring tools that the agent does not have, or if a
            person has to decide on a call.
    """
    return _Target(agent, tools)


class _Target(Runnable[dict[str, Any], dict[str, Any]]):
    def __init__(self, agent: UmiAgent, tools: OfferTools | None) -> None:
        self._agent = agent
        self._tools = tools

    def invoke(self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any) -> dict[str, Any]:
        """Let the agent answer one example."""
        talk = _Talk(*self._prepare(input), config)
        for question in talk.ask():
            talk.state = talk.agent.invoke(question, talk.config, output_keys=_OUTPUT, **kwargs)
        return talk.read()

    async def ainvoke(
        self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Let the agent answer one example."""
        talk = _Talk(*self._prepare(input), config)
        for question in talk.ask():
            talk.state = await talk.agent.ainvoke(question, talk.config, output_keys=_OUTPUT, **kwargs)
        return talk.read()

    def _prepare(self, inputs: Mapping[str, Any]) -> tuple[UmiAgent, Mapping[str, Any]]:
        if not inputs.get("messages"):
            raise InputError(f"The example has no 'messages', but {', '.join(inputs) or 'nothing'}; see as_target.")
        agent = self._agent
        if self._tools is not None:
            agent = agent.remake(agent.toolbox.with_tools(self._tools(inputs)))
        elif missing := [name for name in _list_names(inputs) if name not in agent.toolbox.names]:
            raise InputError(
                f"The example brings tools that the agent does not have ({', '.join(missing)}). Give "
                "as_target(agent, tools=…) what makes them, such as EvalSuite(…).make_tools."
            )
        keeps = agent.checkpointer or self._tools is not None  # without one nobody is asked, and nothing waits
        return agent.copy(update={"checkpointer": InMemorySaver() if keeps else None}), inputs


def _list_names(inputs: Mapping[str, Any]) -> list[str]:
    tools = [each.get("function", each) for each in inputs.get("tools") or () if isinstance(each, Mapping)]
    return [str(each.get("name")) for each in tools]


class _Talk:
    """The turns of one example: what is asked, and what came of it."""

    def __init__(self, agent: UmiAgent, inputs: Mapping[str, Any], config: RunnableConfig | None) -> None:
        self.agent = agent
        self.config = merge_configs(config, {"configurable": {"thread_id": str(uuid4())}})
        self.state: dict[str, Any] = {}
        self._inputs = inputs
        self._usages: list[UsageMetadata] = []

    def ask(self) -> Iterator[UmiInput]:
        """Yield the input of one turn after the other; each is to leave the agent's state in `state`."""
        yield from self._turn({"messages": self._inputs["messages"]})
        for text in self._inputs.get("follow_ups") or ():
            known = [] if self.agent.checkpointer else self.state["messages"]
            yield from self._turn({"messages": [*known, HumanMessage(text)]})

    def _turn(self, question: UmiInput) -> Iterator[UmiInput]:
        yield question
        if names := list_asked(self.state):
            raise InputError(
                f"The agent waits for a person's decision on calls of {names}, whom an evaluation cannot ask. Let such "
                "calls run by its approvals, or give as_target(agent, tools=…) tools that stand in for them."
            )
        if usage := self.state.get("usage"):
            self._usages.append(usage)

    def read(self) -> dict[str, Any]:
        """Return the outputs."""
        trajectory = Trajectory.from_messages(self.state["messages"])
        told = {name: self.state.get(name) for name in ("answer", "finish", "reason")}
        usage = reduce(add_usage, self._usages) if self._usages else None
        return {**told, "messages": to_openai(trajectory), "usage": usage}
