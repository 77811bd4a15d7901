"""A time limit is one for the whole call, whatever a server does; after it no thread and no connection is left.

No test here measures time: the servers drip for far longer than any limit, and then answer properly.
"""

from __future__ import annotations

import asyncio
import threading
from importlib import import_module
from typing import Any

import httpx
import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, ToolException

from alpha_umi import Toolbox
from alpha_umi.errors import ModelFault
from alpha_umi.nodes.models.openai import make_openai
from alpha_umi.tools.http.breaker import RemoteSettings
from alpha_umi.tools.http.client import HttpClient
from alpha_umi.tools.mcp import McpConnection, connect_mcp
from alpha_umi.tools.openapi import load_openapi

PATIENCE_S = 60.0
DRIPS = ("silence", "status line", "headers", "100 Continue", "103 Early Hints", "body", "chunks", "size of a chunk")
KINDS = (*DRIPS, "trailers", "error")


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connect to the servers of these tests."""
    monkeypatch.setattr("alpha_umi.tools.http.client.getproxies", dict)
    monkeypatch.setenv("NO_PROXY", "*")


def drip(kind: str, **more: Any) -> Any:
    helper = import_module("dripping")
    return helper.dripping(helper.TLS if kind == "TLS" else helper.DRIPS[kind], **more)


def check_left(server: Any) -> None:
    """Check that no tool still runs, and that every connection was closed, if the time sufficed to make one."""
    for thread in threading.enumerate():
        if thread.name.startswith("tool-"):
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
    for _ in range(server.met):
        assert server.left.acquire(timeout=PATIENCE_S)
    assert server.ended == 0


@pytest.mark.parametrize("kind", [*KINDS, "TLS"])
def test_request_ends_by_its_deadline(kind: str) -> None:
    with drip(kind) as server:
        client = HttpClient(
            allowed_hosts=[server.host], private_hosts=[server.host], timeout_s=0.5, max_response_bytes=10_000
        )
        request = httpx.Request("GET", f"{'https' if kind == 'TLS' else 'http'}://{server.host}/")
        with pytest.raises(ToolException, match=r"did not answer within 0\.5 s"):
            client.send(request, is_idempotent=True)
        check_left(server)


def call(toolbox: Toolbox, name: str, *, is_async: bool) -> ToolMessage:
    return asyncio.run(toolbox.aexecute(name, {}, "1")) if is_async else toolbox.execute(name, {}, "1")


def load(host: str, timeout_s: float) -> list[BaseTool]:
    paths = {"/": {"get": {"operationId": "slow"}, "post": {"operationId": "order"}}}
    return load_openapi({"openapi": "3.1.0", "paths": paths}, base_url=f"http://{host}", timeout_s=timeout_s)


@pytest.mark.parametrize("name", ["slow", "order"])
@pytest.mark.parametrize(("call_s", "toolbox_s"), [(0.5, 60), (60, 0.5)])
@pytest.mark.parametrize("is_async", [False, True])
def test_call_of_an_api_leaves_nothing_and_says_what_is_unknown(
    name: str, call_s: float, toolbox_s: float, is_async: bool
) -> None:
    with drip("headers") as server:
        toolbox = Toolbox(load(server.host, call_s), timeout_s=toolbox_s)
        for _ in range(
            20 if name == "order" else 1
        ):  # on a busy machine the time may be over before the request was sent
            told = str(call(toolbox, name, is_async=is_async).content)
            assert "answer within 0.5 s" in told
            if "outcome unknown" in told:
                break
        assert ("outcome unknown" in told) == (name == "order")
        check_left(server)


@pytest.mark.parametrize("kind", ["silence", "headers", "100 Continue", "chunks"])
@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
def test_request_of_a_model_leaves_nothing(kind: str, streams: bool, is_async: bool) -> None:
    async def read(model: Any) -> Any:
        return [part async for part in model.astream("Hi")] if streams else await model.ainvoke("Hi")

    with drip(kind) as server:
        remote = RemoteSettings(retries=0, model_timeout_s=0.5)
        model = make_openai("m", {"remote": remote}, base_url=f"http://{server.host}/v1")
        with pytest.raises(ModelFault, match="cannot answer"):
            asyncio.run(read(model)) if is_async else list(model.stream("Hi") if streams else model.invoke("Hi"))
        check_left(server)


@pytest.mark.parametrize("kind", ["silence", "headers", "100 Continue", "chunks"])
@pytest.mark.parametrize(("call_s", "toolbox_s"), [(0.5, 60), (60, 0.5)])
@pytest.mark.parametrize("is_async", [False, True])
def test_call_of_an_mcp_server_leaves_nothing(kind: str, call_s: float, toolbox_s: float, is_async: bool) -> None:
    with drip(kind, is_mcp=True) as server:
        connection = McpConnection("s", url=f"http://{server.host}/mcp")
        with connect_mcp(connection, timeout_s=call_s, start_timeout_s=60) as mcp:
            toolbox = Toolbox(mcp.load_tools()[0], timeout_s=toolbox_s)
            message = call(toolbox, "slow", is_async=is_async)
            assert "no answer within 0.5 s" in str(message.content)
            check_left(server)
            assert [spec.name for spec in Toolbox(mcp.load_tools()[0]).specs] == ["slow"]  # in the same session
