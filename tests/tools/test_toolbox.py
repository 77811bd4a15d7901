import asyncio
import contextlib
import contextvars
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, cast
from uuid import UUID

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import BaseTool, InjectedToolCallId, StructuredTool, ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt
from pydantic import AfterValidator
from typing_extensions import TypedDict

from alpha_umi.errors import ConfigError
from alpha_umi.tools import Toolbox, declare_effects, make_tool
from alpha_umi.tools.spec import ToolSpec

Run = Callable[..., Awaitable[ToolMessage]]


@pytest.fixture(params=["execute", "aexecute"])
def run(request: pytest.FixtureRequest) -> Run:
    """Both doors, called alike; the sync one away from the event loop, as LangGraph does."""

    async def run(toolbox: Toolbox, *call: Any) -> ToolMessage:
        if request.param == "aexecute":
            return await toolbox.aexecute(*call)
        return await asyncio.to_thread(toolbox.execute, *call)

    return run


def add(a: int, b: int = 1) -> int:
    """Add."""
    return a + b


async def add_later(a: int, b: int = 1) -> int:
    """Add."""
    await asyncio.sleep(0)
    return a + b


class Greeter(BaseTool):
    name: str = "greet"
    description: str = "Greet."

    def _run(self, name: str) -> bytes:
        return f"Hello {name}".encode()


@pytest.mark.parametrize("function", [add, add_later])
async def test_call_gives_its_observation(run: Run, function: Callable[..., Any]) -> None:
    message = await run(Toolbox([function]), function.__name__, {"a": 2}, "call_1")
    assert message == ToolMessage("3", name=function.__name__, tool_call_id="call_1", status="success")


async def test_tool_class_gives_its_observation(run: Run) -> None:
    assert (await run(Toolbox([Greeter()]), "greet", {"name": "Ada"}, "1")).content == "Hello Ada"


async def test_tools_are_offered_in_order() -> None:
    toolbox = Toolbox([Greeter(), add])
    assert toolbox.names == ("greet", "add")
    assert [spec.name for spec in toolbox.specs] == ["greet", "add"]


def test_two_tools_with_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="Two tools are named 'add'"):
        Toolbox([add, add])


@pytest.mark.parametrize("bounds", [{"timeout_s": 0}, {"timeout_s": float("nan")}, {"max_observation_chars": 99}])
def test_bounds_without_sense_are_refused(bounds: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bounds))):
        Toolbox([add], **bounds)


# What the model does wrong


@pytest.mark.parametrize("name", ["", "ad", "my_add", "ADD", "\ud800"])
async def test_only_the_exact_name_runs(run: Run, name: str) -> None:
    message = await run(Toolbox([add]), name, {"a": 1}, "1")
    assert message.status == "error"
    assert "Use one of these names exactly: add" in message.text
    assert message.model_dump_json()


@pytest.mark.parametrize("arguments", [{}, {"a": "2"}, {"a": 1, "c": 1}, "{a: 1}"])
async def test_arguments_are_checked_before_the_tool_runs(run: Run, arguments: Any) -> None:
    ran = []

    def record(a: int) -> None:
        """Record."""
        ran.append(a)

    message = await run(Toolbox([record]), "record", arguments, "1")
    assert message.status == "error"
    assert message.text.startswith("The arguments of record are wrong:\n- ")
    assert not ran


async def test_endless_nesting_is_an_observation(run: Run) -> None:
    def note(items: list[Any]) -> str:
        """Note."""
        return "noted"

    items: list[Any] = []
    for _ in range(100_000):
        items = [items]
    message = await run(Toolbox([note]), "note", {"items": items}, "1")
    assert "nested too deeply" in message.text


async def test_tool_cannot_change_the_callers_arguments(run: Run) -> None:
    def clear(items: list[Any]) -> None:
        """Clear."""
        items.clear()

    arguments = {"items": [1, 2]}
    await run(Toolbox([clear]), "clear", arguments, "1")
    assert arguments == {"items": [1, 2]}


# What a tool does wrong


def raise_error() -> None:
    """Raise."""
    raise ValueError("no such city")


async def raise_error_later() -> None:
    """Raise."""
    raise ValueError("no such city")


