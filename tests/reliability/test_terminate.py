"""SIGTERM while an answer is streamed: the process ends within five seconds, and the thread can be continued."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from langgraph_sdk import get_client

from alpha_umi import create_umi_agent
from alpha_umi.graph.checkpointers import open_checkpointer
from alpha_umi.nodes.models.scripted import ScriptedChatModel, replay
from benchmarks.load import Server, serve
from tests.reliability.terminated import read_words

HERE = Path(__file__).parent
PATH = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))

CLI = ("--yes", "-m", "slow:x", "--tools", "terminated:note", "--thread", "t", "--database", "threads.sqlite")
SERVED = """
from alpha_umi import create_umi_agent
from terminated import make_model, note

graph = create_umi_agent(make_model(), [note], approvals=False)
"""
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGTERM")


@contextmanager
def start(*arguments: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = os.environ | {"PYTHONPATH": PATH, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, str(HERE / "terminated.py"), *arguments]
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: subprocess.Popen[bytes], text: bytes) -> bytes:
    seen = b""
    assert process.stdout is not None
    while text not in seen:
        piece = os.read(process.stdout.fileno(), 4096)
        assert piece, seen.decode()
        seen += piece
    return seen


def terminate(process: subprocess.Popen[bytes]) -> None:
    """Send SIGTERM and wait for the end; that the answer was not waited for shows in the thread."""
    process.send_signal(signal.SIGTERM)
    process.wait(120)


def go_on(folder: Path) -> Any:
    """Go on with thread ``t`` quickly."""
    terminated = import_module("terminated")
    with open_checkpointer(folder / "threads.sqlite") as saver:
        model = ScriptedChatModel(script=replay(terminated.SCRIPT))
        agent = create_umi_agent(model, [terminated.note], approvals=False, checkpointer=saver)
        config: Any = {"configurable": {"thread_id": "t"}}
        assert agent.get_state(config).tasks
        return agent.invoke(None, config)


@pytest.mark.parametrize(
    ("arguments", "question", "code"),
    [
        pytest.param(("ask", "Note x.", *CLI), b"", 143, id="ask"),
        pytest.param(("chat", *CLI), b"Note x.\n", 143, id="chat"),
        pytest.param(("embed", "threads.sqlite", "t"), b"", -signal.SIGTERM, id="embedded"),
    ],
)
def test_sigterm_in_a_stream_ends_in_time_and_the_thread_goes_on(
    arguments: tuple[str, ...], question: bytes, code: int, tmp_path: Path
) -> None:
    with start(*arguments, folder=tmp_path) as process:
        assert process.stdin is not None
        process.stdin.write(question)
        process.stdin.flush()
        read_until(process, b"think about")
        terminate(process)
        assert process.returncode == code
    assert go_on(tmp_path)["answer"] == "Noted."
    assert (tmp_path / "effects").read_text() == "x\n"


@pytest.mark.slow
async def test_sigterm_to_the_server_ends_it_in_time_and_the_thread_goes_on(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{PATH}", "ALPHA_UMI_CHECKPOINTER": str(tmp_path / "t.sqlite")}
    with serve(tmp_path, agent=SERVED, environment=environment) as server:
        thread = await begin(server)
        await asyncio.to_thread(terminate, server.process)
    with serve(tmp_path, agent=SERVED, environment=environment) as server:
        async with get_client(url=server.url) as client:
            state: Any = await client.threads.get_state(thread)
            assert [message["type"] for message in state["values"]["messages"]] == ["human", "ai", "tool"]
            if not await client.runs.list(thread):  # the run itself may be lost with the server's own list
                await client.runs.create(thread, "agent", input=None)
            run = (await client.runs.list(thread))[0]
            await client.runs.join(thread, run["run_id"])
            state = await client.threads.get_state(thread)
    assert state["values"]["answer"] == "Noted."
    assert (tmp_path / "effects").read_text() == "x\n"


async def begin(server: Server) -> str:
    """Begin a run and return its thread once the planner thinks for the second time."""
    async with get_client(url=server.url) as client:
        thread = str((await client.threads.create())["thread_id"])
        question: Any = {"messages": "Note x."}
        text = ""
        async for part in client.runs.stream(thread, "agent", input=question, stream_mode="messages-tuple"):
            text += read_words(part.data[0]["content"]) if part.event == "messages" else ""
            if "think about" in text:
                return thread
    raise AssertionError(text)
