"""A server on this machine that answers as a test wants it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

Answer: TypeAlias = Callable[[BaseHTTPRequestHandler], tuple[int, Mapping[str, str], bytes]]


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """Serve every request with `answer`; give the server's ``host:port``."""

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            status, headers, body = answer(self)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = handle_any

        def log_message(self, format: str, *args: Any) -> None:
            """Keep the test's output quiet."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """Clients that hang up are what some tests are about."""

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class McpFault(Exception):
    """Holds the error of a JSON-RPC answer."""


def read(handler: BaseHTTPRequestHandler) -> bytes:
    """Return the body of a request."""
    return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))


def answer_mcp(body: bytes, names: Sequence[str], call: Callable[[str], Any]) -> tuple[int, Mapping[str, str], bytes]:
    """Answer a message of the Model Context Protocol as a server with tools that take no arguments.

    Args:
        body: The message.
        names: Of the tools.
        call: Takes the name of a tool and returns the result of its call, or raises `McpFault`.
    """
    message = json.loads(body or b"{}")
    tools = [{"name": name, "inputSchema": {"type": "object", "properties": {}}} for name in names]
    info = {"name": "s", "version": "1"}
    results: dict[str, Callable[[], Any]] = {
        "initialize": lambda: {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info},
        "tools/list": lambda: {"tools": tools},
        "tools/call": lambda: call(message["params"]["name"]),
    }
    if message.get("method") not in results:
        return 202 if message else 405, {}, b""
    try:
        answer = {"result": results[message["method"]]()}
    except McpFault as fault:
        answer = {"error": fault.args[0]}
    reply = {"jsonrpc": "2.0", "id": message["id"], **answer}
    return 200, {"Content-Type": "application/json"}, json.dumps(reply).encode()