def raise_tool_exception() -> None:
    """Raise."""
    raise ToolException("ask for a city in Europe")


def leave() -> None:
    """Exit."""
    sys.exit(3)


async def leave_later() -> None:
    """Exit."""
    sys.exit(3)


def interrupt_itself() -> None:
    """Interrupt."""
    raise KeyboardInterrupt


async def interrupt_itself_later() -> None:
    """Interrupt."""
    raise KeyboardInterrupt


def stop() -> None:
    """Stop."""
    next(iter([]))


async def cancel_itself() -> None:
    """Cancel."""
    raise asyncio.CancelledError


def time_out_itself() -> None:
    """Time out."""
    raise TimeoutError("the server is slow")


def raise_50_mb() -> None:
    """Raise."""
    raise ValueError("x" * 50_000_000)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (raise_error, "raise_error failed: ValueError: no such city"),
        (raise_error_later, "raise_error_later failed: ValueError: no such city"),
        (raise_tool_exception, "raise_tool_exception failed: ask for a city in Europe"),
        (leave, "leave failed: SystemExit: 3"),
        (leave_later, "leave_later failed: SystemExit: 3"),
        (interrupt_itself, "interrupt_itself failed: KeyboardInterrupt"),
        (interrupt_itself_later, "interrupt_itself_later failed: KeyboardInterrupt"),
        (stop, "stop failed: StopIteration"),
        (cancel_itself, "cancel_itself failed: it was cancelled."),
        (time_out_itself, "time_out_itself failed: TimeoutError: the server is slow"),
    ],
)
async def test_exception_is_an_observation(run: Run, function: Callable[..., Any], text: str) -> None:
    message = await run(Toolbox([function], timeout_s=60), function.__name__, {}, "1")
    assert (message.text, message.status) == (text, "error")


async def test_exception_of_50_mb_is_cut(run: Run) -> None:
    message = await run(Toolbox([raise_50_mb]), "raise_50_mb", {}, "1")
    assert message.text.startswith("raise_50_mb failed: ValueError: xxx")
    assert len(message.text) <= 4000


@pytest.mark.parametrize("handle", [True, "ask for a city in Europe", lambda error: str(error)])
async def test_tools_own_error_handling_is_kept(run: Run, handle: Any) -> None:
    handled = StructuredTool.from_function(raise_tool_exception, handle_tool_error=handle)
    message = await run(Toolbox([handled]), "raise_tool_exception", {}, "1")
    assert (message.text, message.status) == ("ask for a city in Europe", "error")


def even(value: int) -> int:
    if value % 2:
        raise ValueError("must be even")
    return value


def book(seats: Annotated[int, AfterValidator(even)]) -> None:
    """Book."""


async def test_what_only_pydantic_refuses_is_an_observation(run: Run) -> None:
    message = await run(Toolbox([book]), "book", {"seats": 3}, "1")
    assert message.text == "book failed: ValidationError: seats: Value error, must be even"


async def test_50_mb_are_cut_with_head_and_tail_kept(run: Run) -> None:
    def read() -> str:
        """Read."""
        return "head" + "x" * 50_000_000 + "tail"

    message = await run(Toolbox([read], max_observation_chars=200), "read", {}, "1")
    assert len(message.text) <= 200
    assert message.text.startswith("head")
    assert message.text.endswith("tail")
    assert "characters cut" in message.text


@pytest.mark.parametrize(
    ("stored", "text"), [(b"\xff\xd8" * 500, "(1,000 bytes of binary data)"), (b"caf\xc3\xa9", "café")]
)
async def test_bytes_are_shown_as_text_or_size(run: Run, stored: bytes, text: str) -> None:
    def read() -> bytes:
        """Read."""
        return stored

    assert (await run(Toolbox([read]), "read", {}, "1")).content == text


class Lines(BaseTool):
    name: str = "lines"
    description: str = "Give lines."

    def _run(self, n: int) -> Any:
        return (f"line {i}" for i in range(n))

    async def _arun(self, n: int) -> Any:  # without a result, as people write it
        for i in range(n):
            yield f"line {i}"


