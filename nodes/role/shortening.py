"""Before a long thread fills a model's window: which old turns its prompts no longer hold.

The state keeps all messages. Only where the prompts begin is noted there, so that they begin alike until the thread has
grown again, also after a reload and in a fork.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage
from langchain_core.messages.ai import add_usage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import merge_configs, patch_config
from langgraph.constants import TAG_NOSTREAM

from alpha_umi.nodes.format.history import find_first_turn, make_summary_request, make_summary_turn, measure_turns
from alpha_umi.nodes.format.parsing import parse_answer
from alpha_umi.nodes.format.reasoning import split_reasoning
from alpha_umi.nodes.format.trajectory import Role, Trajectory, Turn
from alpha_umi.nodes.models.request import PromptSize, RoleRequest, make_request
from alpha_umi.nodes.state import History, Shortened, UmiState
from alpha_umi.tools.spec import ToolSpec

SUMMARY_RUN = "summary_model"
MAX_CHARS = 4_000
CHARS_PER_TOKEN = 3

_logger = logging.getLogger(__name__)

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
    held = _list_held(state)
    trajectory = Trajectory.from_history(held, tools, last_given=state.get("last_given"))
    shortened = state.get("shortened")
    if held is state["messages"] or not shortened or not shortened["summary"]:
        return trajectory
    return replace(trajectory, turns=(make_summary_turn(shortened["summary"]), *trajectory.turns))


def _list_held(state: UmiState) -> Sequence[AnyMessage]:
    messages, shortened = state["messages"], state.get("shortened")
    if not shortened or not state["settings"].get("history"):
        return messages
    begin = next((i for i, message in enumerate(messages) if message.id == shortened["start"]), None)
    if begin is None:  # somebody has removed it since
        return messages
    return [*(each for each in messages[:begin] if isinstance(each, SystemMessage)), *messages[begin:]]


@dataclass(frozen=True, slots=True)
class Cut:
    """Where prompts are to begin from now on, which turns leave them, and the summary that is among these."""

    start: str
    left: tuple[Turn, ...]
    summary: str | None


def find_cut(
    state: UmiState, trajectory: Trajectory, measure: Measure, role: Role, *, is_refused: bool = False
) -> Cut | None:
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
    n_left = find_first_turn(sizes, n_fixed, trigger_tokens=trigger, keep_tokens=keep or trigger)
    if not n_left:
        return None
    humans = [message for message in _list_held(state) if isinstance(message, HumanMessage)]
    n_head = len(trajectory.turns) - len(humans)
    summary = trajectory.turns[0].steps[-1].answer if n_head else None
    return Cut(humans[n_left - n_head].id or "", trajectory.turns[:n_left], summary)


def shorten(
    state: UmiState,
    cut: Cut,
    summarizers: Sequence[BaseChatModel],
    trajectory: Trajectory,
    config: RunnableConfig | None,
) -> Work[UmiState]:
    """Return the state whose prompts begin at a cut, if the settings say so with a summary of what has left them.

    A summary that cannot be had ends no run: then old turns are dropped.
    """
    n_new = len(cut.left) - (cut.summary is not None)
    if state["settings"]["history"]["then"] == "drop" or not n_new:
        return {**state, "shortened": Shortened(start=cut.start, summary=None)}
    named = merge_configs(
        patch_config(config, run_name=SUMMARY_RUN), {"tags": [TAG_NOSTREAM], "metadata": {"lc_source": "summarization"}}
    )
    for model in summarizers:
        max_tokens = getattr(model, "max_tokens", None)
        turn = make_summary_request(cut.left, CHARS_PER_TOKEN * max_tokens if max_tokens else None)
        request = make_request(model, "summarizer", replace(trajectory, turns=(turn,)), temperature=0)
        try:
            reply: AIMessage = yield Ask(model, request, named)
        except Exception as error:  # whatever models raise
            _logger.warning("Old turns were not summarised: %r", error)
            continue
        usage = add_usage(state.get("usage"), reply.usage_metadata)
        state = {**state, "n_queries": state["n_queries"] + 1, "usage": usage}
        if summary := parse_answer(split_reasoning(str(reply.text))[1])[:MAX_CHARS]:
            return {**state, "shortened": Shortened(start=cut.start, summary=summary)}
    return {**state, "shortened": Shortened(start=cut.start, summary=cut.summary)}
