import asyncio
import contextlib
import gc
import json
import logging
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp.server.fastmcp import FastMCP
from starlette.responses import PlainTextResponse

from alpha_umi.errors import ConfigError
from alpha_umi.tools import Toolbox, load_tools
from alpha_umi.tools.mcp import McpConnection, connect_mcp, load_mcp
from alpha_umi.tools.mcp.config import read_connections
from tests.conftest import run_forked

SERVER = '''
import os, sys, time
from mcp.server.fastmcp import FastMCP, Image
from mcp.types import ToolAnnotations

with open(os.environ.get("STARTS", os.devnull), "a") as file:
    print(os.getpid(), file=file)

mcp = FastMCP("test")
waiting = []

@mcp.tool()
def add(a: int, b: int) -> str:
    """Add two numbers."""
    return str(a + b)

@mcp.tool()
def pid() -> str:
    """Tell who serves."""
    return str(os.getpid())

@mcp.tool()
def die() -> str:
    """End in the middle of a call."""
    print("out of memory, key is", os.environ.get("TOKEN"), file=sys.stderr, flush=True)
    os._exit(3)

@mcp.tool()
async def slow(seconds: float) -> str:
    """Take time."""
    import anyio
    await anyio.sleep(seconds)
    return "done"

@mcp.tool()
async def meet(n_people: int) -> str:
    """Wait until so many are there."""
    import anyio
    waiting.append(1)
    while len(waiting) < n_people:
        await anyio.sleep(0.01)
    return "met"

@mcp.tool()
def flood(n_bytes: int) -> str:
    """Write to standard error."""
    for _ in range(n_bytes // 1000):
        sys.stderr.write("x" * 999 + "\\n")
    sys.stderr.flush()
    return "flooded"

@mcp.tool()
def fail() -> str:
    """Raise."""
    raise ValueError(f"no, {os.environ.get('TOKEN')}")

@mcp.tool()
def forecast(config: str, runtime: int = 1) -> dict[str, int]:
    """Arguments with names that LangChain keeps for itself."""
    return {config: runtime}

@mcp.tool()
def picture() -> list:
    """Show."""
    return ["a cat:", Image(data=b"123", format="png")]

mcp.run()
'''


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "server.py"
    path.write_text(SERVER)
    return str(path)


