"""Servers of tools and models that fail: who is tried again, who is left alone, and what the agent is told."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest
from langchain_core.messages import AIMessageChunk
from langchain_core.tools import ToolException
from langgraph.checkpoint.memory import InMemorySaver

from alpha_umi import Toolbox, create_umi_agent
from alpha_umi.errors import ModelFault
from alpha_umi.graph.config import UmiSettings
from alpha_umi.graph.factory import load_toolbox, make_agent
from alpha_umi.nodes.models.openai import make_openai
from alpha_umi.nodes.models.specs import load_models
from alpha_umi.tools.http.breaker import BreakerOpen, RemoteSettings
from alpha_umi.tools.http.client import HttpClient
from alpha_umi.tools.openapi import load_openapi

Answer = tuple[int, Mapping[str, str], bytes]


QUICK = RemoteSettings(backoff_s=0.01, breaker_failures=4, breaker_rest_s=600)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


class Server:
    """Answers with what is next in `answers`, at the end with success; remembers when it was asked."""

    def __init__(self, *answers: Answer, then: bytes = b"fine") -> None:
        self.asked_at: list[float] = []
        self._answers = iter(answers)
        self._then = then

    def answer(self, handler: BaseHTTPRequestHandler) -> Answer:
        if handler.path == "/v1/models":
            return 404, {}, b""
        self.asked_at.append(time.monotonic())
        handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        return next(self._answers, (200, {"Content-Type": "application/json"}, self._then))


def let_pass(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + seconds)


def send(host: str, *, is_idempotent: bool = True) -> str:
    client = HttpClient(
        allowed_hosts=[host], private_hosts=[host], timeout_s=60, max_response_bytes=10_000, remote=QUICK
    )
    return client.send(httpx.Request("GET", f"http://{host}/"), is_idempotent=is_idempotent).text


def test_idempotent_call_is_tried_again_and_waits_as_long_as_the_server_asks(serving: Any) -> None:
    server = Server((503, {"Retry-After": "1"}, b""), (429, {}, b""))
    with serving(server.answer) as host:
        assert send(host) == "fine"
    first, second, _ = server.asked_at
    assert second - first >= 1


def test_call_that_may_have_had_an_effect_is_not_tried_again(serving: Any) -> None:
    server = Server((503, {}, b""))
    with serving(server.answer) as host, pytest.raises(ToolException, match="503"):
        send(host, is_idempotent=False)
    assert len(server.asked_at) == 1


@pytest.mark.parametrize(
    ("name", "is_reached", "is_unknown"), [("order", True, True), ("look", True, False), ("order", False, False)]
)
def test_call_whose_connection_breaks_is_unknown_only_if_it_was_sent(
    name: str, is_reached: bool, is_unknown: bool, serving: Any
) -> None:
    def hang_up(handler: BaseHTTPRequestHandler) -> Answer:
        raise ConnectionResetError

    paths = {"/": {"get": {"operationId": "look"}, "post": {"operationId": "order"}}}
    with serving(hang_up) as host:
        address = host if is_reached else "127.0.0.1:9"
        tools = load_openapi({"openapi": "3.1.0", "paths": paths}, base_url=f"http://{address}", remote=QUICK)
        text = Toolbox(tools).execute(name, {}, "1").text
    assert ("outcome unknown" in text) == is_unknown
    assert ("cannot be reached" in text) != is_unknown


def test_server_of_tools_that_fails_is_left_alone_and_probed(serving: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(*[(503, {}, b"")] * 4)
    with serving(server.answer) as host:
        with pytest.raises(ToolException, match="503"):
            send(host)  # three tries
        with pytest.raises(ToolException, match="503"):
            send(host)  # one more, and the next is not sent
        for _ in range(3):
            with pytest.raises(BreakerOpen, match=f"{host} failed 4 times in a row.*Do without it, or try later"):
                send(host)
        assert len(server.asked_at) == 4
        let_pass(600, monkeypatch)
        assert [send(host), send(host)] == ["fine", "fine"]


def test_refusals_of_a_server_that_is_well_open_nothing(serving: Any) -> None:
    server = Server(*[(404, {}, b"")] * 6)
    with serving(server.answer) as host:
        for _ in range(6):
            with pytest.raises(ToolException, match="404"):
                send(host)
        assert send(host) == "fine"


GARBAGE = [
    b"",
    b"<html>It works!</html>",
    b"null",
    b"[]",
    b"{}",
    b'{"choices": null}',
    b'{"choices": []}',
    b'{"choices": [{}]}',
    b'{"choices": [{"message": {"role": "assistant", "content": 7}}]}',
    b'{"error": {"message": "no"}}',
    b"\xff\xfe",
]
PLAN = {"message": {"role": "assistant", "content": "Easy.\nNext: conclusion."}, "finish_reason": "stop", "index": 0}
COMPLETION = json.dumps({"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [PLAN]})


@pytest.mark.parametrize("how", ["invoke", "stream"])
@pytest.mark.parametrize("body", GARBAGE)
def test_garbage_of_a_model_server_is_a_fault_in_words(body: bytes, how: str, serving: Any) -> None:
    with serving(Server(then=body).answer) as host:
        model = make_openai("m", {"remote": QUICK}, base_url=f"http://{host}/v1")
        with pytest.raises(ModelFault, match=f"{host} answered what is no chat completion"):
            list(getattr(model, how)("Hi"))


def test_model_server_that_fails_is_left_alone_and_the_thread_goes_on(
    serving: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = RemoteSettings(retries=0, breaker_failures=2, breaker_rest_s=600)
    server = Server(*[(500, {}, b"{}")] * 2, then=COMPLETION.encode())
    with serving(server.answer) as host:
        model = make_openai("m", {"remote": remote}, base_url=f"http://{host}/v1")
        agent = create_umi_agent(model, [], approvals=False, checkpointer=InMemorySaver())
        config: Any = {"configurable": {"thread_id": "1"}}
        question: Any = {"messages": "Hi"}
        with pytest.raises(ModelFault, match=r"cannot answer.*resume the thread"):
            agent.invoke(question, config)
        with pytest.raises(ModelFault, match="cannot answer"):
            agent.invoke(None, config)
        with pytest.raises(ModelFault, match=r"left alone.*resume the thread"):
            agent.invoke(None, config)
        assert len(server.asked_at) == 2
        let_pass(600, monkeypatch)
        assert agent.invoke(None, config)["finish"] == "answer"


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_what_a_server_sends_as_thoughts_is_kept_as_such(serving: Any, key: str) -> None:
    thought = {key: "Next: give up."}
    whole = json.loads(COMPLETION)
    whole["choices"][0]["message"] |= thought
    deltas = [thought, thought, {"content": PLAN["message"]["content"]}]  # type: ignore[index]
    events = [{**whole, "choices": [{"index": 0, "delta": {"role": "assistant", **delta}}]} for delta in deltas]
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    answers = [(200, {"Content-Type": "text/event-stream"}, body.encode())] * 3
    with serving(Server(*answers, then=json.dumps(whole).encode()).answer) as host:
        model = make_openai("m", {"remote": QUICK}, base_url=f"http://{host}/v1")
        streamed = sum(list(model.stream("Hi"))[1:], start=AIMessageChunk(content=""))
        assert streamed.additional_kwargs == {"reasoning_content": "Next: give up."}
        question: Any = {"messages": "Hi"}
        parts: list[Any] = [*create_umi_agent(model, []).stream(question, stream_mode=["messages", "values"])]
        state = parts[-1][1]
        reply = model.invoke("Hi")
    assert (reply.text, reply.additional_kwargs["reasoning_content"]) == (PLAN["message"]["content"], thought[key])  # type: ignore[index]
    assert state["messages"][-1].additional_kwargs["reasoning_content"].startswith("Next: give up.")
    assert state["finish"] == "answer"


def test_each_event_loop_closes_its_connections_to_a_model_server(serving: Any) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> tuple[int, Mapping[str, str], bytes]:
        handler.rfile.read(int(handler.headers["Content-Length"]))
        handler.protocol_version, handler.close_connection = "HTTP/1.1", False
        return 200, {}, COMPLETION.encode()

    async def ask() -> str:
        return (await model.ainvoke("Hi")).text

    with serving(answer) as host:
        model = make_openai("m", {"remote": QUICK}, base_url=f"http://{host}/v1")
        assert asyncio.run(ask()) == asyncio.run(ask()) == PLAN["message"]["content"]  # type: ignore[index]
    gc.collect()  # a connection left open would be told here


def test_error_in_the_middle_of_a_stream_is_a_fault(serving: Any) -> None:
    body = b'data: {"error": {"message": "the engine has died", "code": 500}}\n\n'
    with serving(lambda _: (200, {"Content-Type": "text/event-stream"}, body)) as host:
        model = make_openai("m", {"remote": QUICK}, base_url=f"http://{host}/v1")
        for _ in range(4):
            with pytest.raises(ModelFault, match=f"{host} cannot answer: the engine has died"):
                list(model.stream("Hi"))
        with pytest.raises(ModelFault, match="left alone"):
            list(model.stream("Hi"))


def test_password_of_a_model_server_is_in_no_fault() -> None:
    model = make_openai("m", {"remote": RemoteSettings(retries=0)}, base_url="http://ann:s3cret@127.0.0.1:9/v1")
    with pytest.raises(ModelFault, match=r"model server 127\.0\.0\.1:9 cannot") as caught:
        model.invoke("Hi")
    assert "s3cret" not in str(caught.value)


def test_settings_of_a_configuration_reach_tools_and_models(serving: Any, tmp_path: Path) -> None:
    tools, models = Server(*[(503, {}, b"")] * 9), Server(then=COMPLETION.encode())
    with serving(tools.answer) as api, serving(models.answer) as host:
        paths = {"/": {"get": {"operationId": "look"}}}
        (tmp_path / "api.json").write_text(json.dumps({"openapi": "3.1.0", "paths": paths}))
        (tmp_path / "settings.json").write_text(json.dumps({"document": "api.json", "base_url": f"http://{api}"}))
        settings = UmiSettings(
            models=f"openai:m@http://{host}/v1",
            tools=[f"openapi:{tmp_path}/settings.json"],
            remote=RemoteSettings(retries=3, backoff_s=0.001, breaker_failures=4),
        )
        toolbox = load_toolbox(settings)
        assert "503" in str(toolbox.execute("look", {}, "1").content)
        assert "failed 4 times in a row" in str(toolbox.execute("look", {}, "2").content)
        assert len(tools.asked_at) == 4
        agent = make_agent(settings, toolbox=toolbox)
        question: Any = {"messages": "Hi"}
        assert agent.invoke(question)["finish"] == "answer"
    model: Any = load_models(settings.models, remote=settings.remote)["planner"]
    assert (model.max_retries, model.remote) == (3, settings.remote)


def test_two_agents_of_one_process_keep_their_own_settings(serving: Any) -> None:
    server = Server(*[(503, {}, b"")] * 4)
    patient = RemoteSettings(retries=0, breaker_failures=9)
    with serving(server.answer) as host:
        for _ in range(2):
            with pytest.raises(ToolException, match="503"):
                send(host)
        with pytest.raises(BreakerOpen):
            send(host)
        client = HttpClient(
            allowed_hosts=[host], private_hosts=[host], timeout_s=60, max_response_bytes=10_000, remote=patient
        )
        assert client.send(httpx.Request("GET", f"http://{host}/"), is_idempotent=True).text == "fine"
