"""`alpha-umi ask`, `chat`, `threads` and `graph`: the agent at work, and what it keeps."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alpha_umi.cli.options import (
    DEFAULT_DATABASE,
    Approve,
    Checkpointer,
    Database,
    MaxSteps,
    Model,
    ResponseFormat,
    StrategyName,
    Temperature,
    Thread,
    Tools,
    is_given,
    load_configuration,
)
from alpha_umi.cli.screen import EXIT_GAVE_UP, Screen, clean, show_error
from alpha_umi.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from langchain_core.runnables.graph import Graph as Drawing

    from alpha_umi.cli.session import Session, TurnResult
    from alpha_umi.nodes.durability.checkpointers import DurableSaver

HELP = "Ctrl-C stops an answer, /continue resumes it, /new begins another thread, /quit or Ctrl-D leaves."
_MAX_QUESTION_CHARS = 60


def ask(
    ctx: typer.Context,
    question: Annotated[str, typer.Argument(help="What to answer; - reads it from standard input.")],
    model: Model = None,
    tools: Tools = None,
    max_steps: MaxSteps = None,
    temperature: Temperature = None,
    approve: Approve = None,
    thread: Thread = None,
    database: Database = DEFAULT_DATABASE,
    checkpointer: Checkpointer = None,
    strategy: StrategyName = None,
    show_tree: Annotated[bool, typer.Option("--tree", help="Print the tree of all that was tried.")] = False,
    export: Annotated[
        Path | None,
        typer.Option(metavar="FILE", show_default=False, help="Write the run as a ToolBench answer file."),
    ] = None,
    response_format: ResponseFormat = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Answer a question, showing every step as it is taken."""
    if question == "-":
        question = sys.stdin.read()
    if not question.strip():
        raise typer.BadParameter("it is empty; write what is to be answered.", param_hint="question")
    for option in ("database", "checkpointer"):
        if thread is None and is_given(ctx, option):
            raise typer.BadParameter("it keeps threads; name the thread with --thread.", param_hint=f"--{option}")
    # what a tool prints must not end up in the JSON
    with redirect_stdout(sys.stderr) if as_json else nullcontext(), Screen(quiet=as_json) as screen:
        screen.wait("starting")
        from alpha_umi.cli.session import draw_tree, open_session

        settings = load_configuration(model, tools, max_steps, temperature, strategy)
        if response_format is not None:
            from alpha_umi.documents import read_document

            settings.response_format = read_document(response_format, "write a JSON Schema", dict[str, Any])
        where = (checkpointer or database) if thread else None
        with open_session(settings, screen, approve=approve, where=where, thread=thread) as session:
            result = session.ask(question)
        if show_tree:
            screen.draw(draw_tree(result.tree, question))
        if export:
            _export(export, result)
    if as_json:
        typer.echo(result.to_json())
    if result.output["finish"] == "give up":
        raise typer.Exit(EXIT_GAVE_UP)


def _export(path: Path, result: TurnResult) -> None:
    from alpha_umi.training.evaluation.toolbench import make_answer_file

    answer = make_answer_file(result.state, result.tree, result.tools, result.total["total_tokens"])
    try:
        path.write_text(json.dumps(answer, ensure_ascii=False, indent=1), "utf-8")
    except OSError as error:
        raise ConfigError(f"--export {str(path)!r} cannot be written: {error.strerror}; name another file.") from error


def chat(
    model: Model = None,
    tools: Tools = None,
    max_steps: MaxSteps = None,
    temperature: Temperature = None,
    approve: Approve = None,
    thread: Thread = None,
    database: Database = DEFAULT_DATABASE,
    checkpointer: Checkpointer = None,
) -> None:
    """Talk with the agent; every thread is kept and can be continued."""
    with suppress(ImportError):
        import readline  # noqa: F401 - line editing for input(); not there on Windows

    with Screen() as screen:
        screen.wait("starting")
        from alpha_umi.cli.session import open_session

        settings = load_configuration(model, tools, max_steps, temperature)
        with open_session(settings, screen, approve=approve, where=checkpointer or database, thread=thread) as session:
            screen.note(HELP)
            _greet(session, screen)
            while (line := _read_line(screen)) is not None:
                _run_line(line, session, screen)


def _greet(session: Session, screen: Screen) -> None:
    state = session.read_state()
    n_turns = sum(message.type == "human" for message in state.values.get("messages", []))
    earlier = f"{n_turns} earlier {'question' if n_turns == 1 else 'questions'}" if n_turns else "new"
    screen.note(f"Thread {session.thread}, {earlier}.")
    if state.tasks:  # not `next`, which leaves out tasks that had ended but whose step had not
        screen.note("The last answer was stopped; /continue resumes it.")


def _read_line(screen: Screen) -> str | None:
    """Return the next line, or None to leave."""
    try:
        line = screen.ask("", "you").strip()
    except (KeyboardInterrupt, EOFError) as stop:
        screen.note("")
        return "" if isinstance(stop, KeyboardInterrupt) else None
    return None if line == "/quit" else line


