"""Tools that hang, exit, take all memory: the agent is told and goes on, and nothing of them runs on."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Awaitable
from http.server import BaseHTTPRequestHandler
from importlib import import_module
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import pytest
from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig

from alpha_umi import create_umi_agent
from alpha_umi.errors import ConfigError, StorageError
from alpha_umi.graph.checkpointers import open_checkpointer
from alpha_umi.nodes.models.openai import make_openai
from alpha_umi.nodes.models.scripted import ScriptedChatModel
from alpha_umi.tools import Isolation, Toolbox, isolate, load_tools
from alpha_umi.tools.http.client import HttpClient
from alpha_umi.tools.isolation import IsolatedTool, isolate_tool
from tests.conftest import run_forked

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is bounded on Linux only")


def execute_in_thread(toolbox: Toolbox, name: str, arguments: dict[str, Any]) -> Awaitable[ToolMessage]:
    return asyncio.to_thread(toolbox.execute, name, arguments, "1")


def execute_on_loop(toolbox: Toolbox, name: str, arguments: dict[str, Any]) -> Awaitable[ToolMessage]:
    return toolbox.aexecute(name, arguments, "1")


@pytest.fixture
def tools() -> Any:
    return import_module("faulty_tools")


@pytest.fixture
def toolbox(tools: Any) -> Toolbox:
    found = [value for value in vars(tools).values() if isinstance(value, IsolatedTool)]
    return Toolbox(found, timeout_s=120)


async def test_isolated_tool_answers_and_its_end_is_told(toolbox: Toolbox, tmp_path: Path) -> None:
    effects = tmp_path / "effects"
    calls: list[tuple[str, dict[str, Any], str]] = [
        ("add", {"a": 2}, "3"),
        ("name_day", {"day": "2027-03-01"}, "Monday"),
        ("flood", {}, "flood was started, but its process ended (killed: out of memory, it may use 64 MB): outcome"),
        ("leave", {"code": 7}, "leave failed: its process ended (exit code 7)"),
        ("raise_anything", {"kind": "SystemExit"}, "raise_anything failed: SystemExit: no"),
        ("leave_after_effect", {"path": str(effects)}, "leave_after_effect was started, but its process ended (killed"),
    ]
    doors = cycle([execute_on_loop, execute_in_thread])
    messages = await asyncio.gather(
        *(execute(toolbox, name, arguments) for execute, (name, arguments, _) in zip(doors, calls, strict=False))
    )
    for message, (_, _, text) in zip(messages, calls, strict=True):
        assert message.text.startswith(text)
    assert [message.status for message in messages] == ["success"] * 2 + ["error"] * 4
    assert str(os.getpid()) not in messages[1].text
    assert effects.read_text() == "paid\n"
    assert "SIGSEGV): outcome unknown" in messages[-1].text


async def test_isolated_tool_that_hangs_is_ended_with_all_it_started(tools: Any, tmp_path: Path) -> None:
    path = tmp_path / "signs of life"
    slow = isolate_tool(tools.hang, Isolation(seconds=4))
    message = await Toolbox([slow]).aexecute("hang", {"path": str(path)}, "1")
    assert message.text == "hang failed: it gave no answer within 4 s, and its process was ended"
    await assert_is_still(path)


async def test_cancelled_call_ends_its_process_at_once(toolbox: Toolbox, tmp_path: Path) -> None:
    path = tmp_path / "signs of life"
    task = asyncio.create_task(toolbox.aexecute("hang", {"path": str(path)}, "1"))
    while not path.exists():
        assert not task.done()
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await assert_is_still(path)


async def test_time_limit_of_the_toolbox_ends_the_process_too(tools: Any, tmp_path: Path) -> None:
    path = tmp_path / "signs of life"
    message = await execute_in_thread(Toolbox([tools.hang], timeout_s=3), "hang", {"path": str(path)})
    assert "no answer within 3 s" in message.text
    await assert_is_still(path)


def test_process_of_a_tool_ends_with_a_killed_agent(tmp_path: Path) -> None:
    path = tmp_path / "signs of life"
    script = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import faulty_tools
        from alpha_umi.tools import Toolbox
        Toolbox([faulty_tools.hang]).execute("hang", {{"path": {str(path)!r}}}, "1")
        """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)]) as process:
        while not path.exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    asyncio.run(assert_is_still(path))


async def assert_is_still(path: Path) -> None:
    """Fail if something still writes to a file; the end of a process may take it a moment."""
    await asyncio.sleep(0.3)
    size = path.stat().st_size if path.exists() else 0
    await asyncio.sleep(0.3)
    assert size == (path.stat().st_size if path.exists() else 0)


