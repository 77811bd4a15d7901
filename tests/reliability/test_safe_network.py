"""What tools may connect to, and what a server can do to them with its answer."""

from __future__ import annotations

import gzip
import re
import socket
import tracemalloc
import zlib
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx
import pytest
from langchain_core.tools import ToolException

from alpha_umi.errors import ConfigError
from alpha_umi.tools.http.addresses import names_private_address
from alpha_umi.tools.http.client import HttpClient
from alpha_umi.tools.mcp import McpConnection, connect_mcp
from alpha_umi.tools.openapi import load_openapi


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a proxy, the proxy looks names up."""
    monkeypatch.setattr("alpha_umi.tools.http.client.getproxies", dict)


def make_client(host: str, **settings: Any) -> HttpClient:
    return HttpClient(**{"allowed_hosts": [host], "timeout_s": 10, "max_response_bytes": 50_000, **settings})


def get(url: str, **settings: Any) -> str:
    client = make_client(httpx.URL(url).netloc.decode(), **settings)
    return client.send(httpx.Request("GET", url), is_idempotent=False).text


def say_hello(_: BaseHTTPRequestHandler) -> tuple[int, Mapping[str, str], bytes]:
    return 200, {"Content-Type": "text/plain"}, b"hello"


IPV4 = ("0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.168.1.1", "224.0.0.1")
SHORT = ("127.1", "0", "2130706433", "017700000001", "0x7f000001", "0x7f.1", "0177.1", "255.255.255.255", "10.0.0.1.")
IPV6 = ("::1", "::", "fe80::1", "fe80::1%25eth0", "fec0::1", "fd00::1", "ff02::1", "100::1", "2001:db8::1", "5f00::1")
IPV4_IN_IPV6 = (
    *("::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:0:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::7f00:1"),
    *("2002:7f00:1::", "2002:a9fe:a9fe::", "2001::5ef5:79fb:0:0:80ff:fffe", "0:0:0:0:0:ffff:a9fe:a9fe"),
)
NAMES = ("localhost", "sub.localhost", "LOCALHOST.", "metadata.google.internal", "printer.local", "x.svc.cluster.local")
PRIVATE = (*IPV4, *SHORT, *NAMES, *(f"[{address}]" for address in (*IPV6, *IPV4_IN_IPV6)))


@pytest.mark.parametrize("host", PRIVATE)
def test_private_address_is_refused_in_every_spelling(host: str) -> None:
    assert names_private_address(host)
    with pytest.raises(ToolException, match="not allowed"):
        get(f"http://{host}:9/")


@pytest.mark.parametrize(
    "host", ["0177.0.0.1", "127.000.0.1", "１２７.0.0.1", "127。0。0。1", "①②⑦.0.0.1", "ｌocalhost"]
)
def test_address_that_clients_read_differently_is_refused(host: str) -> None:
    assert not make_client(host).allows(f"http://{host}/")


@pytest.mark.parametrize(
    "url", ["http://a.example@127.0.0.1/", "http://127.0.0.1#@a.example/", "http://a.example\\@b/"]
)
def test_address_that_only_mentions_an_allowed_host_is_refused(url: str) -> None:
    assert not make_client("a.example").allows(url)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://a.example/", "gopher://a.example/", "//a.example", ""])
def test_other_schemes_than_http_are_refused(url: str) -> None:
    assert not make_client("a.example").allows(url)


PUBLIC = ("api.example", "8.8.8.8", "[2606:4700::1111]", "[::ffff:8.8.8.8]", "1.1.1.1.example", "localhost.example")


@pytest.mark.parametrize("host", PUBLIC)
def test_public_address_is_not_taken_for_a_private_one(host: str) -> None:
    assert not names_private_address(host)
    assert make_client(host).allows(f"https://{host}/")


def pretend(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Let every name stand for these addresses; return the names that were looked up."""
    asked: list[str] = []

    def look_up(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


@pytest.mark.parametrize(
    "addresses", [("127.0.0.1",), ("93.184.215.14", "10.0.0.1"), ("::ffff:10.0.0.1",), ("fe80::1%eth0",), ("::1",)]
)
def test_name_of_a_private_address_is_refused(addresses: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, *addresses)
    with pytest.raises(ToolException, match=r"rebind\.example is in a private network, which is not allowed"):
        get("http://rebind.example/")


def test_name_is_looked_up_once_and_its_address_is_connected_to(monkeypatch: pytest.MonkeyPatch, serving: Any) -> None:
    hosts: list[str] = []

    def answer(handler: BaseHTTPRequestHandler) -> tuple[int, Mapping[str, str], bytes]:
        hosts.append(handler.headers["Host"])
        return say_hello(handler)

    with serving(answer) as address:
        port = int(address.rpartition(":")[2])
        asked = pretend(monkeypatch, "127.0.0.1")
        monkeypatch.setattr("alpha_umi.tools.http.addresses.is_public", lambda _: True)
        assert get(f"http://api.example:{port}/") == "hello"
    assert hosts == [f"api.example:{port}"]
    assert [name for name in asked if "example" in name] == ["api.example"]


def test_private_address_that_a_person_named_is_called(serving: Any) -> None:
    with serving(say_hello) as host:
        assert get(f"http://{host}/", private_hosts=[host]) == "hello"
        with pytest.raises(ToolException, match="not allowed"):
            get(f"http://{host}/", private_hosts=["127.0.0.1:9"])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(status: int, serving: Any) -> None:
    paths: list[str] = []

    def answer(handler: BaseHTTPRequestHandler) -> tuple[int, Mapping[str, str], bytes]:
        paths.append(handler.path)
        return status, {"Location": "/secret"}, b""

    with serving(answer) as host, pytest.raises(ToolException, match="is not followed"):
        get(f"http://{host}/", private_hosts=[host])
    assert paths == ["/"]


def test_mcp_server_cannot_send_on_to_another(monkeypatch: pytest.MonkeyPatch, serving: Any) -> None:
    reached: list[str] = []

    def other(handler: BaseHTTPRequestHandler) -> tuple[int, Mapping[str, str], bytes]:
        reached.append(str(handler.headers))
        return 200, {}, b"{}"

    with serving(other) as target:

        def redirect(_: BaseHTTPRequestHandler) -> tuple[int, Mapping[str, str], bytes]:
            return 307, {"Location": f"http://{target}/"}, b""

        monkeypatch.setenv("MCP_SECRET", "mcp-env-c0ffee")
        with serving(redirect) as host:
            connection = McpConnection("r", url=f"http://{host}/mcp", headers={"X-Key": "${MCP_SECRET}"})
            with connect_mcp(connection, start_timeout_s=60) as server, pytest.raises(ConfigError):
                server.load_tools()
    assert reached == []


@pytest.mark.parametrize("address", ["http://169.254.169.254", "http://0177.0.0.1", "http://[::127.0.0.1]", "//[::1]"])
def test_private_server_of_a_foreign_document_is_left_out(address: str) -> None:
    document: dict[str, Any] = {"openapi": "3.0.1", "servers": [{"url": address}], "paths": {"/meta": {"get": {}}}}
    with pytest.raises(ConfigError, match=r"is no allowed host; name it in allowed_hosts|no complete address"):
        load_openapi(document)
    assert load_openapi(document, base_url="http://127.0.0.1:9")


def test_private_server_that_a_person_allowed_is_used() -> None:
    document = {"openapi": "3.0.1", "servers": [{"url": "http://10.0.0.1"}], "paths": {"/meta": {"get": {}}}}
    assert load_openapi(document, allowed_hosts=["10.0.0.1"])


def test_references_of_a_document_reach_no_file_and_no_server(serving: Any) -> None:
    reached: list[str] = []

    def answer(handler: BaseHTTPRequestHandler) -> tuple[int, Mapping[str, str], bytes]:
        reached.append(handler.path)
        return 200, {}, b"{}"

    with serving(answer) as host:
        for reference in (f"http://{host}/x.json", "file:///etc/hostname", "/etc/hostname", "../x.yaml#/a"):
            parameter = {"name": "a", "in": "query", "schema": {"$ref": reference}}
            paths = {"/x": {"get": {"parameters": [parameter]}}, "/y": {"$ref": reference}}
            document = {"openapi": "3.0.1", "servers": [{"url": "https://a.example"}], "paths": paths}
            with suppress(ConfigError):  # or the parameter takes any value
                load_openapi(document)
    assert reached == []


def make_bomb(encoding: str, n_bytes: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31 if encoding == "gzip" else 15)
    zeros = b"0" * 1_000_000
    return b"".join([*(packer.compress(zeros) for _ in range(n_bytes // len(zeros))), packer.flush()])


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_decompression_bomb_is_cut(encoding: str, serving: Any) -> None:
    bomb = make_bomb(encoding, 50_000_000)

    def answer(_: BaseHTTPRequestHandler) -> tuple[int, Mapping[str, str], bytes]:
        return 200, {"Content-Type": "text/plain", "Content-Encoding": encoding}, bomb

    with serving(answer) as host:
        tracemalloc.start()
        try:
            assert get(f"http://{host}/", private_hosts=[host]) == "0" * 50_000
            assert tracemalloc.get_traced_memory()[1] < 5_000_000
        finally:
            tracemalloc.stop()


def test_compressed_answer_is_read_though_none_was_asked_for(serving: Any) -> None:
    def answer(_: BaseHTTPRequestHandler) -> tuple[int, Mapping[str, str], bytes]:
        return 200, {"Content-Type": "text/plain", "Content-Encoding": "gzip"}, gzip.compress(b"hello")

    with serving(answer) as host:
        assert get(f"http://{host}/", private_hosts=[host]) == "hello"


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "gzip"])
def test_answer_that_cannot_be_decompressed_safely_is_a_fault(encoding: str, serving: Any) -> None:
    def answer(_: BaseHTTPRequestHandler) -> tuple[int, Mapping[str, str], bytes]:
        return 200, {"Content-Encoding": encoding}, b"not compressed"

    with serving(answer) as host, pytest.raises(ToolException, match="cannot be decompressed"):
        get(f"http://{host}/", private_hosts=[host])


@pytest.mark.parametrize("start", [b"", gzip.compress(b"hello")], ids=["text", "gzip"])
def test_answer_that_never_ends_is_left(start: bytes, serving: Any) -> None:
    """Text is cut at the limit; what follows the end of compressed data yields nothing that could be counted."""

    def answer(handler: BaseHTTPRequestHandler) -> tuple[int, Mapping[str, str], bytes]:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n")
        handler.wfile.write((b"Content-Encoding: gzip\r\n" if start else b"") + b"\r\n" + start)
        with suppress(OSError):
            while True:
                handler.wfile.write(b"x" * 65_536)
        return 200, {}, b""

    with serving(answer) as host:
        text = get(f"http://{host}/", private_hosts=[host])
    assert text == ("hello" if start else "x" * 50_000)


@pytest.mark.parametrize("piece", ["<title", "<title>", "<html>", "<title><", "<!doctype html <title "])
def test_web_page_in_place_of_an_answer_is_read_quickly(piece: str, serving: Any) -> None:
    def answer(_: BaseHTTPRequestHandler) -> tuple[int, Mapping[str, str], bytes]:
        return 404, {"Content-Type": "text/html"}, f"<html>{piece * (4_000_000 // len(piece))}".encode()

    message = re.escape("the server answered 404 Not Found: a web page")
    with serving(answer) as host, pytest.raises(ToolException, match=message):
        get(f"http://{host}/", private_hosts=[host], max_response_bytes=5_000_000)
