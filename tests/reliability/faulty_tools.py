"""Tools that misbehave, in processes of their own; a process has to import them by name, so they stand here."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from functools import wraps
from typing import Any

from langchain_core.tools import tool

from alpha_umi.tools import declare_effects, isolate

HELD: list[bytes] = []


@isolate()
def add(a: int, b: int = 1) -> int:
    """Add."""
    sys.stdout.write('{"text": "this is not the answer"}\n')
    return a + b


@isolate()
async def name_day(day: date) -> str:
    """Name a day."""
    await asyncio.sleep(0)
    return f"{day:%A}, {os.getpid()}"


@isolate(memory_mb=64)
@tool
def flood() -> int:
    """Take all memory there is."""
    for _ in range(10_000):
        HELD.append(b"x" * 2**20)
    return len(HELD)


@isolate()
@declare_effects("none")
def leave(code: int) -> None:
    """End the process."""
    os._exit(code)


@isolate()
def leave_after_effect(path: str) -> None:
    """Write, and end the process."""
    append(path, "paid")
    os.kill(os.getpid(), signal.SIGSEGV)


@isolate()
@declare_effects("none")
def raise_anything(kind: str) -> None:
    """Raise."""
    raise {"SystemExit": SystemExit, "KeyboardInterrupt": KeyboardInterrupt, "ValueError": ValueError}[kind]("no")


@isolate(seconds=60)
@declare_effects("none")
def hang(path: str) -> None:
    """Hang, and so does a process that it starts."""
    code = f"import time\nwhile True: open({path!r}, 'a').write('x'); time.sleep(0.05)"
    subprocess.Popen([sys.executable, "-c", code])
    time.sleep(600)


def append(path: str, line: str) -> None:
    """Let an effect take place."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def make_local() -> Callable[[], Any]:
    """Return a function that no other process can find."""

    def local() -> None:
        """Do nothing."""

    return local


def send(text: str) -> str:
    """Send."""
    return f"sent {text}"


def guard(function: Callable[[str], str]) -> Callable[[str], str]:
    """Return a function that does nothing."""

    @wraps(function)
    def guarded(text: str) -> str:
        return "refused"

    return guarded


guarded_send = guard(send)
