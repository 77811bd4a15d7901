"""`alpha-umi ask`: one question, one answer."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alpha_umi.cli.options import (
    DEFAULT_DATABASE,
    Approve,
    Checkpointer,
    Database,
    MaxSteps,
    Model,
    StrategyName,
    Temperature,
    Thread,
    Tools,
    is_given,
    load_configuration,
)
from alpha_umi.cli.screen import Screen
from alpha_umi.cli.session import EXIT_GAVE_UP
from alpha_umi.errors import ConfigError

if TYPE_CHECKING:
    from alpha_umi.cli.session import Outcome


def ask(
    ctx: typer.Context,
    question: Annotated[str, typer.Argument(help="What to answer; - reads it from standard input.")],
    model: Model = None,
    tools: Tools = None,
    max_steps: MaxSteps = None,
    temperature: Temperature = None,
    approve: Approve = False,
    thread: Thread = None,
    database: Database = DEFAULT_DATABASE,
    checkpointer: Checkpointer = None,
    strategy: StrategyName = None,
    show_tree: Annotated[bool, typer.Option("--tree", help="Print the tree of all that was tried.")] = False,
    export: Annotated[
        Path | None,
        typer.Option(metavar="FILE", show_default=False, help="Write the run as a ToolBench answer file."),
    ] = None,
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
        from alpha_umi.cli.session import open_session  # noqa: PLC0415 - LangGraph takes a second
        from alpha_umi.cli.tree import draw_tree, read_tree  # noqa: PLC0415 - the same

        settings = load_configuration(model, tools, max_steps, temperature, strategy)
        where = (checkpointer or database) if thread else None
        with open_session(settings, screen, approve=approve, where=where, thread=thread) as session:
            outcome = session.ask(question)
        if show_tree:
            screen.draw(draw_tree(read_tree(outcome.state), question))
        if export:
            _export(export, outcome)
    if as_json:
        typer.echo(outcome.to_json())
    if outcome.output["finish"] == "give up":
        raise typer.Exit(EXIT_GAVE_UP)


def _export(path: Path, outcome: Outcome) -> None:
    from alpha_umi.cli.export import make_answer_file  # noqa: PLC0415 - LangChain takes half a second
    from alpha_umi.cli.tree import read_tree  # noqa: PLC0415 - the same

    answer = make_answer_file(outcome.state, read_tree(outcome.state), outcome.tools, outcome.total["total_tokens"])
    try:
        path.write_text(json.dumps(answer, ensure_ascii=False, indent=1), "utf-8")
    except OSError as error:
        raise ConfigError(f"--export {str(path)!r} cannot be written: {error.strerror}; name another file.") from error
