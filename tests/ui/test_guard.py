"""Who may use the page, and what its browser may load."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from alpha_umi.ui.guard import COOKIE, Guard
from alpha_umi.ui.server import choose_token, is_local

LOCAL = {"localhost", "127.0.0.1", "::1"}


async def greet(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("hello")
    await websocket.close()


def make_client(token: str | None = None, base_url: str = "http://127.0.0.1:8642") -> TestClient:
    routes = [Route("/x", lambda _: PlainTextResponse("inside")), WebSocketRoute("/ws", greet)]
    hosts = LOCAL if token is None else None
    return TestClient(Guard(Starlette(routes=routes), hosts, token), base_url=base_url, follow_redirects=False)


@pytest.mark.parametrize("host", ["127.0.0.1:8642", "localhost:1", "[::1]:8642"])
def test_this_machine_is_let_in_under_its_own_names(host: str) -> None:
    assert make_client().get("/x", headers={"host": host}).text == "inside"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[", "127.0.0.1@evil.example"])
def test_other_names_are_refused(host: str) -> None:
    assert make_client().get("/x", headers={"host": host}).status_code == 403


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_pages_of_other_sites_are_refused(origin: str) -> None:
    client = make_client()
    assert client.get("/x", headers={"origin": origin}).status_code == 403
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/ws", headers={"origin": origin}):
        pass


def test_the_own_page_is_let_in() -> None:
    client = make_client()
    headers = {"origin": "http://127.0.0.1:8642"}
    assert client.get("/x", headers=headers).text == "inside"
    with client.websocket_connect("/ws", headers={**headers, "host": "127.0.0.1:8642"}) as socket:
        assert socket.receive_text() == "hello"


def test_a_token_is_asked_for_once() -> None:
    client = make_client("secret", "http://box:8642")
    refused = client.get("/x")
    assert refused.status_code == 401
    assert "inside" not in refused.text
    assert client.get("/x?token=wrong").status_code == 401
    assert client.get("/x", headers={"cookie": f"{COOKIE}=wrong"}).status_code == 401
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/ws"):
        pass
    let_in = client.get("/x?a=1&token=secret")
    assert (let_in.status_code, let_in.headers["location"]) == (303, "/x?a=1")
    assert "httponly" in let_in.headers["set-cookie"].lower()
    assert client.get("/x").text == "inside"
    with client.websocket_connect("/ws", headers={"cookie": f"{COOKIE}=secret"}) as socket:
        assert socket.receive_text() == "hello"


def test_the_browser_is_told_to_load_nothing_from_elsewhere() -> None:
    policy = make_client().get("/x").headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy


def test_a_token_is_made_where_others_can_reach_the_page() -> None:
    assert [is_local(host) for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "box", "")] == [True] * 3 + [
        False
    ] * 3
    assert choose_token("127.0.0.1", None) is None
    assert choose_token("127.0.0.1", "mine") == "mine"
    assert choose_token("0.0.0.0", "mine") == "mine"
    made = [choose_token("0.0.0.0", None) for _ in range(2)]
    assert made[0] != made[1]
    assert min(len(token or "") for token in made) > 20
