"""A result folder that grows line by line and can be gone on with after a kill.

OUT/settings.json        what the results depend on; a run with other settings is refused
OUT/<name>.jsonl         one line per finished unit, each with a unique ``key``
OUT/metrics.json         written when all is done

Knows nothing about what is measured.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from alpha_umi.errors import ConfigError
from alpha_umi.files import write_atomically
from alpha_umi.nodes.format.escaping import replace_surrogates
from alpha_umi.training.data.files import Record, read_records

SETTINGS = "settings.json"
METRICS = "metrics.json"


class ResultFolder:
    """The folder of one run, locked while it is open.

    Args:
        path: The folder; made if it does not exist.
        name: Of the file that grows.
        settings: All that the lines depend on, as JSON types.

    Raises:
        ConfigError: On entering, if the folder holds results with other settings, or another run is writing them.
    """

    def __init__(self, path: Path, name: str, settings: Mapping[str, Any]) -> None:
        """Touch nothing yet."""
        self.rows: dict[str, Record] = {}
        self._path = path
        self._file = path / name
        self._settings: dict[str, Any] = json.loads(json.dumps(settings, default=str))

    def __enter__(self) -> ResultFolder:
        """Lock the folder and read what is there."""
        self._path.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self._path / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise ConfigError(f"{self._path}: another run is writing here; wait for it, or choose another.") from error
        try:
            self._check_settings()
            self._repair_end()
            if self._file.exists():
                self.rows = {row["key"]: row for _, row in read_records(self._file)}
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Unlock the folder."""
        self._lock.release()

    def append(self, rows: Iterable[Record]) -> None:
        """Add finished units; they are on the disk when this returns."""
        fresh = {row["key"]: row for row in rows}
        with self._file.open("a", encoding="utf-8") as file:
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in fresh.values())
            file.writelines(map(replace_surrogates, lines))
            file.flush()
            os.fsync(file.fileno())
        self.rows |= fresh

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write ``metrics.json``."""
        _write_json(self._path / METRICS, metrics)

    def _check_settings(self) -> None:
        path = self._path / SETTINGS
        if not path.exists():
            if self._file.exists():
                raise ConfigError(f"{self._file} has no {SETTINGS} beside it; choose another folder.")
            _write_json(path, self._settings)
            return
        before = read_json(path)
        names = sorted(before.keys() | self._settings.keys())
        changed = [name for name in names if before.get(name) != self._settings.get(name)]
        if changed:
            name = changed[0]
            raise ConfigError(
                f"{self._path} holds results with other settings: {name} was {_show(before.get(name))}, "
                f"is {_show(self._settings.get(name))}. Choose another folder, or remove this one."
            )

    def _repair_end(self) -> None:
        """Cut off a last line that a kill has left unfinished."""
        if not self._file.exists():
            return
        content = self._file.read_bytes()
        end = content.rfind(b"\n") + 1
        if end < len(content):
            os.truncate(self._file, end)


def read_json(path: Path) -> dict[str, Any]:
    """Read one JSON object.

    Raises:
        ConfigError: If there is no such file, or it is none.
    """
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); is this a folder of 'alpha-umi eval'?") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path} holds no JSON object; is this a folder of 'alpha-umi eval'?")
    return value


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    with write_atomically(path) as file:
        json.dump(value, file, ensure_ascii=False, indent=2)
        file.write("\n")


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:117]}…"
