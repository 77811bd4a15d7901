"""Reading records from files, folders and archives one at a time, and writing files whole or not at all."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, TypeAlias

from alpha_umi.errors import AlphaUmiError, ConfigError, TrajectoryError

Record: TypeAlias = dict[str, Any]
_CHUNK = 1 << 20
_MAX_ITEM = 1 << 26
_BETWEEN_ITEMS = re.compile(r"[\s,]*")


def _raise(error: TrajectoryError) -> None:
    raise error


OnFault: TypeAlias = Callable[[TrajectoryError], None]


def read_records(location: str | Path, on_fault: OnFault = _raise) -> Iterator[tuple[str, Record]]:
    """Yield `(where, record)` from a JSON Lines file or a file that is one JSON array, gzipped or not.

    Neither form is read into memory as a whole.

    Args:
        location: The file.
        on_fault: Gets the error of a line or item that is not a JSON object, which is then left out; it may raise it.

    Raises:
        ConfigError: If there is no such file.
        TrajectoryError: If the file, or an array, cannot be read to its end; the message names file and line.
    """
    path = _check_file(Path(location))
    try:
        with open_text(path) as file:
            read = _read_array if file.read(256).lstrip("\ufeff \t\r\n").startswith("[") else _read_lines
            file.seek(0)
            for where, record in read(file, path):
                if isinstance(record, dict):
                    yield where, record
                else:
                    on_fault(record if isinstance(record, TrajectoryError) else _describe_no_object(record, where))
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise TrajectoryError(f"{path}: cannot be read ({error}); is the file complete?") from error


def read_table(location: str | Path, on_fault: OnFault = _raise) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield `(where, record)` from a CSV file whose first line names the columns, gzipped or not.

    Args:
        location: The file.
        on_fault: Gets the error of a line with other columns, which is then left out; it may raise it.

    Raises:
        ConfigError: If there is no such file.
        TrajectoryError: If a line is not CSV; the message names file and line.
    """
    path = _check_file(Path(location))
    try:
        with open_text(path) as file:
            rows = csv.DictReader(file, strict=True)
            for row in rows:
                where = f"{path}:{rows.line_num}"
                if None in row or None in row.values():
                    fault = f"{where}: not valid CSV (not as many columns as the first line names); repair the line."
                    on_fault(TrajectoryError(fault))
                else:
                    yield where, row
    except csv.Error as error:
        raise TrajectoryError(
            f"{path}:{rows.reader.line_num}: not valid CSV ({error}); repair or remove the line."
        ) from error
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise TrajectoryError(f"{path}: cannot be read ({error}); is the file complete?") from error


def read_members(location: str | Path, on_fault: OnFault = _raise) -> Iterator[tuple[str, Record]]:
    """Yield `(where, record)` for a ``.json`` file, or every one in a folder (at any depth) or a (gzipped) tar archive.

    Args:
        location: The file, folder or archive.
        on_fault: Gets the error of a member that is not one JSON object, which is then left out; it may raise it.

    Raises:
        ConfigError: If the location does not exist.
        TrajectoryError: If the archive cannot be read.
    """
    for where, raw in _read_raw_members(Path(location)):
        try:
            record = _parse_object(raw, where)
        except TrajectoryError as error:
            on_fault(error)
        else:
            yield where, record


