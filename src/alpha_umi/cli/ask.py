"""`alpha-umi ask`: one question, one answer."""

from __future__ import annotations

import sys
from contextlib import nullcontext, redirect_stdout
from typing import Annotated

import typer

from alpha_umi.cli.options import (
    DEFAULT_DATABASE,
    Approve,
    Database,
    MaxSteps,
    Model,
    Temperature,
    Thread,
    Tools,
    load_configuration,
)
from alpha_umi.cli.report import EXIT_GAVE_UP
from alpha_umi.cli.screen import Screen


def ask(
    question: Annotated[str, typer.Argument(help="What to answer; - reads it from standard input.")],
    model: Model = None,
    tools: Tools = None,
    max_steps: MaxSteps = None,
    temperature: Temperature = None,
    approve: Approve = False,
    thread: Thread = None,
    database: Database = DEFAULT_DATABASE,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Answer a question, showing every step as it is taken."""
    if question == "-":
        question = sys.stdin.read()
    if not question.strip():
        raise typer.BadParameter("it is empty; write what is to be answered.", param_hint="question")
    # what a tool prints must not end up in the JSON
    with redirect_stdout(sys.stderr) if as_json else nullcontext(), Screen(quiet=as_json) as screen:
        screen.wait("starting")
        from alpha_umi.cli.session import open_session  # noqa: PLC0415 - LangGraph takes a second

        settings = load_configuration(model, tools, max_steps, temperature)
        path = database if thread else None
        with open_session(settings, screen, approve=approve, database=path, thread=thread) as session:
            outcome = session.ask(question)
    if as_json:
        typer.echo(outcome.to_json())
    if outcome.output["finish"] == "give up":
        raise typer.Exit(EXIT_GAVE_UP)
