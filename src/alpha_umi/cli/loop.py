"""One event loop for a whole command, with a Ctrl-C that cancels what runs in it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from types import FrameType, TracebackType
from typing import Any, TypeVar

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
        """Run to the end, or until Ctrl-C has cancelled it; a second Ctrl-C does not wait for that.

        Raises:
            KeyboardInterrupt: After Ctrl-C.
        """
        task = self._loop.create_task(coroutine)
        previous = signal.getsignal(signal.SIGINT)

        def cancel(_number: int, _frame: FrameType | None) -> None:
            signal.signal(signal.SIGINT, previous)
            self._loop.call_soon_threadsafe(task.cancel)

        signal.signal(signal.SIGINT, cancel)
        try:
            return self._loop.run_until_complete(task)
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
        finally:
            signal.signal(signal.SIGINT, previous)
