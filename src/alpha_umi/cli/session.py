"""One conversation between a person and the agent: a thread, shown on a screen while it runs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, aclosing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from types import FrameType
from typing import Any, Self, TypeAlias, TypeVar

from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Interrupt, StateSnapshot
from pydantic_core import to_jsonable_python
from rich.text import Text
from rich.tree import Tree as Drawing

from alpha_umi.cli.options import make_context
from alpha_umi.cli.screen import EXIT_TERMINATED, Screen, ask_person, clean
from alpha_umi.graph.checkpointers import open_async_checkpointer
from alpha_umi.graph.config import UmiSettings
from alpha_umi.graph.embed import UmiAgent
from alpha_umi.graph.events import Begun, Event, Moved, Observed, Saved, Words, make_input, make_resume, stream_events
from alpha_umi.graph.factory import load_toolbox, make_agent
from alpha_umi.graph.threads import make_thread_name
from alpha_umi.nodes.format.trajectory import Trajectory, parse_message
from alpha_umi.nodes.search import add_node, make_tree, parse_step
from alpha_umi.nodes.state import NodeStatus, Tree, TreeNode, UmiContext, UmiOutput
from alpha_umi.tools.spec import ToolSpec

T = TypeVar("T")
Claim: TypeAlias = Callable[[str], AbstractContextManager[None]]

_EXIT_DEADLINE_S = 4.0
"""What sends SIGTERM often waits ten seconds before it kills; the command line ends in five."""
_MAX_TREE_CHARS = 160
_TREE_STYLES: Mapping[NodeStatus, str] = {"open": "", "failed": "red", "gave up": "yellow", "answer": "green"}


@dataclass(frozen=True)
class TurnResult:
    """How a turn ended and what it took; `state` is all that the thread keeps of it, `tools` are those of the agent."""

    output: UmiOutput
    usage: Mapping[str, UsageMetadata]
    state: Mapping[str, Any]
    tools: Sequence[ToolSpec]

    @property
    def total(self) -> UsageMetadata:
        """Tokens of all models together."""
        return reduce(add_usage, self.usage.values(), UsageMetadata(input_tokens=0, output_tokens=0, total_tokens=0))

    @property
    def tree(self) -> Tree:
        """The tree of a search, or the one branch that a chain is."""
        tree: Tree | None = self.state["tree"]
        if tree is None:
            tree = make_tree()
            for step in Trajectory.from_messages(self.state["messages"]).turns[-1].steps:
                ended: NodeStatus = "gave up" if step.decision == "give up" else "open"
                tree = add_node(tree, step, "answer" if step.answer else ended, None)
        return tree

    def to_json(self) -> str:
        """Return one JSON object: the answer and how it came about, the tools, usage by model and in total."""
        end = {"answer": self.output["answer"], "finish": self.output["finish"], "reason": self.output["reason"]}
        end["structured_response"] = to_jsonable_python(self.output.get("structured_response"))
        messages = [message.model_dump(mode="json") for message in self.output["messages"]]
        tools = [{name: getattr(tool, name) for name in ("name", "description", "parameters")} for tool in self.tools]
        usage = {"models": self.usage, "total": self.total}
        return json.dumps({**end, "messages": messages, "tools": tools, "usage": usage})


@dataclass
class Session:
    """A person's end of one thread, which `claim` keeps other processes off while a turn is taken."""

    agent: UmiAgent
    context: UmiContext
    screen: Screen
    loop: EventLoop
    tools: Sequence[ToolSpec]
    claim: Claim | None
    thread: str

    @property
    def _config(self) -> RunnableConfig:
        return {"configurable": {"thread_id": self.thread}}

    def begin(self) -> None:
        """Leave the thread and begin another."""
        self.thread = make_thread_name()

    def read_state(self) -> StateSnapshot:
        """Return what the thread keeps; it has `tasks` if the last turn was stopped before its end."""
        return self.loop.run(self.agent.aget_state(self._config))

    def ask(self, question: str | None) -> TurnResult:
        """Run until the agent is done, asking the person whenever the graph does.

        Args:
            question: What to answer; None continues the turn that was stopped.
        """
        usage = UsageMetadataCallbackHandler()
        config: RunnableConfig = {**self._config, "callbacks": [usage]}
        try:
            with self.claim(self.thread) if self.claim else nullcontext():
                output, interrupts = self.loop.run(self._stream(make_input(question), config))
                while interrupts:
                    # asked here and not in the loop, whose Ctrl-C would wait for the person's answer
                    answers = {question.id: ask_person(question.value, self.screen) for question in interrupts}
                    output, interrupts = self.loop.run(self._stream(make_resume(answers, interrupts), config))
        finally:
            self.screen.end()
        self._show_end(output)
        return TurnResult(output, usage.usage_metadata, self.read_state().values, self.tools)

    async def _stream(self, value: Any, config: RunnableConfig) -> tuple[UmiOutput, tuple[Interrupt, ...]]:
        """Show what happens and return the last state, with the questions to the person it ends on."""
        output: Any = None
        interrupts: tuple[Interrupt, ...] = ()
        async with aclosing(stream_events(self.agent, value, config, self.context)) as events:
            async for event in events:
                if isinstance(event, Saved) and event.is_whole:
                    output, interrupts = event.values, event.interrupts
                else:
                    self._show(event)
        return output, interrupts

    def _show(self, event: Event) -> None:
        match event:
            case Words(role, text):
                self.screen.write(role, text)
            case Begun(node, tool):
                self.screen.wait(f"{tool} is running" if tool else node)
            case Observed(message, is_one_of_many):
                text = f"{message.name}: {message.text}" if is_one_of_many else message.text
                self.screen.observe(text, is_error=message.status == "error")
            case Moved(nodes, cursor):
                newest = max(nodes, key=lambda node: node["id"], default=None)
                if newest and newest["id"] != cursor:
                    self.screen.note(clean(f"Dead end: {newest['reason']} Back to node {cursor}."))

    def _show_end(self, output: UmiOutput) -> None:
        """Say why there is no proper answer, unless the planner has just said so itself."""
        last = output["messages"][-1]
        said = parse_message(last).rationale if isinstance(last, AIMessage) else None
        if output["reason"] and output["reason"] != said:
            self.screen.write("gave up" if output["finish"] == "give up" else str(output["finish"]), output["reason"])
            self.screen.end()


