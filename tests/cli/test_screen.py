from __future__ import annotations

import os
import re
import sys
from io import StringIO
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpha_umi.cli.screen import LABEL_WIDTH, MAX_OBSERVATION_CHARS, Screen, show_call

Capture = pytest.CaptureFixture[str]


@pytest.mark.skipif(sys.platform == "win32", reason="has no pseudo-terminals")
def test_approve_takes_nothing_that_was_typed_before_the_question(monkeypatch: pytest.MonkeyPatch) -> None:
    keyboard, terminal = os.openpty()
    with os.fdopen(terminal, "r+b", buffering=0) as tty, os.fdopen(keyboard, "wb", buffering=0) as keys:
        monkeypatch.setattr(sys, "stdin", tty)
        keys.write(b"y\n")
        Screen().forget_typed()
        keys.write(b"n\n")
        assert tty.readline() == b"n\n"


@given(st.lists(st.text(st.sampled_from("ab ,\n"), max_size=5), min_size=1, max_size=20))
def test_screen_writes_the_same_however_the_text_is_cut(chunks: list[str]) -> None:
    outs: list[str] = []
    for pieces in (chunks, ["".join(chunks)]):
        with patch("sys.stdout", StringIO()) as out:
            with Screen() as screen:
                for piece in pieces:
                    screen.write("planner", piece)
            outs.append(out.getvalue())
    assert outs[0] == outs[1]
    assert outs[0].split() == ["planner", *"".join(chunks).split()]


def test_screen_wraps_words_under_each_other(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    for variable, value in {"TTY_COMPATIBLE": "1", "TERM": "xterm", "COLUMNS": str(LABEL_WIDTH + 10)}.items():
        monkeypatch.setenv(variable, value)
    with Screen() as screen:
        screen.write("summarizer", "one two three four")
    lines = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out).splitlines()
    assert lines == [f"{'summarizer':{LABEL_WIDTH}}one two", f"{'':{LABEL_WIDTH}}three four"]


def test_screen_reads_a_word_once_however_long_it_is(capsys: Capture) -> None:
    with Screen() as screen:
        for _ in range(4_000):
            screen.write("planner", "x" * 50)  # a search from every letter to the end would take hours
        screen.write("planner", "\n" * 200_000)
        screen.write("planner", "end")
    assert capsys.readouterr().out.split() == ["planner", "x" * 200_000, "end"]


def test_screen_lets_no_tool_move_the_cursor(capsys: Capture) -> None:
    with Screen() as screen:
        screen.observe("\x1b[2Jgone\x07\x9b1m", is_error=False)
    assert capsys.readouterr().out.split(maxsplit=1)[1] == "�[2Jgone��1m\n"


def test_screen_shows_a_long_observation_in_part(capsys: Capture) -> None:
    with Screen() as screen:
        screen.observe("x" * (MAX_OBSERVATION_CHARS + 1234), is_error=True)
    out = capsys.readouterr().out
    assert out.startswith("error")
    assert out.endswith("… (1,234 more characters)\n")


def test_screen_quiet_writes_nothing(capsys: Capture) -> None:
    with Screen(quiet=True) as screen:
        screen.write("planner", "a word")
        screen.note("a note")
    assert capsys.readouterr() == ("", "")


def test_call_that_is_asked_about_is_shown_as_it_is() -> None:
    shown = show_call("pay", {"to": "Bob\u202e\x9b2K", "über": "ü"})
    assert shown == 'pay {"to": "Bob\\u202e\\u009b2K", "über": "ü"}'