@pytest.fixture
def connection(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> McpConnection:
    monkeypatch.setenv("MCP_TEST_TOKEN", "opensesame")
    variables = {"TOKEN": "${MCP_TEST_TOKEN}", "STARTS": str(tmp_path / "starts")}
    return McpConnection("test", sys.executable, (script,), variables)


@pytest.fixture
def box(connection: McpConnection) -> Iterator[Toolbox]:
    with connect_mcp(connection, timeout_s=60) as server:
        tools, notes = server.load_tools()
        assert notes == []
        yield Toolbox(tools)


def run(toolbox: Toolbox, name: str, /, **arguments: Any) -> str:
    return str(toolbox.execute(name, arguments, "1").content)


def test_tools_are_described_and_called(box: Toolbox) -> None:
    add = next(spec for spec in box.specs if spec.name == "add")
    assert add.description == "Add two numbers."
    assert add.parameters["required"] == ["a", "b"]
    assert run(box, "add", a=2, b=3) == "5"
    assert run(box, "forecast", config="rain", runtime=4) == json.dumps({"rain": 4}, indent=2)
    assert run(box, "picture") == "a cat:\n(image/png, not shown)"
    assert "a: got" in run(box, "add", a="2", b=3)


def test_session_is_held_from_call_to_call(box: Toolbox) -> None:
    first = run(box, "pid")
    assert {run(box, "pid") for _ in range(20)} == {first}


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_forked_child_has_a_session_of_its_own(box: Toolbox) -> None:
    first = run(box, "pid")

    def ask() -> str:
        gc.collect()  # what is the parent's must not be closed
        return run(box, "pid")

    _, other = run_forked(ask)
    assert other.isdigit()
    assert first == run(box, "pid") != other


async def test_tools_work_beside_an_event_loop_and_at_once(box: Toolbox) -> None:
    calls = [box.aexecute("meet", {"n_people": 5}, str(i)) for i in range(5)]
    assert {message.content for message in await asyncio.gather(*calls)} == {"met"}


async def test_tools_are_langchain_tools(connection: McpConnection) -> None:
    with connect_mcp(connection) as server:
        add = next(tool for tool in server.load_tools()[0] if tool.name == "add")
        assert await add.ainvoke({"a": 1, "b": 2}) == "3"
        assert await asyncio.to_thread(add.invoke, {"a": 1, "b": 2}) == "3"


def test_server_that_dies_is_a_fault_and_is_started_again(box: Toolbox) -> None:
    first = run(box, "pid")
    fault = run(box, "die")
    assert fault.startswith("die failed: the server ended. Its last words: ")
    assert "out of memory, key is [redacted]" in fault
    assert "not known whether the call took effect" in fault
    second = run(box, "pid")
    assert second.isdecimal()
    assert second != first


def test_server_that_died_between_calls_is_started_again(box: Toolbox) -> None:
    os.kill(int(run(box, "pid")), 9)
    time.sleep(0.3)
    assert run(box, "add", a=1, b=1) == "2"


def test_slow_call_ends_and_leaves_the_session_usable(connection: McpConnection) -> None:
    with connect_mcp(connection, timeout_s=2) as server:
        box = Toolbox(server.load_tools()[0])
        first = run(box, "pid")
        assert "no answer within 2 s" in run(box, "slow", seconds=600)
        assert run(box, "pid") == first


async def test_cancelled_call_leaves_the_session_usable(box: Toolbox) -> None:
    work = asyncio.create_task(box.aexecute("slow", {"seconds": 30}, "1"))
    await asyncio.sleep(0.2)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert (await box.aexecute("add", {"a": 1, "b": 1}, "2")).content == "2"


async def test_start_that_is_cancelled_is_not_made_twice(connection: McpConnection) -> None:
    with connect_mcp(connection) as server:
        (pid,) = [tool for tool in (await asyncio.to_thread(server.load_tools))[0] if tool.name == "pid"]
        os.kill(int(await pid.ainvoke({})), 9)
        await asyncio.sleep(0.3)
        for _ in range(3):
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(pid.ainvoke({}), 0.05)
        last = await pid.ainvoke({})
        starts = Path(connection.env["STARTS"]).read_text().split()
        assert len(starts) == 2
        assert starts[-1] == last


def test_flood_of_standard_error_neither_blocks_nor_shows(box: Toolbox, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(box, "flood", n_bytes=20_000_000) == "flooded"
    assert len(run(box, "die")) < 1_000
    assert "xxx" not in capfd.readouterr().err


SELF_CONTRADICTING_SERVER = """
import anyio
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.types import CallToolResult, TextContent, Tool

server = Server("odd")

@server.list_tools()
async def list_tools():
    schema = {"type": "object", "properties": {}}
    return [Tool(name="odd", description="Odd.", inputSchema=schema, outputSchema={**schema, "required": ["a"]})]

@server.call_tool()
async def call(name, arguments):
    return CallToolResult(content=[TextContent(type="text", text="done")], structuredContent={"b": 1})

async def main():
    async with stdio_server() as streams:
        await server.run(*streams, server.create_initialization_options())

anyio.run(main)
"""


def test_result_is_not_held_to_a_schema_of_the_server(tmp_path: Path) -> None:
    path = tmp_path / "odd.py"
    path.write_text(SELF_CONTRADICTING_SERVER)
    with connect_mcp(McpConnection("odd", command=sys.executable, args=(str(path),))) as server:
        assert run(Toolbox(server.load_tools()[0]), "odd") == "done"


def test_errors_of_a_tool_are_its_own_words(box: Toolbox) -> None:
    assert run(box, "fail") == "fail failed: Error executing tool fail: no, [redacted]"


def test_session_ends_with_its_last_tool(connection: McpConnection) -> None:
    (tool,) = [tool for tool in connect_mcp(connection).load_tools()[0] if tool.name == "pid"]
    process = int(tool.invoke({}))
    del tool
    gc.collect()
    for _ in range(50):
        time.sleep(0.1)
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return
    pytest.fail("the server still runs")


def test_interpreter_ends_quietly_without_closing(tmp_path: Path, script: str) -> None:
    servers = {"mcpServers": {"one": {"command": sys.executable, "args": [script]}}}
    (tmp_path / "mcp.json").write_text(json.dumps(servers))
    code = """
    from alpha_umi.tools import load_tools
    tools = {tool.name: tool for tool in load_tools(["mcp:mcp.json"])}
    print(tools["add"].invoke({"a": 1, "b": 2}))
    """
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", textwrap.dedent(code)],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("3\n", 0)
    assert "Traceback" not in done.stderr


def test_tools_of_several_servers_get_different_names(tmp_path: Path, script: str) -> None:
    entry = {"command": sys.executable, "args": [script], "autoApprove": []}
    servers = {"one": entry, "two": entry, "off": {"disabled": True}}
    (tmp_path / "mcp.yaml").write_text(json.dumps({"mcpServers": servers}))
    names = [tool.name for tool in load_tools([f"mcp:{tmp_path}/mcp.yaml"])]
    assert len(names) == len(set(names)) == 18
    assert {"one_add", "two_add"} < set(names)


def make_http_server() -> FastMCP:
    mcp = FastMCP("http")

    @mcp.tool()
    def whoami() -> str:
        """Tell which credential came."""
        request = mcp.get_context().request_context.request
        assert request is not None
        return str(request.headers.get("x-key"))

    return mcp


@pytest.fixture
def http_server(serve: Callable[[Any], str]) -> str:
    return f"{serve(make_http_server().streamable_http_app())}/mcp"


def test_http_server_is_called_with_credentials_that_nobody_sees(
    http_server: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)  # at DEBUG the SDK logs whole answers, and this server's holds the credential
    monkeypatch.setenv("MCP_TEST_TOKEN", "opensesame")
    connection = McpConnection("web", url=http_server, headers={"X-Key": "k ${MCP_TEST_TOKEN}"})
    with connect_mcp(connection) as server:
        (tool,) = server.load_tools()[0]
        assert tool.invoke({}) == "k [redacted]"
    assert "opensesame" not in repr(tool) + repr(connection) + caplog.text


def test_http_server_by_address_alone(http_server: str) -> None:
    (tool,) = load_tools([f"mcp:{http_server}"])
    assert tool.invoke({}) == "None"


def test_http_session_that_the_server_forgot_is_opened_again(serve: Callable[[Any], str]) -> None:
    app = make_http_server().streamable_http_app()
    seen: list[bytes] = []
    forgotten: list[bytes] = []

    async def forgetful(scope: Any, receive: Any, send: Any) -> None:
        session = dict(scope.get("headers", ())).get(b"mcp-session-id", b"")
        seen.append(session)
        await (PlainTextResponse("", 404) if session in forgotten else app)(scope, receive, send)

    with connect_mcp(McpConnection("web", url=f"{serve(forgetful)}/mcp")) as server:
        (tool,) = server.load_tools()[0]
        assert tool.invoke({}) == "None"
        forgotten.append(seen[-1])
        assert tool.invoke({}) == "None"
        assert seen[-1] not in forgotten


def test_http_server_that_fails_in_a_call_is_a_fault_and_is_reached_again(serve: Callable[[Any], str]) -> None:
    app = make_http_server().streamable_http_app()
    failures: list[int] = []

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        if failures and scope.get("method") == "POST":
            await PlainTextResponse("<html>", failures.pop())(scope, receive, send)
        else:
            await app(scope, receive, send)

    with connect_mcp(McpConnection("web", url=f"{serve(failing)}/mcp"), timeout_s=60) as server:
        toolbox = Toolbox(server.load_tools()[0])
        for status in (500, 429):
            failures.append(status)
            fault = run(toolbox, "whoami")
            assert f"the server answered {status}" in fault
            assert "not known whether the call took effect" in fault
            assert run(toolbox, "whoami") == "None"


def test_http_errors_are_readable(serve: Callable[[Any], str]) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await PlainTextResponse("no", 503)(scope, receive, send)

    with pytest.raises(ConfigError, match="MCP server 'web': the server answered 503 Service Unavailable"):
        connect_mcp(McpConnection("web", url=f"{serve(broken)}/mcp")).load_tools()
    with pytest.raises(ConfigError, match=r"the server cannot be reached \(ConnectError\)"):
        load_mcp("http://127.0.0.1:9/mcp")


def test_server_of_server_sent_events_is_named_as_one(serve: Callable[[Any], str]) -> None:
    app = FastMCP("events")
    app.add_tool(lambda a: f"{a} seen", name="look", description="Look.")
    address = f"{serve(app.sse_app())}/sse"
    content = {"mcpServers": {"events": {"type": "sse", "url": address}}}
    toolbox = Toolbox(load_mcp(content))
    assert run(toolbox, "look", a="x") == "x seen"
    with pytest.raises(ConfigError, match="If it speaks server-sent events, name it in a file with"):
        load_mcp(address)


@pytest.mark.parametrize(
    ("code", "seconds", "message"),
    [
        ("import no_such_module", 60, "the server ended. Its last words: .*No module named 'no_such_module'"),
        ("import time; time.sleep(60)", 1, "did not start within 1 s"),
        ("print('not json', flush=True); import time; time.sleep(60)", 1, "did not start within 1 s"),
    ],
)
def test_server_that_does_not_start_says_why(code: str, seconds: float, message: str) -> None:
    logging.getLogger("mcp").setLevel(logging.CRITICAL)
    with pytest.raises(ConfigError, match=message):
        connect_mcp(McpConnection("bad", sys.executable, ("-c", code)), start_timeout_s=seconds).load_tools()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, 'has no "mcpServers"'),
        ({"mcpServers": {"a": {}}}, "server 'a': give either a 'command' or a 'url'"),
        ({"mcpServers": {"a": {"command": ["x"]}}}, "server 'a', command: Input should be a valid string"),
        ({"mcpServers": {"a": {"command": "no-such-command"}}}, "there is no command 'no-such-command'; install it"),
        ({"mcpServers": {"a": {"command": "x", "env": {"K": "${NOT_SET}"}}}}, "'NOT_SET' is named as a credential"),
        ({"mcpServers": {"a": {"url": "ws://h/", "type": "ws"}}}, "server 'a', type: Input should be .*'sse'"),
        ({"mcpServers": {"a": {"url": "http://me:pw@h/"}}}, "holds a credential"),
        ({"mcpServers": {"a": {"url": "http://h/", "headers": {"K": "${HOME}"}}}}, "only sent over HTTPS"),
    ],
)
def test_wrong_configuration_says_what_to_do(content: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_mcp(content)


def test_missing_file_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"cannot be read: .*as a JSON or YAML file, or an address"):
        load_mcp("no/such.json")


def test_missing_extra_says_what_to_install() -> None:
    code = """
    import sys
    sys.modules["mcp"] = None
    from alpha_umi.tools import load_tools
    try:
        load_tools(["mcp:http://127.0.0.1:9/"])
    except Exception as error:
        print(type(error).__name__, error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ConfigError MCP servers need an extra: pip install 'alpha-umi[mcp]'")


def test_variables_of_a_command_are_never_sent_to_an_address() -> None:
    server = {"url": "https://host/mcp", "env": {"A": "1"}, "headers": {"B": "2"}}
    (connection,) = read_connections({"mcpServers": {"s": server}})
    assert connection.expand()[0] == {"B": "2"}
