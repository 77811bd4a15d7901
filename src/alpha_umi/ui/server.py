"""The server of the page."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import urlencode

import uvicorn
from fastapi import FastAPI
from nicegui import ui
from starlette.responses import RedirectResponse

from alpha_umi.errors import ConfigError
from alpha_umi.graph.threads import make_thread_name
from alpha_umi.ui.desk import Desk
from alpha_umi.ui.guard import Guard
from alpha_umi.ui.page.thread_page import register_page
from alpha_umi.ui.page.threads import make_path

_TOKEN_BYTES = 16
_SHUTDOWN_S = 1
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


def is_local(host: str) -> bool:
    """Tell whether only this machine reaches what is bound to a host."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def choose_token(host: str, token: str | None) -> str | None:
    """Return the token that a browser has to show: the given one, or a new one where others can reach the page."""
    return token or (None if is_local(host) else secrets.token_urlsafe(_TOKEN_BYTES))


def bind(host: str, port: int) -> socket.socket:
    """Take a port; 0 takes any that is free.

    Raises:
        ConfigError: If it cannot be had.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family)
    except (OSError, OverflowError, UnicodeError) as error:
        raise ConfigError(
            f"The page cannot be served at {host!r}, port {port}: {error}. Name another --port, or another --host."
        ) from error


def make_url(listener: socket.socket, token: str | None, thread: str | None = None) -> str:
    """Return the address to open in a browser."""
    host, port = listener.getsockname()[:2]
    host = socket.gethostname() if ip_address(host).is_unspecified else host
    shown = f"[{host}]" if ":" in host else host
    path = make_path(thread) if thread else "/"
    return f"http://{shown}:{port}{path}" + (f"?{urlencode({'token': token})}" if token else "")


def make_app(desk: Desk, models: str, *, host: str, token: str | None) -> FastAPI:
    """Return the app that serves a desk; there can be one in a process, as NiceGUI has it.

    Args:
        desk: The threads.
        models: What plays the roles, to be shown.
        host: What is bound.
        token: What a browser has to show.
    """
    app = FastAPI(openapi_url=None)
    app.get("/")(_begin)
    register_page(desk, models)
    ui.run_with(app, title="α-UMi", favicon="α", dark=None, tailwind=False, show_welcome_message=False)
    app.add_middleware(Guard, hosts={*_LOCAL_NAMES, host} if is_local(host) else None, token=token)
    return app


def _begin() -> RedirectResponse:
    return RedirectResponse(make_path(make_thread_name()), 307)


async def serve(app: FastAPI, listener: socket.socket, on_started: Callable[[], None]) -> None:
    """Serve until a signal ends it.

    Args:
        app: Of `make_app`.
        listener: Of `bind`.
        on_started: Is called when a browser can connect.
    """

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            on_started()

    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=_SHUTDOWN_S)
    await Server(config).serve([listener])
