"""Circuit breakers: a server that fails again and again is left alone for a while.

One breaker per server, settings and process. While it is open, calls are answered at once in words for the model; after
its rest, one call goes through as a probe; its result closes the breaker or opens it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock

from langchain_core.tools import ToolException
from pydantic import BaseModel, ConfigDict, Field


class RemoteSettings(BaseModel):
    """How often a server is tried, of tools or of a model, and when it is left alone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    retries: int = Field(default=2, ge=0, le=10, description="Further tries of a request that may be repeated.")
    backoff_s: float = Field(
        default=0.3, gt=0, description="Pause before the first further try of a tool's; doubled each time, ±50%."
    )
    model_timeout_s: float = Field(
        default=600.0, gt=0, description="Seconds for one try of a model server, to the last byte of its answer."
    )
    breaker_failures: int = Field(default=5, ge=1, description="Failures in a row after which a server is left alone.")
    breaker_rest_s: float = Field(default=30.0, gt=0, description="Seconds before one call tries it again.")


DEFAULT_REMOTE = RemoteSettings()


class BreakerOpen(ToolException):
    """The server is left alone; nothing was sent."""


@dataclass
class Breaker:
    """The breaker of one server; safe to use from several threads."""

    server: str
    settings: RemoteSettings
    _n_failures: int = 0
    _open_until: float = 0.0
    _lock: Lock = field(default_factory=Lock)

    @contextmanager
    def guard(self, is_failure: Callable[[Exception], bool]) -> Iterator[None]:
        """Let a call through, and learn from how it ends: whether `is_failure` counts an exception against the server.

        A call that is cancelled counts neither way.

        Raises:
            BreakerOpen: If the server is left alone.
        """
        self._enter()
        try:
            yield
        except Exception as error:
            self._note(is_failure(error))
            raise
        self._note(False)

    def _enter(self) -> None:
        with self._lock:
            left_s = self._open_until - time.monotonic()
            if self._n_failures < self.settings.breaker_failures:
                return
            if left_s > 0:
                raise BreakerOpen(
                    f"{self.server} failed {self._n_failures} times in a row and is left alone for {left_s:.0f} s. "
                    "Do without it, or try later."
                )
            # This call is the probe; should nobody ever hear of it again, another one follows after a rest.
            self._open_until = time.monotonic() + self.settings.breaker_rest_s

    def _note(self, has_failed: bool) -> None:
        with self._lock:
            self._n_failures = self._n_failures + 1 if has_failed else 0
            self._open_until = time.monotonic() + self.settings.breaker_rest_s


def get_breaker(server: str, settings: RemoteSettings) -> Breaker:
    """Return the process's one breaker of a server, such as ``host:port``, under these settings."""
    return _breakers.setdefault((server, settings), Breaker(server, settings))


# One for the process: what one agent learns about a failing server holds for all.
_breakers: dict[tuple[str, RemoteSettings], Breaker] = {}
