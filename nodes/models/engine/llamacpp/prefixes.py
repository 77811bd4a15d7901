"""Keys and values of prompts' beginnings, on disk, so that another process need not compute them.

A file is a checksum and what llama.cpp wrote. Its name, and what the checksum is of, hold everything that the numbers
depend on, so a file of another model, or one that was not written to its end, is as good as none.
"""

from __future__ import annotations

import logging
import os
from array import array
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

MAX_BYTES = 256 * 1024**2
"""Of all files together."""
_MAX_WRITTEN = 4
"""Files of one process: where each question has other tools, the disk would be written to without end."""
_CHECKSUM_BYTES = 32

_log = logging.getLogger(__name__)


class SavedPrefixes:
    """The files of one model; several processes may use them at once.

    Args:
        folder: Of all models' files.
        computed_by: Names the weights, and whatever else the numbers depend on.
    """

    def __init__(self, folder: Path, computed_by: str) -> None:
        """Touch nothing yet."""
        self._folder, self._computed_by = folder, computed_by
        self._n_written = 0

    def read(self, ids: Sequence[int]) -> bytes | None:
        """Return what was written of these tokens, (T,); None if there is nothing that can be used."""
        name = self._name(ids)
        try:
            found = (self._folder / name).read_bytes()
        except OSError:
            return None
        data = found[_CHECKSUM_BYTES:]
        if found[:_CHECKSUM_BYTES] != _sum(name, data):
            self.forget(ids)
            return None
        with suppress(OSError):
            os.utime(self._folder / name)  # was of use now
        return data

    def wants(self, ids: Sequence[int], n_bytes: int) -> bool:
        """Tell whether these tokens are to be written: not yet there, and not too much."""
        is_new = not (self._folder / self._name(ids)).exists()
        return is_new and n_bytes <= MAX_BYTES // 2 and self._n_written < _MAX_WRITTEN

    def write(self, ids: Sequence[int], data: bytes) -> None:
        """Keep what belongs to these tokens, if the disk can hold it; what was not used for longest goes."""
        name = self._name(ids)
        temporary = self._folder / f"{name}.{uuid4().hex}"  # one that a killed process left goes in its turn
        self._n_written += 1
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(_sum(name, data) + data)
            temporary.replace(self._folder / name)
            self._make_room()
        except OSError as error:
            _log.info("A prompt's beginning is not kept for the next start: %s", error)
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def forget(self, ids: Sequence[int]) -> None:
        """Remove what cannot be used."""
        with suppress(OSError):
            (self._folder / self._name(ids)).unlink(missing_ok=True)

    def _name(self, ids: Sequence[int]) -> str:
        return sha256(self._computed_by.encode() + b"\0" + array("q", ids).tobytes()).hexdigest()

    def _make_room(self) -> None:
        found = []
        for path in self._folder.iterdir():
            with suppress(OSError):  # another process has removed it
                stat = path.stat()
                found.append((stat.st_mtime_ns, stat.st_size, path))
        n_bytes = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if n_bytes <= MAX_BYTES:
                return
            path.unlink(missing_ok=True)
            n_bytes -= size


def _sum(name: str, data: bytes) -> bytes:
    return sha256(name.encode() + data).digest()
