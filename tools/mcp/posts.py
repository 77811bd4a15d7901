"""The HTTP requests of one MCP session: none outlasts the call that it is for, and none is sent on to another server.

The SDK sends a request from a task of its own, which knows nothing of the call: after the call's time it would wait for
as long as the server drips headers. So a call carries a mark, by which its request is found and ended with it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx
from mcp.shared._httpx_utils import create_mcp_http_client

T = TypeVar("T")
MARK = "alpha-umi/call"
"""Key in the ``_meta`` of a call."""


class Posts:
    """Which calls go on; `limit_s` bounds the wait for an answer to a request that belongs to none."""

    def __init__(self, limit_s: float) -> None:
        """Know of no call yet."""
        self._limit_s = limit_s
        self._ends: dict[str, asyncio.Event] = {}

    @contextmanager
    def mark(self, mark: str) -> Iterator[None]:
        """Let the requests of a call last as long as this block."""
        end = self._ends[mark] = asyncio.Event()
        try:
            yield
        finally:
            end.set()
            del self._ends[mark]

    def make_client(
        self,
        headers: dict[str, str] | None = None,
        timeout: httpx.Timeout | None = None,
        auth: httpx.Auth | None = None,
    ) -> httpx.AsyncClient:
        """Make the session's HTTP client."""
        client = create_mcp_http_client(headers, timeout, auth)
        client.event_hooks = {"response": [_refuse_other_server]}
        client.__class__ = _EndingClient
        client.posts = self  # type: ignore[attr-defined]
        return client

    async def until_end(self, request: httpx.Request, work: Coroutine[Any, Any, T]) -> T | None:
        """Return what comes out of the work, None if the call that it is for ends before."""
        found = _find_mark(request)
        end = self._ends.get(found) if found else None
        if found and end is None:  # it has ended before its request was sent
            work.close()
            return None
        over = asyncio.ensure_future(end.wait() if end else asyncio.sleep(self._limit_s))
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task, over}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            over.cancel()
            task.cancel()
            await asyncio.wait({task})  # which closes its connection


class _EndingClient(httpx.AsyncClient):
    posts: Posts

    async def send(self, request: httpx.Request, **kwargs: Any) -> httpx.Response:
        """Send a request; one that takes too long counts as accepted, since nobody waits for its answer."""
        response = await self.posts.until_end(request, super().send(request, **kwargs))
        if response is None:
            return httpx.Response(202, request=request)
        if request.method == "POST" and isinstance(response.stream, httpx.AsyncByteStream):
            response.stream = _EndingStream(self.posts, request, response.stream)
        return response


class _EndingStream(httpx.AsyncByteStream):
    def __init__(self, posts: Posts, request: httpx.Request, inner: httpx.AsyncByteStream) -> None:
        self._posts, self._request, self._inner = posts, request, inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        parts = aiter(self._inner)
        while (part := await self._posts.until_end(self._request, _next(parts))) is not None:
            yield part

    async def aclose(self) -> None:
        await self._inner.aclose()


async def _next(parts: AsyncIterator[bytes]) -> bytes | None:
    return await anext(parts, None)


def _find_mark(request: httpx.Request) -> str | None:
    try:
        mark = json.loads(request.content)["params"]["_meta"][MARK]
    except (httpx.RequestNotRead, ValueError, LookupError, TypeError):
        return None
    return str(mark)


async def _refuse_other_server(response: httpx.Response) -> None:
    if response.has_redirect_location:
        here, there = response.request.url, response.request.url.join(response.headers["Location"])
        if (here.scheme, here.host, here.port) != (there.scheme, there.host, there.port):
            raise httpx.HTTPStatusError("sent on to another server", request=response.request, response=response)