def _run_line(line: str, session: Session, screen: Screen) -> None:
    """Answer one line; a failure is shown and leaves the thread as it was."""
    try:
        if line == "/new":
            session.begin()
            _greet(session, screen)
        elif line == "/continue" and not session.read_state().tasks:
            screen.note("There is nothing to go on with; ask a question.")
        elif line == "/continue":
            session.ask(None)
        elif line.startswith("/"):
            screen.note(HELP if line == "/help" else f"There is no command {line}. {HELP}")
        elif line:
            session.ask(line)
    except KeyboardInterrupt:
        screen.note("Stopped. /continue resumes it.")
    except Exception as error:  # a model server that is down for a moment is no reason to leave
        show_error(error)


threads = typer.Typer(help="List the threads of ask and chat, or delete some.", invoke_without_command=True)


@threads.callback()
def list_threads(
    ctx: typer.Context,
    database: Database = DEFAULT_DATABASE,
    checkpointer: Checkpointer = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Show the newest N.")] = 20,
) -> None:
    """List the threads of ask and chat, the newest first: name, last change, questions, the first of them."""
    if ctx.invoked_subcommand:
        return
    with open_threads(ctx, database, checkpointer) as saver:
        lines = [] if saver is None else [_describe(saver, name) for name in saver.list_threads(limit)]
    for line in lines or ["No threads yet."]:
        typer.echo(line)


@threads.command()
def delete(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="NAME…", help="The threads to delete.", show_default=False)],
    database: Database = DEFAULT_DATABASE,
    checkpointer: Checkpointer = None,
) -> None:
    """Delete threads with all that was said in them and what is recorded of their calls; it cannot be undone."""
    with open_threads(ctx, database, checkpointer) as saver:
        unknown = [name for name in names if saver is None or not _is_kept(saver, name)]
        if saver is None or unknown:
            raise ConfigError(f"There is no thread {unknown[0]!r}; `alpha-umi threads` lists them. None is deleted.")
        for name in dict.fromkeys(names):
            with saver.claim(name):
                saver.delete_thread(name)
            typer.echo(f"Deleted {clean(name)}.")


@contextmanager
def open_threads(ctx: typer.Context, database: Path, checkpointer: str | None) -> Iterator[DurableSaver | None]:
    """Open what keeps the threads; None where nothing was kept yet."""
    if checkpointer is None and not database.exists() and is_given(ctx, "database"):
        raise ConfigError(f"--database {str(database)!r}: there is no such file; check the path.")
    if checkpointer is None and not _holds_threads(database):
        yield None
        return
    from alpha_umi.graph.checkpointers import open_checkpointer

    with open_checkpointer(checkpointer or database) as saver:
        yield saver


def _holds_threads(database: Path) -> bool:
    """Look without making tables in what may be another program's file."""
    if not database.is_file():
        return database.exists()
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'checkpoints'").fetchone() is not None
    except sqlite3.Error:
        return True  # opening it for real says what is wrong


def _is_kept(saver: DurableSaver, name: str) -> bool:
    """Say whether there is such a thread, be it damaged."""
    try:
        return saver.get_tuple({"configurable": {"thread_id": name}}) is not None
    except StorageError:
        return True  # a database that cannot be used at all says so again


def _describe(saver: DurableSaver, name: str) -> str:
    from alpha_umi.graph.threads import summarize_thread

    try:
        newest = saver.get_tuple({"configurable": {"thread_id": name}})
    except StorageError as error:
        return clean(f"{name:<16} {error}")
    if newest is None:
        return clean(f"{name:<16} was deleted meanwhile")
    found = summarize_thread(name, newest)
    first = " ".join(found.first_question.split())
    cut = first if len(first) <= _MAX_QUESTION_CHARS else f"{first[:_MAX_QUESTION_CHARS]}…"
    return clean(f"{name:<16} {found.changed_at:%Y-%m-%d %H:%M}  {found.n_questions:>3}  {cut}")


def _keep(drawing: Drawing, strategy: str) -> None:
    """Leave of a drawing what a run of one strategy can reach."""
    first = "dfsdt:__start__" if strategy == "dfsdt" else "planner"
    edges = [edge for edge in drawing.edges if edge.source != "entry" or edge.target == first]
    reached, n_reached = {"__start__"}, 0
    while len(reached) > n_reached:
        n_reached = len(reached)
        reached |= {edge.target for edge in edges if edge.source in reached}
    drawing.edges = [edge for edge in edges if edge.source in reached]
    drawing.nodes = {name: node for name, node in drawing.nodes.items() if name in reached}


def graph(strategy: StrategyName = None) -> None:
    """Print the agent's graph as a Mermaid drawing, of all strategies or one; no weights are loaded."""
    from alpha_umi.graph.agent import graph as agent

    drawing = agent.get_graph(xray=True)
    if strategy:
        _keep(drawing, strategy)
    typer.echo(drawing.draw_mermaid(), nl=False)
