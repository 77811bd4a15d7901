"""A result folder, which grows line by line, so that a run that was killed can be resumed.

OUT/settings.json        what the results depend on; a run with other settings is refused
OUT/<name>.jsonl         one line per finished unit, each with a unique ``key``
OUT/metrics.json         written when all is done
OUT/command.txt          what was typed, where a command made the run
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NotRequired, Self, TypeAlias, TypeVar

from filelock import FileLock, Timeout
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from alpha_umi.documents import check_document, read_document
from alpha_umi.errors import ConfigError
from alpha_umi.files import write_atomically, write_json
from alpha_umi.nodes.format.escaping import replace_surrogates
from alpha_umi.progress import make_progress
from alpha_umi.training.data.files import Record, read_records

SETTINGS = "settings.json"
METRICS = "metrics.json"
COMMAND = "command.txt"
PREDICTIONS = "predictions.jsonl"
OUTCOMES = "outcomes.jsonl"

RunKind: TypeAlias = Literal["static", "tasks", "live", "scaling"]
KINDS: tuple[RunKind, ...] = ("static", "tasks", "live", "scaling")

Unit = TypeVar("Unit")


class _Row(TypedDict):
    """What every line has, and what some have."""

    key: str
    group: NotRequired[str]
    checks: NotRequired[dict[str, float]]
    answer: NotRequired[str | None]
    trajectory: NotRequired[dict[str, Any]]


class _TaskRow(_Row):
    """A line of a task with a known answer."""

    kind: str
    instructions: list[str]
    expected: list[str] | None
    success: bool
    gave_up: bool
    finish: str | None
    error: str | None
    cause: NotRequired[str | None]
    certainty: NotRequired[float | None]
    steps: int
    calls: int
    seconds: float
    input_tokens: int
    cached_tokens: int
    output_tokens: int


class ResultFolder:
    """The folder of one run with a file that grows, locked while it is open; its lines depend on `settings` alone.

    Raises:
        ConfigError: On entering, if the folder holds results with other settings, or another run is writing them.
    """

    def __init__(self, path: Path, name: str, settings: Mapping[str, Any]) -> None:
        """Touch nothing yet."""
        self.rows: dict[str, Record] = {}
        self._path = path
        self._file = path / name
        self._settings: dict[str, Any] = json.loads(json.dumps(settings, default=str))

    def __enter__(self) -> Self:
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
                self.rows = {row["key"]: row for row in read_rows(self._file)}
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

    def replace(self, rows: Iterable[Record]) -> None:
        """Put these finished units in the place of all that are there."""
        self.rows = {row["key"]: row for row in rows}
        with write_atomically(self._file) as file:
            file.writelines(
                replace_surrogates(json.dumps(row, ensure_ascii=False) + "\n") for row in self.rows.values()
            )

    def append_all(
        self, work: Callable[[Unit], Record], units: Sequence[Unit], *, title: str, total: int, n_workers: int
    ) -> None:
        """Do the work on many units, under a progress bar over `total`, and add each row as it comes.

        It is done in that many threads if there are several workers; after an error no other unit is begun.
        """
        with make_progress(None) as progress:
            n_before = total - len(units)
            bar = progress.add_task(title, total=total, completed=n_before, first=n_before)
            for row in _work_in_parallel(work, units, n_workers):
                self.append([row])
                progress.advance(bar)

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write ``metrics.json``."""
        write_json(self._path / METRICS, metrics)

    def _check_settings(self) -> None:
        path = self._path / SETTINGS
        if not path.exists():
            if self._file.exists():
                raise ConfigError(f"{self._file} has no {SETTINGS} next to it; choose another folder.")
            write_json(path, self._settings)
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


def _work_in_parallel(work: Callable[[Unit], Record], units: Sequence[Unit], n_workers: int) -> Iterator[Record]:
    if n_workers == 1:
        yield from map(work, units)
        return
    with ThreadPoolExecutor(n_workers, thread_name_prefix="evaluation") as pool:
        futures = [pool.submit(work, unit) for unit in units]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:117]}…"


def read_rows(path: Path) -> Iterator[Record]:
    """Yield the lines of outcomes or predictions.

    Raises:
        ConfigError: At a line whose values are not of the kind that is written.
    """
    is_of_tasks = path.name == OUTCOMES and read_json(path.parent / SETTINGS).get("kind") == "tasks"
    for where, row in read_records(path):
        check_document(row, where, "evaluate into a new folder", _TaskRow if is_of_tasks else _Row)
        yield row


def read_json(path: Path) -> dict[str, Any]:
    """Read one JSON object; a file that is missing or holds another thing is a `ConfigError`."""
    value: dict[str, Any] = read_document(path, "is this a folder of 'alpha-umi eval'?", dict[str, Any])
    return value


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """One finished evaluation: its name in a report, its folder, and what the folder's files say.

    Where another program than the command line made it, `command` is None.
    """

    name: str
    path: Path
    kind: RunKind
    metrics: Mapping[str, Any]
    settings: Mapping[str, Any]
    command: str | None = None


def load_runs(folders: Sequence[Path]) -> list[FinishedRun]:
    """Read result folders; each is named by as much of its path as distinguishes it from the others."""
    paths = [folder.resolve() for folder in folders]
    if not paths or len(set(paths)) < len(paths):
        raise ConfigError("Give at least one result folder of 'alpha-umi eval', and each one once.")
    runs = []
    for path in paths:
        metrics = read_json(path / METRICS)
        if metrics.get("kind") not in KINDS:
            raise ConfigError(f"{path / METRICS} is no result of 'alpha-umi eval'; give another folder.")
        settings, command = read_json(path / SETTINGS), _read_command(path / COMMAND)
        runs.append(FinishedRun(_name(path, paths), path, metrics["kind"], metrics, settings, command))
    return runs


def _read_command(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", errors="replace").strip() or None
    except FileNotFoundError:
        return None


def _name(path: Path, paths: Sequence[Path]) -> str:
    names = (path.parts[-length:] for length in range(1, len(path.parts) + 1))
    return next("/".join(name) for name in names if sum(other.parts[-len(name) :] == name for other in paths) == 1)
