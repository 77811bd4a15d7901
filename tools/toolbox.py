"""Runs tools: every call gives a `ToolMessage`, in bounded time and size, whatever the model or the tool did wrong.

Sync tools run in daemon threads and coroutines on an event loop, so that a timeout returns although Python cannot stop
a thread, and so that no tool blocks a server's event loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import AsyncIterable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from copy import copy, deepcopy
from threading import Lock, Thread
from typing import Any, Literal, TypeAlias

from langchain_core.messages import ToolCall, ToolMessage
from langchain_core.messages.tool import ToolOutputMixin, tool_call
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, ToolException
from langgraph.errors import GraphBubbleUp
from langgraph.prebuilt import ToolRuntime
from langgraph.types import Command

from alpha_umi.errors import ConfigError
from alpha_umi.tools.commands import read_command
from alpha_umi.tools.convert import ToolLike, runs_async, spec_from_tool, to_base_tool
from alpha_umi.tools.deadline import CutOff, DeadlinePassed, within
from alpha_umi.tools.forks import renew_after_fork
from alpha_umi.tools.injection import Injected, NotGivenError, find_injected, inject
from alpha_umi.tools.ledger import Ledger
from alpha_umi.tools.names import fold_name
from alpha_umi.tools.observation import make_storable, render_error
from alpha_umi.tools.pii import conceal_artifact, concealing_errors, observe, reveal_arguments
from alpha_umi.tools.refused import trace_refused
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.tools.spec.arguments import render_unknown_tool, render_violations

NOT_BEGUN = "not_begun"
"""Key of a message's `additional_kwargs` where the tool was not started and will not be."""
_MIN_CHARS = 100
Prepare: TypeAlias = Callable[[], ToolCall | ToolMessage]


