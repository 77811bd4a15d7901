"""Redaction in a real `langgraph dev`: clients see values, the model does not."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph_sdk import get_client

from benchmarks.load import run_server

ANN = "ann@shop.example"
QUESTION: Any = {"messages": [{"role": "user", "content": f"Write to {ANN}."}]}
AGENT = '''
from pathlib import Path
from alpha_umi import create_umi_agent
from alpha_umi.nodes.models.scripted import ScriptedChatModel, replay

MAIL = "[REDACTED_EMAIL_1]"
SCRIPT = {
    "planner": [f"I write to {MAIL}.\\nNext: caller.", "Done.\\nNext: conclusion."],
    "caller": [f'Action: write_mail\\nAction Input: {{"to": "{MAIL}"}}'],
    "summarizer": [f"I wrote to {MAIL}."],
}
say = replay(SCRIPT)

def play(role, messages):
    with open("read.txt", "a") as file:
        file.write(str(messages))
    return say(role, messages)

def write_mail(to: str) -> str:
    """Write a mail."""
    return f"Sent to {to}, copy to bob@corp.example."

graph = create_umi_agent(ScriptedChatModel(script=play), [write_mail], redaction=["email"], name="private")
'''


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("private")


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[str]:
    (home / "private_agent.py").write_text(AGENT)
    config = {
        "dependencies": ["."],
        "graphs": {"agent": "private_agent:graph"},
        "checkpointer": {"path": "alpha_umi.graph.checkpointers.serve_checkpointer"},
    }
    (home / "langgraph.json").write_text(json.dumps(config))
    with run_server(home, n_jobs=2, environment={"ALPHA_UMI_CHECKPOINTER": str(home / "threads.sqlite")}) as running:
        yield running.url


async def test_client_sees_values_in_streams_questions_and_threads(server: str, home: Path) -> None:
    seen: dict[str, list[Any]] = {}

    async def stream(**given: Any) -> None:
        modes: Any = ["values", "updates", "messages-tuple", "debug"]
        async for part in client.runs.stream(thread, "agent", stream_mode=modes, **given):
            seen.setdefault(part.event, []).append(part.data)

    async with get_client(url=server) as client:
        thread = (await client.threads.create())["thread_id"]
        await stream(input=QUESTION)
        waiting = await client.threads.get_state(thread)
        (action,) = waiting["interrupts"][0]["value"]["action_requests"]
        assert action["args"] == {"to": ANN}
        edit = {"type": "edit", "edited_action": {"name": "write_mail", "args": {"to": "zoe@x.example"}}}
        await stream(command={"resume": {"decisions": [{"id": action["id"], **edit}]}})
        state: Any = await client.threads.get_state(thread)
        values: Any = (await client.threads.get(thread))["values"]
        history = await client.threads.get_history(thread)
    assert "error" not in seen, seen["error"]
    assert state["values"]["answer"] == values["answer"] == f"I wrote to {ANN}."
    assert state["values"]["messages"][2]["content"] == "Sent to zoe@x.example, copy to bob@corp.example."
    shown = [chunk for chunk, _ in seen["messages"] if chunk["type"] == "AIMessageChunk"]
    texts = [block["text"] for chunk in shown for block in chunk["content"] if block["type"] == "text"]
    assert "".join(texts) == f"I wrote to {ANN}."
    everything = json.dumps([seen, state, values, history])
    assert "REDACTED" not in everything
    assert "originals" not in json.dumps([state, values, history])
    read = (home / "read.txt").read_text()
    assert "[REDACTED_EMAIL_3]" in read
    assert not any(value in read for value in (ANN, "zoe@x.example", "bob@corp.example"))
