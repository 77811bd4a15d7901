"""Who may use the page: this machine's own browser pages and, where another host is bound, who has the token.

A page of any web site can send requests to this machine. What such a page sends names its own origin, or a host that is
not ours; both are refused. The browser is told to load nothing from elsewhere.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "alpha_umi_token"
_POLICY = "; ".join(
    (
        "default-src 'self' data: 'unsafe-inline' 'unsafe-eval'",  # Vue makes functions of templates
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'self'",
    )
)
_ASK = """<!doctype html><html lang="en"><meta name="viewport" content="width=device-width"><title>α-UMi</title>
<style>body{font:1rem system-ui;margin:4rem auto;max-width:24rem;padding:0 1rem;color-scheme:light dark}</style>
<h1>α-UMi</h1><form><label>Token, as printed where <code>alpha-umi ui</code> runs:<br>
<input name="token" type="password" autocomplete="off" autofocus></label> <button>Open</button></form></html>"""


class Guard:
    """ASGI middleware that lets pass what may use the page.

    Args:
        app: What is guarded.
        hosts: Names under which this machine is asked; None allows all.
        token: What a browser has to show once, in the address or the form; None asks for none.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] | None, token: str | None) -> None:
        """Take what may pass."""
        self._app, self._hosts, self._token = app, hosts, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on a request, or answer it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        answer = self._check(scope)
        if answer is None:
            await self._app(scope, receive, _add_policy(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await answer(scope, receive, _add_policy(send))

    def _check(self, scope: Scope) -> Response | None:
        """Return what is answered instead of the page, None if nothing is."""
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if self._hosts is not None and _read_name(host) not in self._hosts:
            return HTMLResponse("This address is not one of this page.", 403)
        if origin is not None and origin.partition("://")[2] != host:
            return HTMLResponse("Another site's page may not use this one.", 403)
        if self._token is None or self._is_token(_read_cookie(headers)):
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"))
        if not self._is_token(dict(query).get("token", "")):
            return HTMLResponse(_ASK, 401)
        rest = urlencode([(name, value) for name, value in query if name != "token"])
        answer = RedirectResponse(scope["path"] + (f"?{rest}" if rest else ""), 303)
        answer.set_cookie(COOKIE, self._token, httponly=True, samesite="strict")
        return answer

    def _is_token(self, given: str) -> bool:
        return self._token is not None and secrets.compare_digest(given.encode(), self._token.encode())


def _read_name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _read_cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _add_policy(send: Send) -> Send:
    async def send_with_policy(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Content-Security-Policy"] = _POLICY
            headers["Referrer-Policy"] = "no-referrer"
        await send(message)

    return send_with_policy
