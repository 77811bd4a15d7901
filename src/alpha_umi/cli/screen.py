"""What a person sees of a run: who says what, word by word as it comes.

Knows nothing about graphs or models; see `alpha_umi.cli.session` for that.
"""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from types import TracebackType

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.status import Status

try:
    import termios
except ImportError:  # Windows
    termios = None  # type: ignore[assignment]

LABEL_WIDTH = 13
MAX_OBSERVATION_CHARS = 1_000
_STYLES = {
    "planner": ("bold blue", ""),
    "caller": ("bold magenta", ""),
    "observation": ("bold yellow", "dim"),
    "error": ("bold red", "dim"),
    "summarizer": ("bold green", "bold"),
    "gave up": ("bold red", ""),
    "step limit": ("bold yellow", ""),
    "no progress": ("bold yellow", ""),
    "search limit": ("bold yellow", ""),
    "approve": ("bold cyan", ""),
}
_UNIT = re.compile(r"(\s*)(\S+)(?=\s)")
# A tool's output must not be able to move the cursor or retitle the terminal.
_CONTROLS = {code: "\N{REPLACEMENT CHARACTER}" for code in (*range(9), *range(11, 32), *range(127, 160)) if code != 13}


def clean(text: str) -> str:
    """Return text that a terminal can only show."""
    return text.replace("\r\n", "\n").translate(_CONTROLS)


class Screen:
    """Writes labelled paragraphs, wrapped to a terminal's width; a pipe gets them unwrapped.

    Args:
        quiet: Write nothing but questions to the person; the spinner stays, on stderr.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        """Start with nothing on the screen."""
        self._out = Console(quiet=quiet)
        self._status = Status("", console=Console(stderr=True))
        self._label: str | None = None
        self._pending = ""
        self._column = 0

    def __enter__(self) -> Screen:
        """Begin to write."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Leave the terminal tidy: the line ended, the spinner gone, the cursor back."""
        self.end()

    def wait(self, what: str) -> None:
        """End the paragraph and turn a spinner until something is written."""
        self.end()
        self._status.update(f"[dim]{what}")
        if self._status.console.is_terminal:
            self._status.start()

    def write(self, label: str, text: str) -> None:
        """Add text to the paragraph, or begin one; a word appears when it is whole."""
        self._status.stop()
        if label != self._label:
            self.end()
            self._label = label
            self._print(label.ljust(LABEL_WIDTH), _STYLES[label][0])
            self._column = LABEL_WIDTH
        self._pending += clean(text)
        self._flow()

    def observe(self, text: str, *, is_error: bool) -> None:
        """Write a whole observation, of which very long ones are shown in part."""
        if len(text) > MAX_OBSERVATION_CHARS:
            n_more = len(text) - MAX_OBSERVATION_CHARS
            text = f"{text[:MAX_OBSERVATION_CHARS]} … ({n_more:,} more characters)"
        self.write("error" if is_error else "observation", text or "(empty)")
        self.end()

    def note(self, text: str) -> None:
        """Write a line about the program itself."""
        self.end()
        self._print(f"{text}\n", "dim")

    def draw(self, drawing: RenderableType) -> None:
        """Show a drawing of rich."""
        self.end()
        self._out.print(drawing)

    def end(self) -> None:
        """End the paragraph and the spinner."""
        self._status.stop()
        if self._label is None:
            return
        self._pending += "\n"
        self._flow()
        self._print("\n")
        self._label, self._pending = None, ""

    def forget_typed(self) -> None:
        """Drop what was typed before a question stood there: it is no answer to it."""
        if termios is not None and sys.stdin.isatty():
            with suppress(OSError, termios.error):  # a program may have put something else in the terminal's place
                termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)

    def ask(self, question: str, label: str = "") -> str:
        """Ask the person for one line.

        Raises:
            EOFError: If there is nobody to answer.
        """
        self.end()
        line = input(label.ljust(LABEL_WIDTH) + question)
        if not sys.stdin.isatty():  # a terminal shows what is typed; a pipe does not
            sys.stdout.write(f"{clean(line)}\n")
        return line

    def _flow(self) -> None:
        """Write every whole word of `_pending` and keep the rest."""
        width = self._out.width if self._out.is_terminal else sys.maxsize
        end = 0
        for match in _UNIT.finditer(self._pending):
            *breaks, gap = match[1].split("\n")
            is_first, is_too_long = self._column == LABEL_WIDTH, self._column + cell_len(gap + match[2]) > width
            if is_first:
                gap = ""
            elif breaks or is_too_long:
                self._print("\n" * min(max(len(breaks), 1), 2) + " " * LABEL_WIDTH)
                self._column, gap = LABEL_WIDTH, gap if breaks else ""
            self._print(gap + match[2], _STYLES[self._label or ""][1])
            self._column += cell_len(gap + match[2])
            end = match.end()
        self._pending = self._pending[end:]

    def _print(self, text: str, style: str = "") -> None:
        self._out.print(text, style=style, end="", soft_wrap=True, markup=False, highlight=False, emoji=False)
