"""Connections whose every step ends by the deadline of the call, however slowly the other end drips.

httpcore takes a time limit for each single read and write. A server that sends a byte a second, or one
``100 Continue`` after the other, keeps within that for ever. All of httpcore's input and output passes through here.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import Any

import httpcore

from alpha_umi.tools.deadline import time_left
from alpha_umi.tools.http.addresses import look_up

_PIECE_BYTES = 16_384  # of TLS


class DeadlineBackend(httpcore.SyncBackend):
    """Opens connections; each of the addresses of a host is tried."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect, by the deadline."""
        try:
            addresses = look_up(host, port)
        except OSError as error:
            raise httpcore.ConnectError("no such host") from error
        for i, address in enumerate(addresses, 1):
            try:
                left_s = _limit(timeout, httpcore.ConnectTimeout)
                return _DeadlineStream(super().connect_tcp(address, port, left_s, local_address, socket_options))
            except httpcore.ConnectError:
                if i == len(addresses):
                    raise
        raise httpcore.ConnectError("no such host")


class _DeadlineStream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _limit(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _PIECE_BYTES):
            self._inner.write(buffer[start : start + _PIECE_BYTES], _limit(timeout, httpcore.WriteTimeout))

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        limit = _limit(timeout, httpcore.ConnectTimeout)
        return _DeadlineStream(self._inner.start_tls(ssl_context, server_hostname, limit))

    def close(self) -> None:
        self._inner.close()

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _limit(timeout: float | None, error: type[Exception]) -> float | None:
    left_s = time_left()
    if not left_s:
        raise error("the deadline of the call has passed")
    return left_s if timeout is None else min(timeout, left_s)
