"""HTTP clients for OpenAI's SDK: one time limit for a request, fresh connections in a forked child, closed at the end.

The SDK's own limit is one for each read: a server that sends a byte now and then keeps within it for ever. What a
server repeats of its key is hidden. Imports openai, which is optional.
"""

from __future__ import annotations

import asyncio
import atexit
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any

import openai

from alpha_umi.tools.deadline import time_left, within
from alpha_umi.tools.forks import renew_after_fork
from alpha_umi.tools.http.network import keep_deadlines
from alpha_umi.tools.http.redaction import hiding, redact, redact_bytes

httpx: Any = import_module(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])
"""What the SDK itself uses: httpx, and from its version 3 on httpx2."""


class BoundedClient(openai.DefaultHttpxClient):
    """For sync requests.

    Args:
        total_s: Seconds for one request, until the last byte of its answer.
        options: Of the SDK's client.
    """

    def __init__(self, total_s: float, **options: Any) -> None:
        """Open no connection yet."""
        self._total_s = total_s
        self._options = options
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """Forget all connections without closing them."""
        super().__init__(**self._options)
        for transport in (self._transport, *filter(None, self._mounts.values())):
            keep_deadlines(transport)

    def send(self, request: Any, **options: Any) -> Any:
        """Do what httpx does."""
        end = time.monotonic() + self._total_s
        secrets = _list_secrets(request, self._options)
        with within(self._total_s), hiding(secrets):
            response = super().send(request, **options)
            if not response.is_success:
                response.read()
        response.stream = _Stream(response.stream, end)
        return _hide(response, secrets)


class _Stream(httpx.SyncByteStream):  # type: ignore[misc]  # which of two libraries it is of is known when it runs
    def __init__(self, inner: Any, end: float) -> None:
        self._inner = inner
        self._end = end

    def __iter__(self) -> Iterator[bytes]:
        parts = iter(self._inner)
        while True:
            with within(self._end - time.monotonic()):
                part = next(parts, None)
            if part is None:
                return
            yield part

    def close(self) -> None:
        self._inner.close()


class BoundedAsyncClient(openai.DefaultAsyncHttpxClient):
    """For async requests; see `BoundedClient`. Every event loop has connections of its own, which end with it."""

    def __init__(self, total_s: float, **options: Any) -> None:
        """Open no connection yet."""
        super().__init__(**options)
        self._total_s = total_s
        self._options = options
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """Forget all connections without closing them."""
        self._opened: dict[asyncio.AbstractEventLoop, tuple[Any, AsyncGenerator[None, None]]] = {}

    async def send(self, request: Any, **options: Any) -> Any:
        """Do what httpx does."""
        end = asyncio.get_running_loop().time() + min(self._total_s, time_left())
        secrets = _list_secrets(request, self._options)
        try:
            with hiding(secrets):
                async with asyncio.timeout_at(end):
                    response = await (await self._find_client()).send(request, **options)
                    if not response.is_success:
                        await response.aread()
        except TimeoutError:
            raise _timeout() from None
        response.stream = _AsyncStream(response.stream, end)
        return _hide(response, secrets)

    async def _find_client(self) -> Any:
        loop = asyncio.get_running_loop()
        if loop not in self._opened:
            client = openai.DefaultAsyncHttpxClient(**self._options)
            self._opened[loop] = client, self._close_with(loop, client)
            await anext(self._opened[loop][1])
        return self._opened[loop][0]

    async def _close_with(self, loop: asyncio.AbstractEventLoop, client: Any) -> AsyncGenerator[None, None]:
        """Wait as a generator, because a loop that ends closes its generators."""
        try:
            yield
        finally:
            self._opened.pop(loop, None)
            await client.aclose()


class _AsyncStream(httpx.AsyncByteStream):  # type: ignore[misc]
    def __init__(self, inner: Any, end: float) -> None:
        self._inner = inner
        self._end = end

    async def __aiter__(self) -> AsyncIterator[bytes]:
        parts = aiter(self._inner)
        while True:
            try:
                async with asyncio.timeout_at(self._end):
                    part = await anext(parts, None)
            except TimeoutError:
                raise _timeout() from None
            if part is None:
                return
            yield part

    async def aclose(self) -> None:
        await self._inner.aclose()


@cache
def get_clients(total_s: float, **options: Any) -> dict[str, Any]:
    """Return the process's clients with these options, as `ChatOpenAI` takes them; nobody closes a chat model."""
    client = BoundedClient(total_s, **options)
    atexit.register(client.close)
    return {"http_client": client, "http_async_client": BoundedAsyncClient(total_s, **options)}


def _list_secrets(request: Any, options: Mapping[str, Any]) -> list[str]:
    key = request.headers.get("Authorization", "").rpartition(" ")[2]
    _, *password = options.get("auth") or ("",)
    return [each for each in (key, *password) if each not in ("", "none")]


def _hide(response: Any, secrets: Sequence[str]) -> Any:
    """Hide secrets in what the SDK logs and raises: the headers, and the body of an answer that is an error."""
    response.headers = httpx.Headers([(name, redact(text, secrets)) for name, text in response.headers.multi_items()])
    if not response.is_success or (response.is_closed and b'"error"' in response.content):
        response._content = redact(redact_bytes(response.content, secrets).decode("utf-8", "replace"), secrets).encode()
    return response


def _timeout() -> Exception:
    error: Exception = httpx.ReadTimeout("the time for the whole request is over")
    return error
