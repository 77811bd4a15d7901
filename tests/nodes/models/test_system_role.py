"""Servers that refuse a system message are asked without one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import openai
import pytest
from langchain_core.messages import HumanMessage, SystemMessage

from alpha_umi.nodes.format.zero_shot import join_system
from alpha_umi.nodes.models.openai import make_openai
from alpha_umi.tools.http.breaker import RemoteSettings
from tests.reliability.local_http import serving

MESSAGES = [SystemMessage("Be brief."), HumanMessage("Hi")]
JOINED = [{"role": "user", "content": "Be brief.\n\nHi"}]


class Server:
    """Refuses system messages in its words; remembers what it was asked."""

    def __init__(self, refusal: str, status: int = 400) -> None:
        self.asked: list[Any] = []
        self._refusal, self._status = refusal, status

    def answer(self, handler: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        request = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        self.asked.append(request["messages"])
        if request["messages"][0]["role"] == "system":
            fault = {"error": {"message": self._refusal, "type": "BadRequestError"}}
            return self._status, {"Content-Type": "application/json"}, json.dumps(fault).encode()
        message = {"role": "assistant", "content": "Hello."}
        kind = "delta" if request.get("stream") else "message"
        reply = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
        reply["choices"] = [{"index": 0, kind: message, "finish_reason": "stop"}]
        if kind == "message":
            return 200, {"Content-Type": "application/json"}, json.dumps(reply).encode()
        body = f"data: {json.dumps(reply)}\n\ndata: [DONE]\n\n"
        return 200, {"Content-Type": "text/event-stream"}, body.encode()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def server() -> Server:
    return Server("System role not supported")


@pytest.fixture
def model(server: Server) -> Iterator[Any]:
    with serving(server.answer) as host:
        yield make_openai("m", {}, base_url=f"http://{host}/v1")


def test_refused_system_message_is_joined_and_remembered(model: Any, server: Server) -> None:
    assert model.invoke(MESSAGES).text == "Hello."
    assert "".join(chunk.text for chunk in model.stream(MESSAGES)) == "Hello."
    assert server.asked[1:] == [JOINED, JOINED]


async def test_refused_system_message_is_joined_async_and_in_streams(model: Any, server: Server) -> None:
    assert "".join([chunk.text async for chunk in model.astream(MESSAGES)]) == "Hello."
    assert (await model.ainvoke(MESSAGES)).text == "Hello."
    assert server.asked[1:] == [JOINED, JOINED]


def test_the_first_stream_is_asked_again_as_well(model: Any, server: Server) -> None:
    assert "".join(chunk.text for chunk in model.stream(MESSAGES)) == "Hello."
    assert server.asked[1:] == [JOINED]


def test_other_refusals_are_raised() -> None:
    with serving((server := Server("no such model m")).answer) as host:
        model = make_openai("m", {}, base_url=f"http://{host}/v1")
        with pytest.raises(openai.BadRequestError, match="no such model"):
            model.invoke(MESSAGES)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [400, 422, 500])
@pytest.mark.parametrize(
    "refusal", ["Conversation roles must alternate user/assistant/user/assistant/...", "System role not supported"]
)
def test_refusals_in_the_words_of_servers_are_known(refusal: str, status: int) -> None:
    with serving((server := Server(refusal, status)).answer) as host:
        model = make_openai("m", {"remote": RemoteSettings(retries=0)}, base_url=f"http://{host}/v1")
        assert model.invoke(MESSAGES).text == "Hello."
    assert server.asked[-1] == JOINED


def test_join_system_keeps_the_order_of_the_others() -> None:
    said = [{"role": "assistant", "content": "Hi."}, {"role": "user", "content": "So?"}]
    system = {"role": "system", "content": "A."}
    assert join_system([system, *said, system]) == [said[0], {"role": "user", "content": "A.\n\nA.\n\nSo?"}]
    assert join_system([system]) == [{"role": "user", "content": "A."}]