@contextmanager
def open_session(
    settings: UmiSettings, screen: Screen, *, approve: bool | None, where: str | Path | None, thread: str | None
) -> Iterator[Session]:
    """Build the agent and open its thread, a new one if `thread` is None.

    `approve` is that of `make_context`. The thread is kept in the SQLite file or the PostgreSQL database that `where`
    names, and in memory if that is None.

    Raises:
        ConfigError: If the configuration or the database cannot be used.
    """
    context = make_context(settings, approve=approve)
    with EventLoop() as loop:
        stack = AsyncExitStack()
        try:
            toolbox = load_toolbox(settings)
            durable = loop.run(stack.enter_async_context(open_async_checkpointer(where))) if where else None
            agent = make_agent(settings, toolbox=toolbox, checkpointer=durable or InMemorySaver())
            claim = durable.claim if durable else None
            yield Session(agent, context, screen, loop, toolbox.specs, claim, thread or make_thread_name())
        finally:
            loop.run(stack.aclose())


class EventLoop:
    """An event loop that lives from one `run` to the next, so that clients keep their connections between turns.

    Not `asyncio.Runner`, which waits for all threads when it is closed: the one of a tool that hangs never ends.
    """

    def __enter__(self) -> Self:
        """Make the loop."""
        self._loop = asyncio.new_event_loop()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the loop."""
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run to the end, or until a signal has cancelled it; a second one does not wait for that.

        Raises:
            KeyboardInterrupt: After Ctrl-C.
            SystemExit: After SIGTERM; the process ends anyway if something blocks that for too long.
        """
        task = self._loop.create_task(coroutine)
        previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        caught: list[int] = []

        def restore() -> None:
            for number, handler in previous.items():
                signal.signal(number, handler)

        def cancel(number: int, _frame: FrameType | None) -> None:
            restore()
            caught.append(number)
            if number == signal.SIGTERM:
                timer = threading.Timer(_EXIT_DEADLINE_S, os._exit, [EXIT_TERMINATED])
                timer.daemon = True
                timer.start()
            self._loop.call_soon_threadsafe(task.cancel)

        for number in previous:
            signal.signal(number, cancel)
        try:
            return self._loop.run_until_complete(task)
        except asyncio.CancelledError:
            if signal.SIGTERM in caught:
                raise SystemExit(EXIT_TERMINATED) from None
            raise KeyboardInterrupt from None
        finally:
            restore()


def draw_tree(tree: Tree, question: str) -> Drawing:
    """Draw every step below the question: plan, calls, observations or answer, and why a branch ended."""
    root, *nodes = tree["nodes"]
    branches = {root["id"]: Drawing(_make_line(question, "bold"))}
    for node in nodes:  # a parent comes before its children
        branches[node["id"]] = branches[node["parent"] or 0].add(_describe(node))
    return branches[root["id"]]


def _describe(node: TreeNode) -> Text:
    step = parse_step(node)
    style = _TREE_STYLES[node["status"]]
    lines = [_make_line(f"{node['id']} {step.rationale or step.decision}", style)]
    for call in step.calls:
        lines.append(_make_line(f"{call.name} {json.dumps(call.arguments, ensure_ascii=False)}", "magenta"))
        if call.observation is not None:
            lines.append(_make_line(f"→ {call.observation.text}", "red" if call.observation.is_error else "dim"))
    if step.answer:
        lines.append(_make_line(step.answer, "bold green"))
    if node["reason"] and node["reason"] != step.rationale:
        lines.append(_make_line(f"{node['status']}: {node['reason']}", style))
    return Text("\n").join(lines)


def _make_line(text: str, style: str) -> Text:
    line = " ".join(clean(text).split())
    return Text(line if len(line) <= _MAX_TREE_CHARS else f"{line[:_MAX_TREE_CHARS]} …", style)
