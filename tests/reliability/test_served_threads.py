"""Threads of the command line and of a `langgraph dev` server on one database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from langchain_core.messages import BaseMessage
from langgraph_sdk import get_sync_client
from langgraph_sdk.errors import ConflictError

from alpha_umi import create_umi_agent
from alpha_umi.errors import StorageError
from alpha_umi.graph.checkpointers import open_async_checkpointer, open_checkpointer
from alpha_umi.nodes.durability import claims
from alpha_umi.nodes.durability.checkpointers import DurableSaver
from alpha_umi.nodes.durability.effects import find_ledger
from alpha_umi.nodes.models.scripted import ScriptedChatModel, replay
from benchmarks.load import run_server

SCRIPT: Any = {
    "planner": ["I pay.\nNext: caller.", "Done.\nNext: conclusion."],
    "caller": ['Action: pay\nAction Input: {"sum": 5}'],
    "summarizer": ["Paid."],
}
TOOLS = """
from alpha_umi import declare_effects

@declare_effects("none")
def pay(sum: int) -> str:
    'Pay.'
    return f"{sum} paid"
"""
SETTINGS = {"ALPHA_UMI_MODELS": "scripted:script.yaml", "ALPHA_UMI_TOOLS": "tools:pay"}
QUESTION: Any = {"messages": [{"role": "user", "content": "Pay."}]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "script.yaml").write_text(yaml.safe_dump(SCRIPT))
    (tmp_path / "tools.py").write_text(TOOLS)
    return tmp_path


def read_messages(saver: DurableSaver, thread: str) -> list[BaseMessage]:
    found = saver.get_tuple({"configurable": {"thread_id": thread}})
    assert found is not None
    messages: list[BaseMessage] = found.checkpoint["channel_values"]["messages"]
    return messages


def umi(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "alpha_umi.cli", *arguments]
    return subprocess.run(
        command, cwd=folder, env=os.environ | SETTINGS, capture_output=True, text=True, timeout=120, check=False
    )


def test_command_line_keeps_threads_in_postgres(postgres: str, folder: Path) -> None:
    ask = ("ask", "Pay.", "--thread", "t", "--checkpointer", postgres, "--json")
    for n_questions in (1, 2):
        done = umi(folder, *ask)
        assert done.returncode == 0, done.stderr
        kinds = [message["type"] for message in json.loads(done.stdout)["messages"]]
        assert kinds.count("human") == n_questions
    with open_checkpointer(postgres) as saver:
        assert [message.text for message in read_messages(saver, "t") if message.type == "human"] == ["Pay.", "Pay."]
        with saver.claim("t"):
            busy = umi(folder, *ask)
    assert busy.returncode == 1
    assert "Thread 't' is in use by another process" in busy.stderr


@pytest.fixture
def wrap(monkeypatch: pytest.MonkeyPatch) -> Callable[[DurableSaver], Any]:
    """Do to a checkpointer what LangGraph's server does; its package wants to know of databases."""
    for name in ("REDIS_URI", "DATABASE_URI", "MIGRATIONS_PATH"):
        monkeypatch.setenv(name, "none")
    adapter: Any = pytest.importorskip("langgraph_api._checkpointer._adapter")
    return lambda saver: adapter._CustomCheckpointerAdapter(
        saver, adapter.CheckpointerCapabilities.from_type(type(saver))
    )


