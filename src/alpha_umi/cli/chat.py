"""`alpha-umi chat`: a conversation that can be left and taken up again."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from alpha_umi.cli.options import (
    DEFAULT_DATABASE,
    Approve,
    Checkpointer,
    Database,
    MaxSteps,
    Model,
    Temperature,
    Thread,
    Tools,
    load_configuration,
)
from alpha_umi.cli.screen import Screen
from alpha_umi.cli.session import report

if TYPE_CHECKING:
    from alpha_umi.cli.session import Session

HELP = "Ctrl-C stops an answer, /continue goes on with it, /new begins another thread, /quit or Ctrl-D leaves."


def chat(
    model: Model = None,
    tools: Tools = None,
    max_steps: MaxSteps = None,
    temperature: Temperature = None,
    approve: Approve = False,
    thread: Thread = None,
    database: Database = DEFAULT_DATABASE,
    checkpointer: Checkpointer = None,
) -> None:
    """Talk with the agent; every thread is kept and can be gone on with."""
    with suppress(ImportError):
        import readline  # noqa: F401, PLC0415 - line editing for input(); not there on Windows

    with Screen() as screen:
        screen.wait("starting")
        from alpha_umi.cli.session import open_session  # noqa: PLC0415 - LangGraph takes a second

        settings = load_configuration(model, tools, max_steps, temperature)
        with open_session(settings, screen, approve=approve, where=checkpointer or database, thread=thread) as session:
            screen.note(HELP)
            _greet(session, screen)
            while (line := _read_line(screen)) is not None:
                _obey(line, session, screen)


def _greet(session: Session, screen: Screen) -> None:
    n_turns = session.count_turns()
    earlier = f"{n_turns} earlier {'question' if n_turns == 1 else 'questions'}" if n_turns else "new"
    screen.note(f"Thread {session.thread}, {earlier}.")
    if session.is_interrupted():
        screen.note("The last answer was stopped; /continue goes on with it.")


def _read_line(screen: Screen) -> str | None:
    """Return the next line, or None to leave."""
    try:
        line = screen.ask("", "you").strip()
    except KeyboardInterrupt:
        screen.note("")
        return ""
    except EOFError:
        screen.note("")
        return None
    return None if line == "/quit" else line


def _obey(line: str, session: Session, screen: Screen) -> None:
    """Answer one line; what goes wrong is said and leaves the thread as it was."""
    try:
        if line == "/new":
            session.begin()
            _greet(session, screen)
        elif line == "/continue":
            if session.is_interrupted():
                session.resume()
            else:
                screen.note("There is nothing to go on with; ask a question.")
        elif line.startswith("/"):
            screen.note(HELP if line == "/help" else f"There is no command {line}. {HELP}")
        elif line:
            session.ask(line)
    except KeyboardInterrupt:
        screen.note("Stopped. /continue goes on with it.")
    except Exception as error:  # a model server that is down for a moment is no reason to leave
        report(error)
