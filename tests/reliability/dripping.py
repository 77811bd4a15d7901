"""A server that answers a byte now and then, for as long as somebody listens."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

LIMIT_S = 20.0
"""After which it gives up and ends its answer properly; far above the time limits of the tests."""

DRIPS: dict[str, tuple[bytes, bytes, bytes]] = {  # once, again and again, at the end
    "silence": (b"", b"", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    "status line": (b"HTTP/1.1 200 ", b"O", b"\r\nContent-Length: 0\r\n\r\n"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X: a\r\n", b"Content-Length: 0\r\n\r\n"),
    "100 Continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    "103 Early Hints": (b"", b"HTTP/1.1 103 E\r\nX: a\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    "body": (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"x", b"x" * 9999),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", b"0\r\n\r\n"),
    "size of a chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a=", b"a", b"\r\nx\r\n0\r\n\r\n"),
    "trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", b"X: a\r\n", b"\r\n"),
    "error": (b"HTTP/1.1 503 No\r\nRetry-After: 1\r\n", b"X: a\r\n", b"Content-Length: 0\r\n\r\n"),
}
TLS = (b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03", b"\x01", b"\x01")


class Dripping(socketserver.ThreadingTCPServer):
    """Drips at each of the `met` connections; `left` counts those that the other end closed, `ended` the others.

    With `is_mcp` it is an MCP server that answers all but the call of its tool as it should.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, drip: tuple[bytes, bytes, bytes], *, is_mcp: bool = False) -> None:
        """Listen."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.drip = drip
        self.is_mcp = is_mcp
        self.left = threading.Semaphore(0)
        self.met = self.ended = 0
        self.stop = threading.Event()
        self.host = f"127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are what this is about."""


class _Handler(socketserver.BaseRequestHandler):
    server: Dripping

    def handle(self) -> None:
        while self.server.is_mcp and (answer := _answer_mcp(_read(self.request))):
            self.request.sendall(answer)
        self.server.met += 1
        once, again, end = self.server.drip
        self.request.settimeout(0.05)
        try:
            self.request.sendall(once)
            for _ in range(int(LIMIT_S / 0.05)):
                self.request.sendall(again)
                try:
                    if self.request.recv(65_536) == b"":
                        raise ConnectionResetError
                except TimeoutError:
                    pass
                if self.server.stop.is_set():
                    break
            self.server.ended += 1
            self.request.sendall(end)
        except OSError:
            self.server.left.release()


def _read(connection: Any) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head and (more := connection.recv(65_536)):
        head += more
    head, _, body = head.partition(b"\r\n\r\n")
    length = next((line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b"0")
    while len(body) < int(length) and (more := connection.recv(65_536)):
        body += more
    return body


def _answer_mcp(body: bytes) -> bytes:
    """Return the answer to a message, nothing for a call."""
    if b'"tools/call"' in body:
        return b""
    status, headers, reply = import_module("local_http").answer_mcp(body, ["slow"], lambda name: {})
    lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, f"Content-Length: {len(reply)}", "", ""]).encode() + bytes(reply)


@contextmanager
def dripping(drip: tuple[bytes, bytes, bytes], **kind: Any) -> Iterator[Dripping]:
    """Run such a server."""
    with Dripping(drip, **kind) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server
        finally:
            server.stop.set()
            server.shutdown()
