"""Before a long thread fills a model's window: which old turns its prompts no longer hold.

The state keeps all messages. Only where the prompts begin is noted there, so that they begin alike until the thread has
grown again, also after a reload and in a fork.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage
from langchain_core.runnables import RunnableConfig

from alpha_umi.nodes.format.history import find_first_turn, measure_turns
from alpha_umi.nodes.format.trajectory import Role, Trajectory
from alpha_umi.nodes.models.request import PromptSize, RoleRequest
from alpha_umi.nodes.state import History, Shortened, UmiState
from alpha_umi.tools.spec import ToolSpec

T = TypeVar("T")
Measure: TypeAlias = Callable[[Trajectory], PromptSize]


@dataclass(frozen=True, slots=True)
class Ask:
    """A call of a chat model, for whoever runs the work of a node."""

    model: BaseChatModel
    request: RoleRequest
    config: RunnableConfig

    def run(self) -> AIMessage:
        """Return the reply."""
        return self.model.invoke(self.request.messages, self.config, **self.request.kwargs)

    async def arun(self) -> AIMessage:
        """Return the reply."""
        return await self.model.ainvoke(self.request.messages, self.config, **self.request.kwargs)


@dataclass(frozen=True, slots=True)
class Compute:
    """A function that may wait for a model, such as for its tokenizer."""

    function: Callable[[], Any]

    def run(self) -> Any:
        """Return its value."""
        return self.function()

    async def arun(self) -> Any:
        """Return its value, computed outside the event loop."""
        return await asyncio.to_thread(self.function)


Work: TypeAlias = Generator[Ask | Compute, Any, T]
"""What a node does, as the calls that it waits for; so it is the same in sync and async runs."""


def read_thread(state: UmiState, tools: Sequence[ToolSpec]) -> Trajectory:
    """Return what prompts hold of the thread."""
    return Trajectory.from_history(_list_held(state), tools, last_given=state.get("last_given"))


def _list_held(state: UmiState) -> Sequence[AnyMessage]:
    messages, shortened = state["messages"], state.get("shortened")
    if not shortened or not state["settings"].get("history"):
        return messages
    # a message that somebody has removed since is the beginning of nothing
    begin = next((i for i, message in enumerate(messages) if message.id == shortened["start"]), 0)
    return [*(each for each in messages[:begin] if isinstance(each, SystemMessage)), *messages[begin:]]


def shorten(
    state: UmiState, trajectory: Trajectory, measure: Measure, role: Role, *, is_refused: bool = False
) -> Shortened | None:
    """Return where prompts are to begin from now on, None if that is as before.

    It is the planner's prompt that a step is begun with; caller and summarizer go on with it, unless they cannot.

    Args:
        state: The run's.
        trajectory: What prompts hold so far, from `read_thread`.
        measure: Returns the size of the prompt for a trajectory.
        role: Whose prompt it is.
        is_refused: The model has refused the prompt as too long.
    """
    n_tokens, limit_tokens = measure(trajectory)
    trigger, keep = History.model_validate(state["settings"]["history"]).count(limit_tokens)
    if role != "planner":
        trigger = limit_tokens
    if is_refused:
        trigger, keep = n_tokens - 1, min(keep or n_tokens, n_tokens // 2)
    if trigger is None or n_tokens <= trigger:
        return None
    sizes, n_fixed = measure_turns(trajectory, lambda part: measure(part).n_tokens)
    first = find_first_turn(sizes, n_fixed, trigger_tokens=trigger, keep_tokens=keep or trigger)
    humans = [message for message in _list_held(state) if isinstance(message, HumanMessage)]
    return Shortened(start=humans[first].id or "") if first else None
