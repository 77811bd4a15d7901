"""The command line in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from io import StringIO
from typing import NamedTuple

import pytest

from alpha_umi.cli import main


class Done(NamedTuple):
    """What a finished command left."""

    code: int | str | None
    out: str
    err: str


Umi = Callable[..., Done]


class Stdin(StringIO):
    """What a person types at a terminal, or what comes through a pipe."""

    def __init__(self, text: str, is_terminal: bool) -> None:
        super().__init__(text)
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("ALPHA_UMI_CONFIG", raising=False)


@pytest.fixture
def umi(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Umi:
    """Run ``alpha-umi`` with arguments."""

    def run(*arguments: str, stdin: str = "", is_terminal: bool = True) -> Done:
        monkeypatch.setattr(sys, "argv", ["alpha-umi", *arguments])
        monkeypatch.setattr(sys, "stdin", Stdin(stdin, is_terminal))
        with pytest.raises(SystemExit) as leave:
            main()
        return Done(leave.value.code, *capsys.readouterr())

    return run