def _read_raw_members(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.is_dir() or path.suffix == ".json":
        for member in sorted(path.rglob("*.json")) if path.is_dir() else [_check_file(path)]:
            yield str(member), member.read_bytes()
        return
    try:
        with tarfile.open(_check_file(path), "r|*") as archive:
            for info in archive:
                stream = archive.extractfile(info) if info.name.endswith(".json") else None
                if stream is not None:
                    where = f"{path}!{info.name}"
                    if info.size > _MAX_ITEM:
                        raise TrajectoryError(f"{where}: over {_MAX_ITEM:,} bytes long; split or remove it.")
                    yield where, stream.read()
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise TrajectoryError(f"{path}: not a readable tar archive ({error}); give a folder or a .tar(.gz).") from error


@contextmanager
def blame(where: str) -> Iterator[None]:
    """Make whatever is wrong with a record a `TrajectoryError` that names the place.

    Fields that are missing or of another type show as the errors of plain Python: readers need not check each.
    """
    try:
        yield
    except (AlphaUmiError, LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        if str(error).startswith(where):
            raise
        problem = str(error)
        if not isinstance(error, AlphaUmiError):
            problem = f"the record is not of the source's form ({type(error).__name__}: {error})."
        raise TrajectoryError(f"{where}: {problem}") from error


def get_texts(record: Record, *keys: str) -> tuple[str, ...]:
    """Return these fields of a record.

    Raises:
        TrajectoryError: If one is missing or no text.
    """
    texts = [record.get(key) for key in keys]
    if not all(isinstance(text, str) for text in texts):
        *first, last = map(repr, keys)
        raise TrajectoryError(f"{', '.join(first)} and {last} must be text.")
    return tuple(map(str, texts))


def to_text(value: Any) -> str:
    """Return text as it is, and anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def open_text(path: Path) -> TextIO:
    """Open a UTF-8 text file, unpacking gzip by its magic number."""
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    return io.TextIOWrapper(gzip.open(path), encoding="utf-8") if packed else path.open(encoding="utf-8")


def _check_file(path: Path) -> Path:
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; check the path.")
    return path


def _read_lines(file: TextIO, path: Path) -> Iterator[tuple[str, Any]]:
    """Decode each line; in place of one that is no JSON comes the error that says so."""
    for number, line in enumerate(iter(lambda: file.readline(_MAX_ITEM + 1), ""), 1):
        where = f"{path}:{number}"
        if len(line) > _MAX_ITEM:  # a few kilobytes of gzip can hold a line that fills the memory
            raise TrajectoryError(f"{where}: longer than {_MAX_ITEM:,} characters; split or remove the line.")
        if text := line.strip().lstrip("\ufeff"):
            try:
                record = json.loads(text, parse_constant=_drop_constant)
            except (ValueError, RecursionError) as error:
                fault = f"{where}: not valid JSON ({error}); repair or remove the line, or write one object per line."
                record = TrajectoryError(fault)
            yield where, record


def _drop_constant(name: str) -> None:
    """Read NaN, which tables have where there is nothing, and which is no JSON, as null."""


def _read_array(file: TextIO, path: Path) -> Iterator[tuple[str, Any]]:
    """Decode the items of one JSON array from a buffer that is refilled as needed."""
    decoder = json.JSONDecoder(parse_constant=_drop_constant)
    buffer = file.read(_CHUNK)
    position, index = buffer.index("[") + 1, 0
    while True:
        between = _BETWEEN_ITEMS.match(buffer, position)
        position = between.end() if between else position
        if buffer.startswith("]", position):
            return
        where = f"{path}[{index}]"
        try:
            item, position = decoder.raw_decode(buffer, position)
        except json.JSONDecodeError as error:
            chunk = file.read(_CHUNK)
            if not chunk or len(buffer) - position > _MAX_ITEM:
                raise TrajectoryError(f"{where}: not valid JSON ({error}); is the file complete?") from error
            buffer, position = buffer[position:] + chunk, 0
            continue
        except (ValueError, RecursionError) as error:
            raise TrajectoryError(f"{where}: not valid JSON ({error}); repair or remove the item.") from error
        yield where, item
        index += 1


def _parse_object(raw: bytes, where: str) -> Record:
    try:
        record = json.loads(raw, parse_constant=_drop_constant)
    except (ValueError, RecursionError) as error:
        raise TrajectoryError(f"{where}: not valid JSON ({error}); repair or remove it.") from error
    if not isinstance(record, dict):
        raise _describe_no_object(record, where)
    return record


def _describe_no_object(record: Any, where: str) -> TrajectoryError:
    return TrajectoryError(f"{where}: expected a JSON object, found {type(record).__name__}.")
