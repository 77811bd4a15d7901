"""One event loop for a whole command, with a Ctrl-C, or a request to end, that cancels what runs in it."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Coroutine
from types import FrameType, TracebackType
from typing import Any, TypeVar

from alpha_umi.cli.report import EXIT_TERMINATED

# Who sends SIGTERM often waits ten seconds before it kills; ours ends in five.
_CLING_S = 4.0
T = TypeVar("T")


class Loop:
    """An event loop that lives from one `run` to the next.

    `asyncio.run` would make a loop per call, and the connections that a hosted model's client keeps would be of no use
    in the next turn of a chat. (`asyncio.Runner` needs Python 3.11.)
    """

    def __enter__(self) -> Loop:
        """Make the loop."""
        self._loop = asyncio.new_event_loop()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Close the loop."""
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run to the end, or until a signal has cancelled it; a second one does not wait for that.

        Raises:
            KeyboardInterrupt: After Ctrl-C.
            SystemExit: After SIGTERM, which no command goes on after.
        """
        task = self._loop.create_task(coroutine)
        previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        caught: list[int] = []

        def restore() -> None:
            for number, handler in previous.items():
                signal.signal(number, handler)

        def cancel(number: int, _frame: FrameType | None) -> None:
            restore()
            caught.append(number)
            if number == signal.SIGTERM:
                _end_soon()
            self._loop.call_soon_threadsafe(task.cancel)

        for number in previous:
            signal.signal(number, cancel)
        try:
            return self._loop.run_until_complete(task)
        except asyncio.CancelledError:
            if signal.SIGTERM in caught:
                raise SystemExit(EXIT_TERMINATED) from None
            raise KeyboardInterrupt from None
        finally:
            restore()


def _end_soon() -> None:
    """End the process even if something clings to it; every finished step is saved by then."""
    timer = threading.Timer(_CLING_S, os._exit, [EXIT_TERMINATED])
    timer.daemon = True
    timer.start()
