"""What a person sees of a run, word by word as it comes; the questions about tool calls; the errors.

Imports neither LangGraph nor the agent; `alpha_umi.cli.session` runs the agent and writes here.
"""

from __future__ import annotations

import json
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

import typer
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.status import Status

from alpha_umi.errors import AlphaUmiError, ConfigError, InputError, explain, hide_passwords

try:
    import termios
except ImportError:  # Windows
    termios = None  # type: ignore[assignment]

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_GAVE_UP = 3
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
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
_DECISIONS = {"approve": "yes", "reject": "no", "edit": "edit", "respond": "answer"}
_UNIT = re.compile(r"(\s*)(\S+)")
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

    def __enter__(self) -> Self:
        """Begin to write."""
        return self

    def __exit__(self, *_: object) -> None:
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
        """Drop what was typed before a question was shown: it is no answer to it."""
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
        words, end = self._pending.rsplit(maxsplit=1), 0
        unfinished = 0 if not words or self._pending[-1].isspace() else len(words[-1])
        # what is searched ends with a word, so that no word is read more than once however long the rest is
        for match in _UNIT.finditer(self._pending[: len(self._pending) - unfinished].rstrip()):
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


def ask_person(request: Mapping[str, Any], screen: Screen) -> dict[str, Any]:
    """Return the person's decision on the first call of a request; the graph asks about the others again.

    Raises:
        InputError: If there is nobody to answer.
    """
    if not sys.stdin.isatty():
        action = request["action_requests"][0]
        raise InputError(
            f"A tool call waits for approval, and nobody can be asked: standard input is no terminal. It is "
            f"{show_call(action['name'], action['args'])}, asked about because {action['reason']}. Run this in a "
            "terminal (what is piped in is not taken for a decision), let it run by a rule of approve_tools, or say "
            "--yes to let all calls run."
        )
    if fault := request.get("error"):
        screen.note(f"{fault}".partition(" Resume with ")[0])
    action, review = request["action_requests"][0], request["review_configs"][0]
    try:
        return {"decisions": [{"id": action["id"], **_ask_decision(action, review["allowed_decisions"], screen)}]}
    except EOFError as error:
        raise InputError("A tool call waits for approval and nobody answered: run it again to be asked.") from error


def show_call(name: str, arguments: Any) -> str:
    """Return a call as it can be read on a terminal, which nothing in it may make look like another one."""
    text = f"{name} {json.dumps(arguments, ensure_ascii=False)}"
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)


def _ask_decision(action: Mapping[str, Any], allowed: Sequence[str], screen: Screen) -> dict[str, Any]:
    choices = {key: kind for kind, word in _DECISIONS.items() if kind in allowed for key in (word, word[0])}
    words = ", ".join(f"[{word[0]}]{word[1:]}" for kind, word in _DECISIONS.items() if kind in allowed)
    question = f"{show_call(action['name'], action['args'])}  {action['description']} {words}: "
    screen.forget_typed()
    while True:
        kind = choices.get(screen.ask(question, "approve").strip().lower())
        if kind == "approve":
            return {"type": kind}
        if kind == "reject":
            return {"type": kind, "message": screen.ask("why not? (may be empty) ")}
        if kind == "respond" and (message := screen.ask("what the tool would say: ").strip()):
            return {"type": kind, "message": message}
        if kind == "edit":
            return {"type": kind, "edited_action": _ask_action(action["name"], screen)}


def _ask_action(name: str, screen: Screen) -> dict[str, Any]:
    """Return the call as the person writes it: arguments, or another tool and arguments."""
    while True:
        words = screen.ask("arguments as one JSON object, or a tool's name followed by them: ").strip()
        tool, brace, rest = words.partition("{")
        try:
            arguments = json.loads(brace + rest)
        except ValueError as error:
            screen.note(f'That is not a JSON object ({error}); write for example {{"expression": "1 + 1"}}.')
            continue
        if isinstance(arguments, dict):
            return {"name": tool.strip() or name, "args": arguments}


def show_error(error: Exception) -> int:
    """Say on stderr what went wrong and return the exit code; ``--debug`` shows where, too."""
    error = explain(error)
    if "--debug" in sys.argv:
        typer.echo(hide_passwords("".join(traceback.format_exception(error))), err=True, nl=False)
    elif isinstance(error, AlphaUmiError):
        typer.secho(str(error), fg="red", err=True)
    else:
        typer.secho(hide_passwords(f"{type(error).__name__}: {error}"), fg="red", err=True)
        typer.echo("That was not expected; 'alpha-umi --debug …' shows where it happened.", err=True)
    return EXIT_USAGE if isinstance(error, ConfigError | InputError) else EXIT_FAILURE