def lines(n: int) -> Iterator[str]:
    """Give lines."""
    yield from (f"line {i}" for i in range(n))


async def async_lines(n: int) -> AsyncIterator[str]:
    """Give lines."""
    for i in range(n):
        await asyncio.sleep(0)
        yield f"line {i}"


def wrapped_lines(n: int) -> AsyncIterator[str]:
    """Give lines."""
    return async_lines(n)


async def awaited_lines(n: int) -> AsyncIterator[str]:
    """Give lines."""
    return async_lines(n)


SPEC = ToolSpec("lines", "", {"type": "object", "properties": {"n": {"type": "integer"}}})


@pytest.mark.parametrize(
    "made",
    [
        *(lines, async_lines, wrapped_lines, awaited_lines, tool(async_lines), Lines(), make_tool(SPEC, async_lines)),
        StructuredTool.from_function(coroutine=cast(Any, async_lines)),
    ],
)
async def test_what_generators_yield_is_collected(run: Run, made: Any) -> None:
    toolbox = Toolbox([made])
    assert (await run(toolbox, toolbox.names[0], {"n": 2}, "1")).content == '["line 0","line 1"]'
    assert (await run(toolbox, toolbox.names[0], {"n": 0}, "1")).content == "[]"


async def test_async_generator_that_hangs_is_cancelled_and_one_that_raises_is_an_error(run: Run) -> None:
    cancelled = threading.Event()

    @declare_effects("none")
    async def hang() -> AsyncIterator[str]:
        """Hang."""
        try:
            yield "a"
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    @declare_effects("none")
    async def burn() -> AsyncIterator[str]:
        """Burn."""
        yield "a"
        raise OSError("fire")

    assert "no answer within 0.2 s" in (await run(Toolbox([hang], timeout_s=0.2), "hang", {}, "1")).text
    assert await asyncio.to_thread(cancelled.wait, 60)
    assert (await run(Toolbox([burn]), "burn", {}, "1")).text == "burn failed: OSError: fire"


async def test_artifact_is_kept_and_content_blocks_become_text(run: Run) -> None:
    @tool(response_format="content_and_artifact")
    def chart() -> tuple[list[dict[str, str]], dict[str, int]]:
        """Draw."""
        return [{"type": "text", "text": "a rise"}], {"points": 3}

    message = await run(Toolbox([chart]), "chart", {}, "1")
    assert (message.content, message.artifact) == ("a rise", {"points": 3})


async def test_returned_tool_message_answers_this_call(run: Run) -> None:
    def fail(call_id: Annotated[str, InjectedToolCallId]) -> ToolMessage:
        """Fail."""
        return ToolMessage(f"refused {call_id}", tool_call_id="other", status="error", artifact=1)

    message = await run(Toolbox([fail]), "fail", {}, "call_7")
    assert message == ToolMessage("refused call_7", name="fail", tool_call_id="call_7", status="error", artifact=1)


# Time


async def test_sync_tool_that_hangs_times_out(run: Run) -> None:
    release = threading.Event()

    @declare_effects("none")
    def hang() -> None:
        """Hang."""
        release.wait(60)

    message = await run(Toolbox([hang], timeout_s=0.2), "hang", {}, "1")
    assert message.text == "hang failed: no answer within 0.2 s. Try other arguments or another tool."
    assert message.status == "error"
    release.set()


async def test_async_tool_that_hangs_times_out_and_is_cancelled(run: Run) -> None:
    cancelled = threading.Event()

    async def hang() -> None:
        """Hang."""
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    message = await run(Toolbox([hang], timeout_s=0.2), "hang", {}, "1")
    assert "no answer within 0.2 s" in message.text
    assert await asyncio.to_thread(cancelled.wait, 60)


async def test_async_tool_that_ignores_cancellation_times_out(run: Run) -> None:
    release = threading.Event()

    async def cling() -> None:
        """Cling."""
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.05)

    message = await run(Toolbox([cling], timeout_s=0.2), "cling", {}, "1")
    assert "no answer within" in message.text
    release.set()


