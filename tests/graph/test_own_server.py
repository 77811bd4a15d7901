"""The project of one's own that docs/serving.md shows, in a real `langgraph dev`."""

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import AuthenticationError, UnprocessableEntityError

from alpha_umi import create_umi_agent
from benchmarks.load import run_server

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text("utf-8")
QUESTION: Any = {"messages": [{"role": "user", "content": "What is 17% of 2340?"}]}


def find_block(after: str, language: str) -> str:
    found = re.search(rf"{re.escape(after)}.*?^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert found
    return found[1]


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "script.yaml"
    path.write_text(find_block("## Without a model", "yaml"))
    return path


@pytest.fixture(scope="module")
def server(script: Path) -> Iterator[str]:
    home = script.parent
    agent = find_block("`my_agent.py`", "python").replace("hf:smollm2-135m-umi", f"scripted:{script}")
    (home / "my_agent.py").write_text(agent)
    (home / "my_auth.py").write_text(find_block("`my_auth.py`", "python"))
    (home / "langgraph.json").write_text(find_block("And `langgraph.json`", "json"))
    environment = {"MY_AGENT_KEY": "sesame", "ALPHA_UMI_CHECKPOINTER": str(home / "threads.sqlite")}
    with run_server(home, n_jobs=2, environment=environment) as running:
        yield running.url


def test_script_of_the_page_is_one(script: Path) -> None:
    assert set(yaml.safe_load(script.read_text())) == {"planner", "caller", "summarizer"}
    agent = create_umi_agent(f"scripted:{script}", ["builtin:calculator"])
    assert agent.invoke(QUESTION)["answer"] == "17% of 2340 = 397.8."


async def test_own_server_answers_who_knows_the_key_and_nobody_else(server: str) -> None:
    async with get_client(url=server, headers={"Authorization": "Bearer sesame"}) as client:
        thread = await client.threads.create()
        result: Any = await client.runs.wait(thread["thread_id"], "agent", input=QUESTION)
        assert result["answer"] == "17% of 2340 = 397.8."
        await client.store.put_item(["notes"], "a", {"b": 1})
        assert (await client.store.get_item(["notes"], "a"))["value"] == {"b": 1}
    for headers in ({}, {"Authorization": "Bearer x"}):
        async with get_client(url=server, headers=headers) as client:
            with pytest.raises(AuthenticationError):
                await client.threads.create()


UNKNOWN = r"context\.max_stepz: no such setting; settings are strategy, "
WRONG = r"context\.max_steps: Input should be greater than or equal to 1"


@pytest.fixture
async def client(server: str) -> AsyncIterator[LangGraphClient]:
    async with get_client(url=server, headers={"Authorization": "Bearer sesame"}) as client:
        yield client


@pytest.mark.parametrize(("context", "fault"), [({"max_stepz": 3}, UNKNOWN), ({"max_steps": 0}, WRONG)])
async def test_context_is_refused_by_the_name_of_its_field(client: LangGraphClient, context: Any, fault: str) -> None:
    good: Any = {"max_steps": 2}
    assistant = (await client.assistants.create("agent", context=good))["assistant_id"]
    thread = (await client.threads.create())["thread_id"]
    batch: Any = [{"assistant_id": assistant, "input": QUESTION, "context": context}]
    for attempt in (
        client.assistants.create("agent", context=context),
        client.assistants.update(assistant, context=context),
        client.runs.create(thread, "agent", input=QUESTION, context=context),
        client.runs.create(thread, assistant, input=QUESTION, context=context),
        client.runs.create_batch(batch),
    ):
        with pytest.raises(UnprocessableEntityError, match=fault):
            await attempt
    with pytest.raises(UnprocessableEntityError, match=fault):
        async for _ in client.runs.stream(thread, assistant, input=QUESTION, context=context):
            pass
    result: Any = await client.runs.wait(thread, assistant, input=QUESTION, context={"temperature": 0.1})
    assert result["answer"] == "17% of 2340 = 397.8."
    settings = (await client.threads.get_state(thread))["values"]["settings"]  # type: ignore[call-overload]
    assert (settings["max_steps"], settings["temperature"]) == (2, 0.1)


async def test_what_a_tool_reads_from_the_config_is_no_setting(client: LangGraphClient) -> None:
    config: Any = {"configurable": {"user_id": "ann"}}
    result: Any = await client.runs.wait(None, "agent", input=QUESTION, config=config)
    assert result["answer"] == "17% of 2340 = 397.8."