class Toolbox:
    """The tools of one agent, and the one way in which they are run."""

    def __init__(
        self,
        tools: Sequence[ToolLike],
        *,
        timeout_s: float = 30.0,
        max_observation_chars: int = 4000,
        ledger: Ledger | None = None,
    ) -> None:
        """Take the tools and read their descriptions for the model.

        Args:
            tools: LangChain tools and plain functions, sync or async.
            timeout_s: Seconds after which a call is answered with an error. A coroutine is then cancelled; the thread
                of a sync tool is left to itself, because Python cannot stop it.
            max_observation_chars: Bound on an observation's text, in characters; its head and tail are kept.
            ledger: Where an agent that can be resumed records the calls of tools with the effect ``once``; None finds
                a place in its checkpointer's database.
        """
        if not timeout_s > 0:
            raise ConfigError(f"timeout_s is {timeout_s}; give a number of seconds above 0.")
        if max_observation_chars < _MIN_CHARS:
            raise ConfigError(f"max_observation_chars is {max_observation_chars}; give {_MIN_CHARS} or more.")
        self.ledger = ledger
        self._timeout_s = timeout_s
        self.max_observation_chars = max_observation_chars
        self._tools: dict[str, BaseTool] = {}
        self._specs: dict[str, ToolSpec] = {}
        self._injected: dict[str, dict[str, Injected]] = {}
        self._looks: dict[str, str] = {}
        for tool in map(to_base_tool, tools):
            self._add(tool)

    def _add(self, tool: BaseTool) -> None:
        if tool.name in self._tools:
            raise ConfigError(f"Two tools are named {tool.name!r}; rename one of them.")
        other = self._looks.get(fold_name(tool.name))
        if other and not (other + tool.name).isascii():
            raise ConfigError(f"The tool names {other!r} and {tool.name!a} look the same; rename one of them.")
        self._specs[tool.name] = spec_from_tool(tool)
        self._injected[tool.name] = find_injected(tool)
        self._tools[tool.name] = make_observing(tool, self.max_observation_chars)
        self._looks[fold_name(tool.name)] = tool.name

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """The descriptions of the tools for the model, in the order given."""
        return tuple(self._specs.values())

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tools, in the order given."""
        return tuple(self._specs)

    def with_tool(self, tool: ToolLike) -> Toolbox:
        """Return the same tools and one more."""
        other = copy(self)
        other._tools, other._specs, other._looks = self._tools.copy(), self._specs.copy(), self._looks.copy()
        other._injected = self._injected.copy()
        other._add(to_base_tool(tool))
        return other

    def with_tools(self, tools: Sequence[ToolLike]) -> Toolbox:
        """Return other tools in the same bounds."""
        return Toolbox(tools, timeout_s=self._timeout_s, max_observation_chars=self.max_observation_chars)

    def with_ledger(self, ledger: Ledger) -> Toolbox:
        """Return the same tools with another ledger."""
        other = copy(self)
        other.ledger = ledger
        return other

    def runs_once(self, name: str) -> bool:
        """Say whether a call of a tool must not be repeated; a name that is no tool does nothing."""
        return name in self._specs and self._specs[name].effects == "once"

    def needs_runtime(self, name: str) -> bool:
        """Say whether a tool takes arguments that no model fills."""
        return bool(self._injected.get(name))

    @property
    def direct_names(self) -> frozenset[str]:
        """The tools whose result is the answer (LangChain's `return_direct`)."""
        return frozenset(name for name, tool in self._tools.items() if tool.return_direct)

    def execute(
        self,
        name: str,
        arguments: Mapping[str, Any] | str,
        call_id: str,
        config: RunnableConfig | None = None,
        runtime: ToolRuntime[Any, Any] | None = None,
    ) -> ToolMessage:
        """Run one call and return its observation, a message with the call's id.

        The arguments are parsed, or the model's raw text where that did not parse; only an exact name runs. With the
        caller's config the tool is a child run in its trace. What the tool takes from the graph is in the runtime.
        """
        with within(self._timeout_s):
            work, begun = self._start(name, arguments, call_id, config, runtime, None)
        try:
            wait([work], self._timeout_s)
            return self._finish(name, call_id, work, begun)
        finally:
            work.cancel()

    async def aexecute(
        self,
        name: str,
        arguments: Mapping[str, Any] | str,
        call_id: str,
        config: RunnableConfig | None = None,
        runtime: ToolRuntime[Any, Any] | None = None,
    ) -> ToolMessage:
        """Do what `execute` does without blocking the event loop; cancelling it cancels a coroutine tool."""
        with within(self._timeout_s):
            started, begun = self._start(name, arguments, call_id, config, runtime, asyncio.get_running_loop())
        work = asyncio.wrap_future(started)
        try:
            await asyncio.wait([work], timeout=self._timeout_s)
            return self._finish(name, call_id, work, begun)
        finally:
            work.cancel()

    def _start(
        self,
        name: str,
        arguments: Mapping[str, Any] | str,
        call_id: str,
        config: RunnableConfig | None,
        runtime: ToolRuntime[Any, Any] | None,
        loop: asyncio.AbstractEventLoop | None,
    ) -> tuple[Future[Any], Future[None]]:
        """Set the call going, on the caller's event loop if it has one and the tool is a coroutine.

        The second future runs from when the tool has begun; once it is cancelled the tool will not begin. The model
        chose the arguments and a stranger perhaps the schema, so a thread checks them while the clock runs.
        """
        begun = Future[None]()
        prepare = functools.partial(self._prepare, name, arguments, call_id, config, runtime)
        tool = self._tools.get(name)
        if tool is not None and runs_async(tool, on_loop=loop is not None):
            # Async clients belong to a loop, so callers without one share one.
            loop = loop or get_background_loop("tools-event-loop")
            return asyncio.run_coroutine_threadsafe(_arun(tool, prepare, config, begun), loop), begun
        return _run_in_thread(functools.partial(_run, tool, prepare, config, begun), name), begun

    def _prepare(
        self,
        name: str,
        arguments: Mapping[str, Any] | str,
        call_id: str,
        config: RunnableConfig | None,
        runtime: ToolRuntime[Any, Any] | None,
    ) -> ToolCall | ToolMessage:
        """Return what the tool is to be called with, or the observation that says why it cannot be called."""
        fault = self.find_fault(name, reveal_arguments(arguments))
        if not fault and not isinstance(arguments, str):
            try:
                given = inject(self._injected[name], runtime or _make_runtime(call_id, config))
                # A tool may change what it is given, even after its time is up; the caller's state must not change.
                return tool_call(name=name, args=deepcopy(dict(arguments)) | given, id=call_id)
            except NotGivenError as error:
                fault = f"{name} cannot run: {error}"
        message = self._make_message(name, call_id, fault, "error")
        trace_refused(name, arguments, call_id, message.text, config)
        return message

    def _refuse(self, name: str, call_id: str, why: str) -> ToolMessage:
        message = self._make_message(name, call_id, why, "error")
        return message.model_copy(update={"additional_kwargs": {NOT_BEGUN: True}})

    def find_fault(self, name: str, arguments: Mapping[str, Any] | str, names: Sequence[str] | None = None) -> str:
        """Return why a call cannot run or may not be called, in words for the model; empty if it can run."""
        offered = self.names if names is None else names
        if name not in self._tools or name not in offered:
            return render_unknown_tool(name, offered)
        spec = self._specs[name]
        try:
            return render_violations(spec, spec.make_validator(), arguments)
        except RecursionError as error:
            return f"The arguments of {name} cannot be checked, they are too large or nested too deeply: {error}."
        except Exception as error:  # a wrong call must never end a run
            return f"The arguments of {name} cannot be checked ({render_error(error)}). Write simpler ones."

    def _finish(
        self, name: str, call_id: str, work: Future[Any] | asyncio.Future[Any], begun: Future[None]
    ) -> ToolMessage:
        """Turn what has, or has not, come out of the work into a message."""
        has_begun = not begun.cancel()
        if not work.done() or (not work.cancelled() and isinstance(work.exception(), DeadlinePassed)):
            if not has_begun:
                text = f"{name} could not begin within {self._timeout_s:g} s and will not: "
                return self._refuse(name, call_id, f"{text}its arguments or other calls held it up.")
            if self.runs_once(name):
                return make_unknown_outcome(name, call_id, f"it gave no answer within {self._timeout_s:g} s")
            problem = f"no answer within {self._timeout_s:g} s. Try other arguments or another tool."
        elif work.cancelled():
            problem = "it was cancelled."
        elif error := work.exception():
            if isinstance(error, GraphBubbleUp):
                raise error
            if isinstance(error, CutOff) and self.runs_once(name):
                return make_unknown_outcome(name, call_id, str(error))
            problem = render_error(error)
        else:
            result = work.result()
            if not has_begun:
                return self._refuse(name, call_id, result.text)
            if isinstance(result, ToolMessage):
                return self._make_message(name, call_id, result.content, result.status, result.artifact)
            return self._make_message(name, call_id, result, "success")
        return self._make_message(name, call_id, f"{name} failed: {problem}", "error")

    def _make_message(
        self, name: str, call_id: str, content: Any, status: Literal["success", "error"], artifact: Any = None
    ) -> ToolMessage:
        try:
            text = observe(content, self.max_observation_chars)
        except ToolException as error:  # a fault can quote what may not be read
            text, status = render_error(error), "error"
        return ToolMessage(text, name=make_storable(name), tool_call_id=call_id, status=status, artifact=artifact)


def make_unknown_outcome(name: str, call_id: str, why: str) -> ToolMessage:
    """Return the observation of a call that may or may not have taken effect."""
    text = (
        f"{name} was started, but {why}: outcome unknown. It may have taken effect. Do not repeat the call; find out "
        "by another tool, or tell the user that it is not known."
    )
    return ToolMessage(text, name=name, tool_call_id=call_id, status="error")


def make_observing(tool: BaseTool, max_chars: int) -> BaseTool:
    """Return a copy of the tool that returns observations, so that traces and callbacks are bounded as well.

    LangChain would turn bytes into their repr, a list of strings into one run-together text and None into "null", and
    hand 50 MB to every tracer.
    """

    def read(result: Any) -> Any:
        if tool.response_format == "content_and_artifact" and isinstance(result, tuple) and len(result) == 2:
            return read_content(result[0]), conceal_artifact(result[1])
        return read_content(result)

    def read_content(content: Any) -> Any:
        results = content if isinstance(content, list) and content else [content]
        if any(isinstance(result, Command) for result in results):
            content = read_command(results, tool.name)
        if isinstance(content, ToolMessage):
            shown, artifact = observe(content.content, max_chars), conceal_artifact(content.artifact)
            return content.model_copy(update={"content": shown, "artifact": artifact})
        if isinstance(content, ToolOutputMixin):
            raise ToolException(f"it returned a {type(content).__name__}; only values and ToolMessages can be used.")
        return observe(content, max_chars)

    @functools.wraps(tool._parse_input)
    def parse_input(tool_input: Any, tool_call_id: str | None) -> Any:
        with concealing_errors():
            return tool._parse_input(reveal_arguments(tool_input), tool_call_id)

    @functools.wraps(tool._run)
    def run(*args: Any, **kwargs: Any) -> Any:
        with concealing_errors(), _contain_exit():
            result = tool._run(*args, **kwargs)
            return read(asyncio.run(_collect(result)) if isinstance(result, AsyncIterable) else result)

    @functools.wraps(tool._arun)
    async def arun(*args: Any, **kwargs: Any) -> Any:
        with concealing_errors(), _contain_exit():
            result = tool._arun(*args, **kwargs)
            return read(await _collect(result if isinstance(result, AsyncIterable) else await result))

    observing = tool.model_copy()
    # `_run` and `_arun` are what every tool class implements; `invoke` around them keeps callbacks and error handlers.
    # It shows callbacks the arguments as the model wrote them, before it reads them.
    for name, method in (("_parse_input", parse_input), ("_run", run), ("_arun", arun)):
        object.__setattr__(observing, name, method)  # pydantic's own `__setattr__` takes fields only
    return observing


async def _collect(result: Any) -> Any:
    """Read an async generator to its end, as JSON does a sync one."""
    return [item async for item in result] if isinstance(result, AsyncIterable) else result


def _make_runtime(call_id: str, config: RunnableConfig | None) -> ToolRuntime[Any, Any]:
    """Return what a tool is given where it runs in no graph."""
    return ToolRuntime(
        state={}, context=None, config=config or {}, stream_writer=lambda _: None, tool_call_id=call_id, store=None
    )


@contextmanager
def _contain_exit() -> Iterator[None]:
    """Make ordinary errors of those that LangChain's callbacks and asyncio's futures cannot carry.

    A `KeyboardInterrupt` is one of them: Ctrl-C is not raised in a tool's thread, and on an event loop it would end all
    that runs there.
    """
    try:
        yield
    except (SystemExit, KeyboardInterrupt, StopIteration) as error:
        raise ToolException(render_error(error)) from error


def _run_in_thread(run: Callable[[], Any], name: str) -> Future[Any]:
    """Run in a daemon thread, which unlike an executor's never keeps the interpreter from exiting."""
    work: Future[Any] = Future()
    work.set_running_or_notify_cancel()
    context = contextvars.copy_context()

    def target() -> None:
        try:
            work.set_result(context.run(run))
        except BaseException as error:
            work.set_exception(error)

    Thread(target=target, name=f"tool-{name}", daemon=True).start()
    return work


def _run(tool: BaseTool | None, prepare: Prepare, config: RunnableConfig | None, begun: Future[None]) -> Any:
    call = prepare()
    if tool is None or isinstance(call, ToolMessage) or not begun.set_running_or_notify_cancel():
        return call
    return tool.invoke(call, config)


async def _arun(tool: BaseTool, prepare: Prepare, config: RunnableConfig | None, begun: Future[None]) -> Any:
    call = await asyncio.wrap_future(_run_in_thread(prepare, tool.name))
    if isinstance(call, ToolMessage) or not begun.set_running_or_notify_cancel():
        return call
    return await tool.ainvoke(call, config)


class _BackgroundLoops:
    def __init__(self) -> None:
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        self._lock = Lock()
        self._loops: dict[str, asyncio.AbstractEventLoop] = {}

    def get(self, name: str) -> asyncio.AbstractEventLoop:
        """Return the event loop of a name, which runs in its own thread for as long as the process."""
        with self._lock:
            if name not in self._loops:
                self._loops[name] = asyncio.new_event_loop()
                Thread(target=self._loops[name].run_forever, name=name, daemon=True).start()
            return self._loops[name]


get_background_loop = _BackgroundLoops().get