async def test_sync_tool_does_not_block_the_event_loop() -> None:
    started, release = threading.Event(), threading.Event()

    def work() -> bool:
        """Work until the loop says that it is enough."""
        started.set()
        return release.wait(60)

    task = asyncio.create_task(Toolbox([work]).aexecute("work", {}, "1"))
    while not started.is_set():
        await asyncio.sleep(0.01)
    release.set()
    assert (await task).text == "true"


@pytest.mark.parametrize("is_async", [False, True])
async def test_cancellation_is_passed_on_at_once(is_async: bool) -> None:
    started, release, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        """Work."""
        started.set()
        release.wait(60)
        ended.set()

    async def work_later() -> None:
        """Work."""
        started.set()
        await asyncio.sleep(60)
        ended.set()

    function: Any = work_later if is_async else work
    task = asyncio.create_task(Toolbox([function]).aexecute(function.__name__, {}, "1"))
    while not started.is_set():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not ended.is_set()
    release.set()


async def test_tool_that_hangs_does_not_keep_the_interpreter_alive(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import time\n"
        "from alpha_umi.tools import Toolbox\n"
        "def hang():\n"
        "    'Hang.'\n"
        "    time.sleep(600)\n"
        "Toolbox([hang], timeout_s=0.1).execute('hang', {}, '1')\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, str(script))
    assert await asyncio.wait_for(process.wait(), 120) == 0


async def test_no_blocking_call_is_made_on_the_event_loop(tmp_path: Path) -> None:
    blockbuster = pytest.importorskip("blockbuster", reason="comes with langgraph dev")
    path = tmp_path / "note.txt"
    path.write_text("remember")

    def read() -> str:
        """Read."""
        time.sleep(0.01)
        return path.read_text()

    toolbox = Toolbox([read, add_later])
    with blockbuster.blockbuster_ctx():
        assert (await toolbox.aexecute("read", {}, "1")).content == "remember"
        assert (await toolbox.aexecute("add_later", {"a": 1}, "1")).content == "2"
        assert (await toolbox.aexecute("read", {"a": 1}, "1")).status == "error"


# Context


class Recorder(BaseCallbackHandler):
    """Notes who ran inside whom, and with which result."""

    def __init__(self) -> None:
        self.parents: dict[str, UUID | None] = {}
        self.runs: dict[str, UUID] = {}
        self.call_ids: list[Any] = []
        self.outputs: list[Any] = []

    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self.runs[kwargs["name"]] = run_id
        self.parents[kwargs["name"]] = kwargs.get("parent_run_id")

    def on_tool_start(self, serialized: Any, input_str: str, *, run_id: UUID, **kwargs: Any) -> None:
        self.runs[serialized["name"]] = run_id
        self.parents[serialized["name"]] = kwargs.get("parent_run_id")
        self.call_ids.append(kwargs.get("tool_call_id"))

    def on_tool_end(self, output: Any, **kwargs: Any) -> None:
        self.outputs.append(output)

    def on_tool_error(self, error: BaseException, **kwargs: Any) -> None:
        self.outputs.append(error)


INNER: RunnableLambda[str, str] = RunnableLambda(lambda text: text * 1000, name="inner")


def outer(text: str) -> str:
    """Run something inside."""
    return INNER.invoke(text)


async def outer_later(text: str) -> str:
    """Run something inside."""
    return await INNER.ainvoke(text)


@pytest.mark.parametrize("function", [outer, outer_later])
async def test_tool_is_a_child_run_with_a_bounded_result(run: Run, function: Callable[..., Any]) -> None:
    name = function.__name__
    toolbox = Toolbox([function], max_observation_chars=100)

    async def node(text: str, config: RunnableConfig) -> ToolMessage:
        return await run(toolbox, name, {"text": text}, "call_5", config)

    recorder = Recorder()
    await RunnableLambda(node, name="node").ainvoke("word", {"callbacks": [recorder]})
    assert recorder.parents[name] == recorder.runs["node"]
    assert recorder.parents["inner"] == recorder.runs[name]
    assert recorder.call_ids == ["call_5"]
    assert len(recorder.outputs[0].content) <= 100


@pytest.mark.parametrize("function", [leave, leave_later, raise_error])
async def test_failed_tool_run_is_closed_in_the_trace(run: Run, function: Callable[..., Any]) -> None:
    recorder = Recorder()
    await run(Toolbox([function]), function.__name__, {}, "1", {"callbacks": [recorder]})
    assert len(recorder.outputs) == 1
    assert isinstance(recorder.outputs[0], Exception)


@pytest.mark.parametrize(("name", "arguments"), [("outer", {}), ("outer", "{text"), ("nothing", {"text": "word"})])
async def test_refused_call_is_a_failed_tool_run_in_the_trace(run: Run, name: str, arguments: Any) -> None:
    toolbox, recorder = Toolbox([outer]), Recorder()

    async def node(_: str, config: RunnableConfig) -> ToolMessage:
        return await run(toolbox, name, arguments, "call_5", config)

    message = await RunnableLambda(node, name="node").ainvoke("", {"callbacks": [recorder]})
    assert recorder.parents[name] == recorder.runs["node"]
    assert recorder.call_ids == ["call_5"]
    assert [str(error) for error in recorder.outputs] == [message.text]


async def test_tool_sees_context_and_config(run: Run) -> None:
    user = contextvars.ContextVar("user", default="nobody")

    def whoami(config: RunnableConfig) -> str:
        """Tell."""
        return f"{user.get()} {config['configurable']['thread_id']}"

    user.set("Ada")
    message = await run(Toolbox([whoami]), "whoami", {}, "1", {"configurable": {"thread_id": "t1"}})
    assert message.content == "Ada t1"


class State(TypedDict):
    answer: str


@pytest.mark.parametrize("is_async", [False, True])
async def test_interrupt_in_a_tool_pauses_the_graph(is_async: bool) -> None:
    def ask(question: str) -> str:
        """Ask a person."""
        return str(interrupt(question))

    toolbox = Toolbox([ask])

    def node(state: State, config: RunnableConfig) -> State:
        return {"answer": toolbox.execute("ask", {"question": "Really?"}, "1", config).text}

    async def anode(state: State, config: RunnableConfig) -> State:
        return {"answer": (await toolbox.aexecute("ask", {"question": "Really?"}, "1", config)).text}

    builder = StateGraph(State)
    builder.add_node("tools", RunnableLambda(node, anode))
    builder.add_edge(START, "tools")
    graph = builder.compile(checkpointer=InMemorySaver())
    config: RunnableConfig = {"configurable": {"thread_id": "1"}}

    async def go(value: Any) -> Any:
        return await graph.ainvoke(value, config) if is_async else await asyncio.to_thread(graph.invoke, value, config)

    paused = await go({"answer": ""})
    assert paused["__interrupt__"][0].value == "Really?"
    assert (await go(Command(resume="yes")))["answer"] == "yes"


# Tools from elsewhere

MCP_SERVER = """
from mcp.server.fastmcp import FastMCP
server = FastMCP("weather", log_level="ERROR")

@server.tool()
def forecast(city: str, days: int = 1) -> list[str]:
    '''Tell the weather.'''
    if city == "Atlantis":
        raise ValueError("under water")
    return [f"{city} day {day}: rain" for day in range(days)]

server.run()
"""


async def test_mcp_tool_works_through_both_doors(run: Run, tmp_path: Path) -> None:
    client_module = pytest.importorskip("langchain_mcp_adapters.client", reason="extra 'mcp' is not installed")
    server = tmp_path / "server.py"
    server.write_text(MCP_SERVER)
    connection = {"transport": "stdio", "command": sys.executable, "args": [str(server)]}
    tools = await client_module.MultiServerMCPClient({"weather": connection}).get_tools()
    toolbox = Toolbox(tools, timeout_s=120)
    message = await run(toolbox, "forecast", {"city": "Köln", "days": 2}, "1")
    assert (message.content, message.status) == ("Köln day 0: rain\nKöln day 1: rain", "success")
    assert message.artifact["structured_content"] == {"result": ["Köln day 0: rain", "Köln day 1: rain"]}
    message = await run(toolbox, "forecast", {"city": "Atlantis"}, "1")
    assert message.status == "error"
    assert "under water" in message.text
    assert "days: got" in (await run(toolbox, "forecast", {"city": "Köln", "days": "two"}, "1")).text