async def test_run_of_a_server_claims_its_thread_and_has_the_ledger_of_its_database(
    where: str, wrap: Callable[[DurableSaver], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_CLAIM_TIMEOUT_S", 0.3)
    async with open_async_checkpointer(where) as ours, open_async_checkpointer(where) as theirs:
        served = wrap(ours)
        assert find_ledger(served) is ours.ledger
        agent = create_umi_agent(ScriptedChatModel(script=replay(SCRIPT)), [], approvals=False, checkpointer=served)
        with theirs.claim("t"), pytest.raises(StorageError, match="in use"):
            await agent.ainvoke(QUESTION, {"configurable": {"thread_id": "t"}})


@pytest.mark.slow
def test_server_keeps_and_claims_threads_in_the_checkpointer_of_its_configuration(where: str, folder: Path) -> None:
    shipped = json.loads((Path(__file__).parents[2] / "langgraph.json").read_text())
    (folder / "langgraph.json").write_text(json.dumps({**shipped, "env": {}}))
    serving = run_server(folder, environment=SETTINGS | {"ALPHA_UMI_CHECKPOINTER": where})
    with serving as server, get_sync_client(url=server.url) as client, open_checkpointer(where) as saver:
        thread = client.threads.create()["thread_id"]
        result: Any = client.runs.wait(thread, "agent", input=QUESTION, durability="async")
        assert result["answer"] == "Paid."
        assert len(client.threads.get_history(thread)) > 3
        with saver.claim(thread):
            refused: Any = client.runs.wait(thread, "agent", input=QUESTION, raise_error=False)
        assert "is in use by another process" in refused["__error__"]["message"]
        assert [message.text for message in read_messages(saver, thread) if message.type == "tool"] == ["5 paid"]


WAITING_AGENT = """
import asyncio
from pathlib import Path

from alpha_umi import create_umi_agent, declare_effects
from alpha_umi.nodes.models.scripted import ScriptedChatModel, replay

SCRIPT = {
    "planner": ["I wait.\\nNext: caller.", "Done.\\nNext: conclusion."],
    "caller": ["Action: wait\\nAction Input: {}"],
    "summarizer": ["Waited."],
}

@declare_effects("none")
async def wait() -> str:
    'Wait until the file "go" is there.'
    await asyncio.to_thread(Path("waiting").touch)
    while not await asyncio.to_thread(Path("go").exists):
        await asyncio.sleep(0.05)
    return "waited"

graph = create_umi_agent(ScriptedChatModel(script=replay(SCRIPT)), [wait], name="waiting")
"""


@pytest.mark.slow
def test_server_does_what_every_multitask_strategy_says(where: str, folder: Path) -> None:
    (folder / "waiting_agent.py").write_text(WAITING_AGENT)
    keeper = "alpha_umi.graph.checkpointers.serve_checkpointer"
    graphs = {"waiting": "waiting_agent:graph"}
    (folder / "langgraph.json").write_text(
        json.dumps({"dependencies": ["."], "graphs": graphs, "checkpointer": {"path": keeper}})
    )
    serving = run_server(folder, environment=SETTINGS | {"ALPHA_UMI_CHECKPOINTER": where})
    with serving as server, get_sync_client(url=server.url) as client:
        for strategy, expected in (
            ("reject", ["first"]),
            ("enqueue", ["first", "second"]),
            ("interrupt", ["first", "second"]),
            ("rollback", ["second"]),
        ):
            assert _ask_twice(client, folder, strategy) == (expected, "idle"), strategy
        thread = client.threads.create()["thread_id"]
        run = _begin(client, folder, thread)
        client.runs.cancel(thread, run, action="rollback", wait=True)
        _wait_until(lambda: client.threads.get(thread)["status"] == "idle")
        assert client.threads.get_state(thread)["values"] in ({}, [])
        copied: Any = client.threads.copy(_ask(client, folder))  # type: ignore[func-returns-value]  # it does
        thread = copied["thread_id"]
        assert _list_questions(client, thread) == ["first"]
        client.threads.delete(thread)
        with open_checkpointer(where) as saver:
            assert saver.get_tuple({"configurable": {"thread_id": thread}}) is None


def _ask(client: Any, folder: Path) -> str:
    thread = str(client.threads.create()["thread_id"])
    _begin(client, folder, thread)
    _finish(client, folder, thread)
    return thread


def _ask_twice(client: Any, folder: Path, strategy: Any) -> tuple[list[str], str]:
    """Ask while an answer is under way; return the questions that are left, and the status of the thread."""
    thread = client.threads.create()["thread_id"]
    first = _begin(client, folder, thread)
    if strategy == "reject":
        with pytest.raises(ConflictError):
            client.runs.create(thread, "waiting", input=_say("second"), multitask_strategy=strategy)
    else:
        client.runs.create(thread, "waiting", input=_say("second"), multitask_strategy=strategy)
    if strategy in ("interrupt", "rollback"):
        _wait_until(lambda: first not in [run["run_id"] for run in client.runs.list(thread, status="running")])
    return _finish(client, folder, thread)


def _begin(client: Any, folder: Path, thread: str) -> str:
    (folder / "waiting").unlink(missing_ok=True)
    run = client.runs.create(thread, "waiting", input=_say("first"))
    _wait_until((folder / "waiting").exists)
    return str(run["run_id"])


def _finish(client: Any, folder: Path, thread: str) -> tuple[list[str], str]:
    (folder / "go").touch()
    _wait_until(lambda: client.threads.get(thread)["status"] != "busy")
    (folder / "go").unlink()
    return _list_questions(client, thread), client.threads.get(thread)["status"]


def _list_questions(client: Any, thread: str) -> list[str]:
    messages = client.threads.get_state(thread)["values"]["messages"]
    return [message["content"] for message in messages if message["type"] == "human"]


def _say(text: str) -> Any:
    return {"messages": [{"role": "user", "content": text}]}


def _wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)
