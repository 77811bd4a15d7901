"""`make picture`: record a question put to the agent on a terminal, and draw it as a moving SVG for the README.

The SVG moves by CSS alone and holds no script, so GitHub shows it as an image. Who asks their system for less motion
sees the end, and so does a program that does not animate.
"""

from __future__ import annotations

import os
import pty
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import dropwhile, groupby
from pathlib import Path
from xml.sax.saxutils import escape

from rich.console import Console
from rich.style import Style
from rich.text import Text

OUT = Path(__file__).with_name("terminal.svg")
COMMAND = ("alpha-umi", "ask", "What is 17% of 2340, and which weekday is 2027-03-01?")
COLUMNS = 80
MAX_PAUSE_S = 0.3
_KEY_S = 0.04
_KEYS_AT_ONCE = 3
_HOLD_S = 6.0
_CHAR, _LINE, _PAD, _BAR = 8.4, 20, 18, 34  # pixels
_COLOURS = (
    "#484f58",
    "#ff7b72",
    "#7ee787",
    "#e3b341",
    "#79c0ff",
    "#d2a8ff",
    "#76e3ea",
    "#e6edf3",
)  # ANSI's, from black
_PAGE = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img">
<title>{title}</title>
<style>
text {{ font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #e6edf3;
  white-space: pre }}
@media (prefers-reduced-motion: no-preference) {{ text {{ animation: {duration:.1f}s step-end infinite }} }}
{style}
</style>
<rect x=".5" y=".5" width="{inner_width}" height="{inner_height}" rx="10" fill="#0d1117" stroke="#444c56"/>
<circle cx="20" cy="18" r="5.5" fill="#ff5f57"/><circle cx="38" cy="18" r="5.5" fill="#febc2e"/>
<circle cx="56" cy="18" r="5.5" fill="#28c840"/>
{body}
</svg>
"""


@dataclass(frozen=True)
class Shown:
    """One character on the terminal.

    Attributes:
        at: When it appeared, in seconds after the start.
        row: Its line, from 0.
        column: Its place in the line, from 0.
    """

    at: float
    row: int
    column: int
    char: str
    style: Style


def record(command: Sequence[str]) -> list[tuple[float, str]]:
    """Run a command whose output goes to a terminal, and return what it wrote since the start, at each time in seconds.

    Its stderr goes to this program's, so that no spinner moves the cursor.
    """
    ours, its = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "TERM": "xterm-256color", "COLORTERM": ""}
    start, written, frames = time.monotonic(), b"", []
    with subprocess.Popen(command, stdout=its, stdin=subprocess.DEVNULL, env=environment) as process:
        os.close(its)
        while chunk := _read(ours):
            written += chunk
            frames.append((time.monotonic() - start, written.decode(errors="ignore").replace("\r\n", "\n")))
    os.close(ours)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return frames


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux's way to say that nobody writes any more
        return b""


def shorten_pauses(frames: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Let no pause be longer than ``MAX_PAUSE_S``."""
    now, last, shortened = 0.0, 0.0, []
    for at, text in frames:
        now += min(at - last, MAX_PAUSE_S)
        last = at
        shortened.append((now, text))
    return shortened


def type_command(command: Sequence[str]) -> Iterator[Shown]:
    """Yield the command as somebody types it at a prompt."""
    yield Shown(0.0, 0, 0, "$", Style(dim=True))
    line = " ".join(f'"{word}"' if shlex.quote(word) != word else word for word in command)
    for column, char in enumerate(line):
        yield Shown(_KEY_S * (column - column % _KEYS_AT_ONCE + _KEYS_AT_ONCE), 0, column + 2, char, Style())


def list_shown(frames: Sequence[tuple[float, str]], *, start: float, row: int) -> Iterator[Shown]:
    """Yield the characters of a recording that only ever adds text, with their colours."""
    whole = Text.from_ansi(frames[-1][1])
    appeared: list[float] = []
    for at, text in frames:
        appeared += [start + at] * (len(Text.from_ansi(text).plain) - len(appeared))
    console, column = Console(), 0
    for index, char in enumerate(whole.plain):
        if char != "\n":
            yield Shown(appeared[index], row, column, char, whole.get_style_at_offset(console, index))
        row, column = (row + 1, 0) if char == "\n" else (row, column + 1)


def draw(shown: Sequence[Shown], title: str) -> str:
    """Return the SVG: a piece of text for all characters that appeared at once in one line and one style."""
    duration = max(each.at for each in shown) + _HOLD_S
    width = round(COLUMNS * _CHAR + 2 * _PAD)
    height = _BAR + _LINE * (max(each.row for each in shown) + 1) + _PAD
    rules, body = {}, []
    for (at, row, style), piece in groupby(shown, key=lambda each: (each.at, each.row, each.style)):
        chars = [*dropwhile(lambda each: each.char == " ", piece)]  # not every program keeps spaces at an end
        if not (text := "".join(each.char for each in chars).rstrip()):
            continue
        name = f"t{round(1000 * at)}"
        percent = 100 * at / duration
        rules[name] = (
            f".{name} {{ animation-name: {name} }} "
            f"@keyframes {name} {{ 0% {{ opacity: 0 }} {percent:.2f}%, 100% {{ opacity: 1 }} }}"
        )
        x, y = _PAD + chars[0].column * _CHAR, _BAR + _LINE * row + 14
        body.append(
            f'<text class="{name}" x="{x:.1f}" y="{y}" textLength="{len(text) * _CHAR:.1f}"{_paint(style)}>'
            f"{escape(text)}</text>"
        )
    return _PAGE.format(
        width=width,
        height=height,
        inner_width=width - 1,
        inner_height=height - 1,
        title=escape(title),
        duration=duration,
        style="\n".join(rules.values()),
        body="\n".join(body),
    )


def _paint(style: Style) -> str:
    rules = ["font-weight: bold"] if style.bold else []
    if style.color and style.color.number is not None:
        rules.append(f"fill: {_COLOURS[style.color.number]}")
    elif style.dim:
        rules.append("fill: #9198a1")
    return f' style="{"; ".join(rules)}"' if rules else ""


def main() -> None:
    """Write ``docs/terminal.svg``."""
    program = Path(sys.executable).with_name(COMMAND[0])
    subprocess.run([program, *COMMAND[1:]], check=True, stdout=subprocess.DEVNULL)  # the first run may convert weights
    typed = list(type_command(COMMAND))
    frames = shorten_pauses(record([str(program), *COMMAND[1:]]))
    shown = [*typed, *list_shown(frames, start=max(each.at for each in typed), row=1)]
    OUT.write_text(
        draw(shown, f"{shlex.join(COMMAND)}: plans, calls, observations and the answer, as they come"), "utf-8"
    )


if __name__ == "__main__":
    main()
