"""Odd input for the command line: every option with odd values, every file with odd content.

Options come from the parser and files from the folder that the commands work in, so that none can be forgotten.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import typer.main

from alpha_umi.cli import app, main
from alpha_umi.nodes.models.specs import SCHEMES
from alpha_umi.training.data.sources import list_sources

SECRET = "hunter2SECRET"
LIMIT_S = 30
_DEEP = 100_000

CONTENTS: dict[str, bytes] = {
    "empty": b"",
    "gap": b"\n",
    "cut": b'{"a": [1, {"b"',
    "deep": b"[" * _DEEP,
    "deep and closed": b'{"a":' * _DEEP + b"1" + b"}" * _DEEP,
    "deep yaml": b"- " * _DEEP,
    "aliases": b"a: &a [x,x,x,x,x,x,x,x,x]\n"
    + b"".join(b"%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c]\n" % (i, i, *[i - 1] * 6) for i in range(98, 110)),
    "yaml tag": b"a: !!python/object/apply:os.system [x]\n",
    "yaml in itself": b"a: &a [*a]\n",
    "two documents": b"a: 1\n---\nb: 2\n",
    "utf-16": '{"a": "é"}\n'.encode("utf-16"),
    "latin-1": '{"a": "é"}\n'.encode("latin-1"),
    "mark": b'\xef\xbb\xbf{"a": 1}\n',
    "nul": b'{"a": "\0"}\n\0\0',
    "binary": bytes(range(256)) * 40,
    "gzip": b"\x1f\x8b\x08\0\0\0\0\0\0\3cut",
    "sqlite": b"SQLite format 3\0" + bytes(4000),
    "zip": b"PK\3\4" + bytes(100),
    "surrogate": b'{"a": "\\ud800"}\n',
    "digits": b'{"a": ' + b"9" * 5000 + b"}\n",
    "nan": b'{"a": NaN, "b": -Infinity, "c": 1e999}\n',
    "address": f'{{"models": "openai:m@http://u:{SECRET}@[bad/x", "url": "http://u:{SECRET}@[bad/x"}}'.encode(),
    **{name: name.encode() + b"\n" for name in ("null", "true", "-1", "1e999", '"text"', "[]", "{}", "[null]", "[[]]")},
}


def write_content(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _make_sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(50 * 2**20)


def _make_unreadable(path: Path) -> None:
    path.write_text("{}")
    path.chmod(0)


ODD: dict[str, Callable[[Path], Any]] = {
    **{name: partial(write_content, content) for name, content in CONTENTS.items()},
    "sparse": _make_sparse,
    "pipe": os.mkfifo,
    "folder": os.mkdir,
    "dangling": lambda path: path.symlink_to("nowhere"),
    "loop": lambda path: path.symlink_to(path.name),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "unreadable": _make_unreadable,
    "missing": lambda path: None,
}

TEXTS = (
    *(
        "",
        " ",
        "-",
        "--",
        "\0",
        "a\0b",
        "\udcff",
        "\ud800",
        "\n",
        "x" * 300,
        "x/" * 3000,
        "~",
        "~nobody/x",
        ".",
        "/",
        ":",
    ),
    *(
        "nan",
        "inf",
        "-inf",
        "-1",
        "0",
        "9" * 400,
        "1e999",
        "0x1",
        "½",
        "１",
        "1,nan",
        ",",
        "=",
        "a=",
        "=1",
        "a=9" + "9" * 30,
    ),
    *(f"http://u:{SECRET}@[bad/x", f"postgresql://u:{SECRET}@[bad/x", f"mysql://u:{SECRET}@h/x", f"x:/u:{SECRET}@h"),
    *(f"m@http://u:{SECRET}@h:port/x", f"//u:{SECRET}@h", f"http://h/?api_key={SECRET}", "http://[::1", "file:///etc"),
    *(
        "{role}",
        "{",
        "{0}",
        "{}{",
        "%s",
        "#",
        "#a",
        "a#",
        "*",
        "?",
        "a:b",
        "a..b:c",
        "..:x",
        "made-up:x",
        "\u202e",
        "é",
    ),
)
PREFIXES: dict[str, tuple[str, ...]] = {
    "model": tuple(f"{name}:" for name in SCHEMES),
    "judge": tuple(f"{name}:" for name in SCHEMES),
    "tools": ("builtin:", "openapi:", "mcp:", "toolbench:", "replay:", "os:"),
    "source": tuple(f"{name}:" for name in list_sources()),
    "suite": ("gsm8k:", "toolbench:", "complexfuncbench-replay:", "builtin:"),
}
SUFFIXES: dict[str, tuple[str, ...]] = {
    "suite": ("", "#http://127.0.0.1:9"),
    "tools": ("", "#1"),
    "source": ("", ",odd"),
}


class Case(NamedTuple):
    """A command line, and which file of its folder is odd before it runs."""

    argv: tuple[str, ...]
    odd: str = ""
    path: str = "odd"
    environ: tuple[tuple[str, str], ...] = ()
    spoil: tuple[Any, ...] = ()


def list_commands() -> dict[str, Any]:
    """Return every command of the parser by its words."""

    def walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        for name, below in getattr(command, "commands", {}).items():
            yield from walk(below, (*words, name))
        if not getattr(command, "commands", {}):
            yield " ".join(words), command

    return dict(walk(typer.main.get_command(app), ()))


def list_argument_cases(words: str, command: Any, base: list[str]) -> Iterator[Case]:
    """Yield a command with each of its parameters given each odd value."""
    for parameter in command.params:
        if getattr(parameter, "is_flag", False) or parameter.name == "help":
            continue
        values = [*((text, "") for text in TEXTS), *(("odd", odd) for odd in ODD)]
        for value, odd in values:
            for prefix in dict.fromkeys(("", *PREFIXES.get(parameter.name, ()))):
                for suffix in SUFFIXES.get(parameter.name, ("",)) if value == "odd" else ("",):
                    argv = set_parameter(base, parameter, f"{prefix}{value}{suffix}")
                    yield Case((*words.split(), *argv), odd)
            if parameter.envvar and "\0" not in value:
                argv = set_parameter(base, parameter, None)
                with contextlib.suppress(UnicodeEncodeError):
                    os.fsencode(value)
                    yield Case((*words.split(), *argv), odd, environ=((str(parameter.envvar), value),))


def set_parameter(base: list[str], parameter: Any, value: str | None) -> list[str]:
    """Return arguments in which an option or the positional ``{name}`` has another value."""
    argv = [each for each in base]
    if parameter.param_type_name == "argument":
        place = argv.index(f"{{{parameter.name}}}")
        argv[place : place + 2] = [] if value is None else [value]
        return fill(argv)
    name = max(parameter.opts, key=len)
    while name in argv:
        place = argv.index(name)
        del argv[place : place + 2]
    return fill([*([] if value is None else [f"{name}={value}"]), *argv])


def fill(argv: list[str]) -> list[str]:
    """Take out the names of positional arguments, which stand before their values."""
    return [each for each in argv if not (each.startswith("{") and each.endswith("}") and each[1:-1].isidentifier())]


class Done(NamedTuple):
    """What a finished command left."""

    code: int | str | None
    out: str
    err: str


class Late(BaseException):
    """Is raised in a command that does not end."""


def run(argv: tuple[str, ...], stdin: str = "") -> Done:
    """Run a command in this process with streams as strict as a real terminal's."""
    out, err = (
        io.TextIOWrapper(io.BytesIO(), "utf-8", errors, write_through=True) for errors in ("strict", "backslashreplace")
    )

    def stop(*_: object) -> None:
        raise Late

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    code: Any = "no exit"
    try:
        with (
            patch.object(sys, "argv", ["alpha-umi", *argv]),
            patch.object(sys, "stdin", io.StringIO(stdin)),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            main()
    except SystemExit as leave:
        code = leave.code
    except Late:
        code = "does not end"
    except BaseException as error:
        code = repr(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    shown = [stream.buffer.getvalue().decode("utf-8", "backslashreplace") for stream in (out, err)]
    return Done(code, *shown)


def find_fault(case: Case, template: Path, folder: Path) -> str:
    """Return how a command breaks the promise to end cleanly; an empty text if it does not."""
    restore(template, folder)
    target = folder / case.path
    if case.odd:
        remove(target)
        ODD[case.odd](target)
    if case.spoil:
        spoil(target, *case.spoil)
    before = list_files(folder)
    here = os.getcwd()
    os.chdir(folder)
    try:
        with patch.dict(os.environ, dict(case.environ)):
            done = run(case.argv)
    finally:
        os.chdir(here)
    return judge(done, before, list_files(folder))


def judge(done: Done, before: set[str], after: set[str]) -> str:
    shown = done.out + done.err
    if done.code not in (0, 1, 2, 3, None):
        return f"exit code {done.code}"
    for mark in ("That was not expected", "Traceback (most", SECRET):
        if mark in shown:
            return f"shows {mark}: {shown[-600:]}"
    if done.code and not done.err.strip() and not done.out.strip():
        return "says nothing"
    if left := [
        name
        for name in after - before
        if any(part.startswith(".") and part.count(".") > 1 for part in Path(name).parts)
    ]:
        return f"leaves {left}"
    return ""


def restore(template: Path, folder: Path) -> None:
    """Make a folder like another one; only what differs in size or time is copied."""
    folder.mkdir(exist_ok=True)
    wanted, there = ({path.relative_to(root): path for path in root.rglob("*")} for root in (template, folder))
    for name in sorted(there.keys() - wanted.keys()):
        if there[name].is_symlink() or there[name].exists():
            remove(there[name])
    for name, path in wanted.items():
        copy = folder / name
        if path.is_dir():
            if copy.is_symlink() or not copy.is_dir():
                remove(copy)
                copy.mkdir()
            continue
        old, new = path.lstat(), copy.lstat() if copy.is_symlink() or copy.exists() else None
        if new is None or (old.st_size, old.st_mtime_ns, old.st_mode) != (new.st_size, new.st_mtime_ns, new.st_mode):
            remove(copy)
            shutil.copy2(path, copy)


def list_files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def list_places(value: Any, keys: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the keys that lead to every part of a value."""
    yield keys
    parts = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, part in parts:
        yield from list_places(part, (*keys, key))


WRONG: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1.5,
    float("inf"),
    float("nan"),
    10**400,
    "",
    "x",
    "\ud800",
    [],
    {},
    [None],
    {"": None},
    [[]],
    "gone",
)


def change(value: Any, keys: tuple[Any, ...], new: Any) -> Any:
    if not keys:
        return new
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    if new == "gone" and len(keys) == 1:
        del copy[keys[0]]
    else:
        copy[keys[0]] = change(copy[keys[0]], keys[1:], new)
    return copy


def spoil(path: Path, keys: tuple[Any, ...], new: Any) -> None:
    """Put a wrong value into a file of JSON, YAML, JSON Lines (its first line) or SQLite (table, column)."""
    if path.suffix == ".sqlite":
        # what the tables themselves refuse cannot be in the file
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as base, base:
            table, column = keys
            if new == "gone":
                base.execute(f"ALTER TABLE {table} DROP COLUMN {column}" if column else f"DROP TABLE {table}")
            elif column:
                base.execute(f"UPDATE {table} SET {column} = ?", (new,))
            else:
                base.execute(f"DELETE FROM {table}")
        return
    lines = path.read_text().splitlines(keepends=True) if path.suffix == ".jsonl" else [path.read_text()]
    lines[0] = json.dumps(change(json.loads(lines[0]), keys, new)) + "\n"
    path.write_text("".join(lines))


def list_spoils(path: Path) -> Iterator[tuple[Any, ...]]:
    if path.suffix == ".sqlite":
        with contextlib.closing(sqlite3.connect(path)) as base:
            tables = [name for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type='table'")]
            columns = {table: [row[1] for row in base.execute(f"PRAGMA table_info({table})")] for table in tables}
        for table in tables:
            yield ((table, ""), "gone")
            yield ((table, ""), None)
            for column in columns[table]:
                for value in (None, b"\0\xff", "x", "", "{", "[]", "null", -1, 1e300, "gone"):
                    yield ((table, column), value)
        return
    text = path.read_text()
    value = json.loads(text.splitlines()[0] if path.suffix == ".jsonl" else text)
    for keys in list_places(value):
        for wrong in WRONG:
            if keys or wrong != "gone":
                yield (keys, wrong)
