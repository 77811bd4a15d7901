"""What happens while the agent runs, for whoever shows it: a terminal, a page.

One reader of LangGraph's streams for all of them; what is shown, and how, is theirs.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from uuid import uuid4

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.types import Command, Interrupt

from alpha_umi.graph.embed import UmiAgent
from alpha_umi.nodes.format.shown import read_shown
from alpha_umi.nodes.format.trajectory import ROLES, Role
from alpha_umi.nodes.state import TreeNode, UmiContext

_SEARCH_NODE = "dfsdt"
_OBSERVING = ("caller", "approval", "tools")
"""The nodes that write observations; a strategy's own nodes hand old ones on."""


@dataclass(frozen=True, slots=True)
class Words:
    """A role goes on writing."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Begun:
    """A node begins to work; `tool` is what it runs."""

    node: str
    tool: str | None


@dataclass(frozen=True, slots=True)
class Observed:
    """A call has its observation; with `is_one_of_many` its step has others."""

    message: ToolMessage
    is_one_of_many: bool


@dataclass(frozen=True, slots=True)
class Moved:
    """A search has made a move: nodes that are new or have changed, and the node where it goes on."""

    nodes: Sequence[TreeNode]
    cursor: int


@dataclass(frozen=True, slots=True)
class Saved:
    """A step is done. The values are all that the agent returns or, where not `is_whole`, the state of its search."""

    values: Mapping[str, Any]
    interrupts: tuple[Interrupt, ...]
    is_whole: bool


Event: TypeAlias = Words | Begun | Observed | Moved | Saved


def make_input(question: str | None) -> Any:
    """Return what a run is given: a question, or None to go on with a turn that was stopped."""
    return None if question is None else {"messages": [HumanMessage(question, id=str(uuid4()))]}


def make_resume(answers: Mapping[str, Any], asked: Sequence[Interrupt]) -> Command[Any]:
    """Return what a run is resumed with: answers by the ids of the questions, to some of those that are asked.

    LangGraph keeps an answer without the question's id until the next one: it has to be replaced.
    """
    return Command(resume={**answers} if len(asked) > 1 else next(iter(answers.values())))


async def stream_events(
    agent: UmiAgent, value: Any, config: RunnableConfig, context: UmiContext
) -> AsyncGenerator[Event, None]:
    """Run the agent and say what happens; a run that is stopped has lost no finished step.

    Args:
        agent: It has a checkpointer.
        value: Of `make_input` or `make_resume`.
        config: Names the thread.
        context: The run's settings.
    """
    observing = _Observing()
    parts = agent.astream(
        value,
        config,
        context=context,
        stream_mode=["messages", "tasks", "values", "custom"],
        subgraphs=True,
        durability="sync",
        version="v2",
    )
    async with aclosing(parts):  # type: ignore[type-var]  # typed as an iterator, is a generator
        async for part in parts:
            for event in _read(part, observing):
                yield event


def _read(part: Mapping[str, Any], observing: _Observing) -> Sequence[Event]:
    kind, data = part["type"], part["data"]
    if kind == "messages":
        return _read_words(*data)
    if kind == "tasks":
        return observing.take(data)
    if kind == "values":
        return [Saved(data, part["interrupts"], not part["ns"])] if _is_own(part["ns"]) else []
    tree = data.get("tree") if isinstance(data, dict) else None  # a tool's own events are not shown
    return [Moved(tree["nodes"], tree["cursor"])] if tree else []


def _is_own(namespace: Sequence[str]) -> bool:
    """Tell whether a state is that of the agent or of its search; a tool may be a graph too."""
    return not namespace or (len(namespace) == 1 and namespace[0].partition(":")[0] == _SEARCH_NODE)


def _read_words(message: AnyMessage, metadata: Mapping[str, Any]) -> Sequence[Event]:
    node = metadata["langgraph_node"]
    if node in ROLES and isinstance(message, AIMessage) and (text := read_shown(message, node)):
        return [Words(node, text)]
    return []


@dataclass
class _Observing:
    """Puts the observations of a step into the order of its calls.

    `running` is what tasks of a step have observed, in the order of the calls; None while one runs.
    """

    running: dict[str, list[ToolMessage] | None] = field(default_factory=dict)
    are_many: bool = False

    def take(self, task: Mapping[str, Any]) -> Sequence[Event]:
        if "result" not in task:
            self.running[task["id"]] = None
            return [Begun(task["name"], task["input"]["name"] if task["name"] == "tools" else None)]
        found = task["result"].get("messages", []) if task["name"] in _OBSERVING else []
        self.running[task["id"]] = [message for message in found if isinstance(message, ToolMessage)]
        self.are_many |= len(self.running) > 1
        observed = [Observed(message, self.are_many) for message in self._release()]
        self.are_many &= bool(self.running)
        return observed

    def _release(self) -> list[ToolMessage]:
        """Return what nothing before it is waited for."""
        released: list[ToolMessage] = []
        while self.running and (messages := next(iter(self.running.values()))) is not None:
            del self.running[next(iter(self.running))]
            released += messages
        return released
