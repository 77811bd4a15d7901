"""Credentials of tools are shown to nobody: not to models, in traces, in logs or in errors."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import BaseTool
from langchain_core.tracers import LangChainTracer
from langsmith import Client

from alpha_umi import Toolbox, UmiContext, create_umi_agent
from alpha_umi.errors import AlphaUmiError
from alpha_umi.nodes.models.scripted import ScriptedChatModel
from alpha_umi.tools.mcp import McpConnection, connect_mcp
from alpha_umi.tools.openapi import load_openapi
from alpha_umi.tools.toolbench import ToolBenchServer, read_api_list

SECRETS = {
    "API_SECRET": "sk-openapi-7f3a9c",
    "BENCH_SECRET": "tb-key-51d0e8",
    "MCP_SECRET": "mcp-env-c0ffee",
}
LITERAL = "mcp-literal-badf00d"
MCP_SERVER = """
import os, sys
from mcp.server.fastmcp import FastMCP
mcp = FastMCP("echo")

@mcp.tool()
def show_env(fail: bool) -> str:
    "Show the variables."
    text = " ".join(f"{name}={value}" for name, value in os.environ.items())
    print(text, file=sys.stderr, flush=True)
    if fail:
        raise ValueError(text)
    return text

mcp.run()
"""


def echo(handler: BaseHTTPRequestHandler) -> tuple[int, Mapping[str, str], bytes]:
    """Answer with everything that the request held, as a careless server does, and with an error half the time."""
    body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0)).decode()
    seen = f"{handler.path} {handler.headers} {body}"
    status = 500 if "fail=true" in handler.path or '\\"fail\\": true' in body else 200
    return status, {"Content-Type": "application/json"}, json.dumps({"error": "", "response": seen}).encode()


@pytest.fixture
def leaky_tools(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, serving: Any) -> Iterator[list[BaseTool]]:
    """Tools of each kind that takes a credential, on servers that repeat it."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    script = tmp_path / "server.py"
    script.write_text(MCP_SERVER)
    variables = {"TOKEN": "${MCP_SECRET}", "OTHER_API_KEY": LITERAL}
    fail = {"name": "fail", "in": "query", "schema": {"type": "boolean"}}
    paths = {"/x": {"get": {"operationId": "call_api", "parameters": [fail]}}}
    rows = [{"category_name": "c", "tool_name": "t", "api_name": "bench", "method": "GET"}]
    rows[0] |= {"optional_parameters": [{"name": "fail", "type": "BOOLEAN"}]}  # type: ignore[dict-item]
    connection = McpConnection("echo", sys.executable, (str(script),), variables)
    with serving(echo) as host, connect_mcp(connection, timeout_s=60, start_timeout_s=60) as server:
        document = {"openapi": "3.0.1", "paths": paths}
        auth = {"header:X-Key": "API_SECRET", "query:key": "API_SECRET", "cookie:session": "API_SECRET"}
        bench = ToolBenchServer(f"http://{host}/virtual", key_variable="BENCH_SECRET")
        apis, _ = read_api_list(rows)
        tools, _ = server.load_tools()
        yield [*load_openapi(document, base_url=f"http://{host}", auth=auth), *map(bench.make_tool, apis), *tools]


def call_each(tools: list[BaseTool]) -> ScriptedChatModel:
    """Return a model that calls every tool, once to work and once to fail, and then answers."""
    calls = [(tool.name, fail) for tool in tools for fail in (False, True)]

    def write(role: str, messages: list[Any]) -> str:
        n_done = sum(message.role == "caller" for message in messages)
        if role == "planner":
            return "Next: caller." if n_done < len(calls) else "Next: conclusion."
        if role == "caller":
            return f"Action: {calls[n_done][0]}\nAction Input: {json.dumps({'fail': calls[n_done][1]})}"
        return "Done."

    return ScriptedChatModel(script=write)


def test_secrets_reach_no_prompt_trace_log_or_error(
    leaky_tools: list[BaseTool], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, serving: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("LANGSMITH_DISABLE_RUN_COMPRESSION", "true")
    received: list[bytes] = []

    def sink(handler: BaseHTTPRequestHandler) -> tuple[int, Mapping[str, str], bytes]:
        length = int(handler.headers.get("Content-Length") or 0)
        received.append(handler.rfile.read(length))
        while handler.headers.get("Transfer-Encoding") == "chunked" and (size := int(handler.rfile.readline(), 16)):
            received.append(handler.rfile.read(size))
            handler.rfile.readline()
        config = {"use_multipart_endpoint": True, "size_limit": 100, "size_limit_bytes": 20_971_520}
        config |= {"scale_up_nthreads_limit": 1, "scale_up_qsize_trigger": 1000, "scale_down_nempty_trigger": 4}
        return 200, {}, json.dumps({"version": "0.12.0", "batch_ingest_config": config}).encode()

    model = call_each(leaky_tools)
    with serving(sink) as host:
        client = Client(api_url=f"http://{host}", api_key="local")
        tracer = LangChainTracer(client=client, project_name="test")
        agent = create_umi_agent(model, Toolbox(leaky_tools, timeout_s=60))
        context = UmiContext(max_steps=20, failure_limit=None, repeat_limit=None)
        result = agent.invoke({"messages": [HumanMessage("hi")]}, {"callbacks": [tracer]}, context=context)
        tracer.wait_for_futures()
        client.flush()
    observations = [message for message in result["messages"] if message.type == "tool"]
    assert [message.status for message in observations] == ["success", "error"] * len(leaky_tools)
    assert len(observations) == 6
    assert all("[redacted]" in str(message.content) for message in observations)
    trace = b"".join(received).decode(errors="replace")
    assert "call_api" in trace
    assert "show_env" in trace
    shown = {
        "prompts": str(model.requests),
        "state": repr(result),
        "traces": trace,
        "logs": caplog.text,
        "tools": "".join(map(repr, [*leaky_tools, *Toolbox(leaky_tools).specs])),
    }
    secrets = [*SECRETS.values(), LITERAL]
    assert [(place, secret) for place, text in shown.items() for secret in secrets if secret in text] == []


def test_secrets_reach_no_error_of_a_server_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_SECRET", SECRETS["MCP_SECRET"])
    code = "import os, sys; sys.exit(' '.join(os.environ.values()))"
    connection = McpConnection("bad", sys.executable, ("-c", code), {"TOKEN": "${MCP_SECRET}", "API_KEY": LITERAL})
    assert LITERAL not in repr(connection)
    with connect_mcp(connection, start_timeout_s=60) as server, pytest.raises(AlphaUmiError) as caught:
        server.load_tools()
    assert "[redacted]" in str(caught.value)
    assert not [secret for secret in (SECRETS["MCP_SECRET"], LITERAL) if secret in str(caught.value)]
