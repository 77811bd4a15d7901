"""What a server writes to its standard error: read at any rate, and its end kept."""

from __future__ import annotations

import os
from threading import Thread
from typing import TextIO

_MAX_BYTES = 4096
_MAX_CHARS = 500
_JOIN_TIMEOUT_S = 0.2  # a child of the server may hold its end for ever


class StderrTail:
    """A pipe that is always read, so that a server that floods it neither blocks nor fills anything.

    Used as a context manager; `writer` is what the server gets.
    """

    def __init__(self) -> None:
        """Open the pipe."""
        self._tail = b""
        reader, writer = os.pipe()
        self.writer: TextIO = os.fdopen(writer, "w")
        self._thread = Thread(target=self._drain, args=(reader,), name="mcp-stderr", daemon=True)
        self._thread.start()

    def __enter__(self) -> StderrTail:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close our end, and read on until the server has closed its own."""
        self.writer.close()
        self._thread.join(_JOIN_TIMEOUT_S)

    def text(self) -> str:
        """Return the last words, in one line."""
        line = " ".join(self._tail.decode(errors="replace").split())
        return line if len(line) <= _MAX_CHARS else f"…{line[-_MAX_CHARS:]}"

    def _drain(self, reader: int) -> None:
        with os.fdopen(reader, "rb", buffering=0) as pipe:
            while chunk := pipe.read(65_536):
                self._tail = (self._tail + chunk)[-_MAX_BYTES:]