async def test_isolation_makes_no_blocking_call_on_the_event_loop(toolbox: Toolbox) -> None:
    blockbuster = pytest.importorskip("blockbuster", reason="comes with langgraph dev")
    with blockbuster.blockbuster_ctx():
        assert (await toolbox.aexecute("add", {"a": 2}, "1")).text == "3"


def test_isolated_tool_is_told_to_the_model_as_the_plain_one(tools: Any) -> None:
    plain, isolated = Toolbox([tools.leave.inner]).specs, Toolbox([tools.leave]).specs
    assert plain == isolated
    assert (isolated[0].effects, isolated[0].source) == (plain[0].effects, plain[0].source) == ("none", "langchain")


def test_builtin_tool_can_be_isolated() -> None:
    [calculator] = load_tools(["builtin:calculator"])
    isolated = isolate_tool(calculator, Isolation(seconds=120))
    assert isolated.invoke({"expression": "6*7"}) == "42"
    assert Toolbox([isolated]).specs[0].source == "builtin"


def test_tool_that_no_process_can_import_is_refused(tools: Any) -> None:
    with pytest.raises(ConfigError, match="top level of a module"):
        isolate()(tools.make_local())


def test_wrapper_around_a_function_is_isolated_with_it_or_refused(tools: Any) -> None:
    assert isolate(seconds=120)(tools.guarded_send).invoke({"text": "x"}) == "refused"
    with pytest.raises(ConfigError, match="top level of a module"):
        isolate()(tools.guard(tools.send))


@pytest.mark.parametrize("bounds", [{"memory_mb": 1}, {"seconds": 0}])
def test_bounds_without_sense_are_refused(bounds: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="greater than"):
        isolate(**bounds)


def test_coroutine_tool_that_could_not_begin_has_not_taken_effect() -> None:
    did: list[str] = []

    async def block() -> None:
        """Block the event loop."""
        time.sleep(1)

    async def pay() -> None:
        """Pay."""
        did.append("paid")

    toolbox = Toolbox([block, pay], timeout_s=0.2)
    assert "outcome unknown" in toolbox.execute("block", {}, "1").text
    message = toolbox.execute("pay", {}, "2")
    assert message.text.startswith("pay could not begin within 0.2 s and will not")
    time.sleep(1)
    assert did == []
    assert Toolbox([pay]).execute("pay", {}, "3").status == "success"


def test_forked_child_runs_coroutine_tools_and_leaves_the_database_of_its_parent_alone(tmp_path: Path) -> None:
    async def pay() -> str:
        """Pay."""
        await asyncio.sleep(0)
        return f"paid by {os.getpid()}"

    toolbox = Toolbox([pay], timeout_s=20)
    assert toolbox.execute("pay", {}, "1").text == f"paid by {os.getpid()}"
    with open_checkpointer(tmp_path / "threads.sqlite") as saver:
        agent = create_umi_agent(
            ScriptedChatModel(script=["No.\nNext: give up."] * 9), [], approvals=False, checkpointer=saver
        )
        config: RunnableConfig = {"configurable": {"thread_id": "t"}}
        question: Any = {"messages": "Pay."}
        agent.invoke(question, config)

        def use() -> str:
            try:
                agent.invoke(question, config)
            except StorageError as error:
                return f"{toolbox.execute('pay', {}, '2').text} {error}"
            return "shared"

        pid, text = run_forked(use)
        assert text.startswith(f"paid by {pid} The threads in")
        assert "open them" in text
        assert agent.invoke(question, config)["finish"] == "give up"


@pytest.mark.parametrize("kind", ["tool", "model"])
def test_forked_child_opens_connections_of_its_own(kind: str, serving: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    ports: list[int] = []
    reply = {"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}
    completion = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [reply]}

    def answer(handler: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        ports.append(handler.client_address[1])
        handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        handler.protocol_version, handler.close_connection = "HTTP/1.1", False
        return 200, {"Content-Type": "application/json"}, json.dumps(completion).encode() if kind == "model" else b"ok"

    with serving(answer) as host:
        client = HttpClient(allowed_hosts=[host], private_hosts=[host], timeout_s=10, max_response_bytes=99)
        model = make_openai("m", {}, base_url=f"http://{host}/v1")

        def get() -> str:
            if kind == "model":
                return model.invoke("Hi").text
            return client.send(httpx.Request("GET", f"http://{host}/"), is_idempotent=True).text

        assert [get(), get(), run_forked(get)[1], get()] == ["ok"] * 4
    assert ports[0] == ports[1] == ports[3] != ports[2]
