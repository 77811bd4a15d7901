"""Connections whose every step ends by the deadline of the call, however slowly the other end drips.

httpcore takes a time limit for each single read and write. A server that sends a byte a second, or one
``100 Continue`` after the other, keeps within that for ever. All of httpcore's input and output passes through here.
"""

from __future__ import annotations

import sys
from typing import Any

from alpha_umi.tools.deadline import time_left
from alpha_umi.tools.http.addresses import look_up

_PIECE_BYTES = 16_384  # of TLS


def keep_deadlines(transport: Any) -> None:
    """Have a transport of httpx, or of OpenAI's copy of it, keep the deadline of the call; neither has an argument."""
    pool = transport._pool
    httpcore = sys.modules[type(pool).__module__.partition(".")[0]]
    pool._network_backend = _DeadlineBackend(pool._network_backend, httpcore)


class _DeadlineBackend:
    """Opens connections; each of the addresses of a host is tried."""

    def __init__(self, inner: Any, httpcore: Any) -> None:
        self._inner = inner
        self._httpcore = httpcore

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, **options: Any) -> Any:
        try:
            addresses = look_up(host, port)
        except OSError as error:
            raise self._httpcore.ConnectError("no such host") from error
        for i, address in enumerate(addresses, 1):
            try:
                left_s = _limit(timeout, self._httpcore.ConnectTimeout)
                stream = self._inner.connect_tcp(address, port, timeout=left_s, **options)
                return _DeadlineStream(stream, self._httpcore)
            except self._httpcore.ConnectError:
                if i == len(addresses):
                    raise
        raise self._httpcore.ConnectError("no such host")


class _DeadlineStream:
    def __init__(self, inner: Any, httpcore: Any) -> None:
        self._inner = inner
        self._httpcore = httpcore

    def read(self, max_bytes: int, timeout: float | None = None) -> Any:
        return self._inner.read(max_bytes, _limit(timeout, self._httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _PIECE_BYTES):
            self._inner.write(buffer[start : start + _PIECE_BYTES], _limit(timeout, self._httpcore.WriteTimeout))

    def start_tls(self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None) -> Any:
        limit = _limit(timeout, self._httpcore.ConnectTimeout)
        return _DeadlineStream(self._inner.start_tls(ssl_context, server_hostname, limit), self._httpcore)

    def close(self) -> None:
        self._inner.close()

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _limit(timeout: float | None, error: type[Exception]) -> float | None:
    left_s = time_left()
    if not left_s:
        raise error("the deadline of the call has passed")
    return left_s if timeout is None else min(timeout, left_s)
