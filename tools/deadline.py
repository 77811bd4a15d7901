"""The time by which a call has to be over, known to all that is done for it: name look-up, connection, TLS, bytes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from langchain_core.tools import ToolException

_deadline: ContextVar[float] = ContextVar("deadline", default=math.inf)


class CutOff(ToolException):
    """The call was set going and has no answer; the reason is a text to follow "failed:" or "was started, but"."""


class DeadlinePassed(ToolException):
    """The time of the whole call is over; what still works for it ends."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Set the deadline of what is done in the block, and of threads and tasks started there; it only comes nearer."""
    token = _deadline.set(min(_deadline.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _deadline.reset(token)


def time_left() -> float:
    """Return the seconds until the deadline, 0 after it, infinite without one."""
    return max(_deadline.get() - time.monotonic(), 0.0)
