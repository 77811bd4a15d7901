"""`alpha-umi check`: how right an agent is on questions of one's own."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack, nullcontext, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from alpha_umi.cli.eval import EvalModel
from alpha_umi.cli.options import MaxSteps, refuse_address
from alpha_umi.cli.screen import EXIT_FAILURE


def check(
    questions: Annotated[
        Path, typer.Option(metavar="FILE", help="YAML: questions, and for each the right calls or refusal.")
    ],
    model: EvalModel = None,
    tools: Annotated[
        list[str] | None,
        typer.Option(
            "--tools",
            "-t",
            metavar="TOOL",
            show_default="the configured ones",
            help="The tools to ask about, and no others: MODULE:OBJECT, builtin:NAME, openapi:FILE, mcp:FILE_OR_URL. "
            "Repeatable.",
        ),
    ] = None,
    sheets: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER|FILE", show_default=False, help="Tool sheets: what tools reply that are not run."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            callback=lambda path: path and refuse_address(path),
            show_default="none are kept",
            help="Folder for the results, which 'eval report' and 'eval compare' read; a stopped run continues there.",
        ),
    ] = None,
    minimum: Annotated[
        float | None,
        typer.Option(
            "--min", min=0, max=1, metavar="SHARE", show_default=False, help="Exit with 1 if fewer are right: 0.9."
        ),
    ] = None,
    max_steps: MaxSteps = None,
    workers: Annotated[
        int, typer.Option(min=1, metavar="N", help="Questions at the same time; the models write for them together.")
    ] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Ask an agent your own questions: right tools, right arguments, right refusals, wrong effects, seconds.

    Tools with effects are not run; they get a reply of the file or of their sheet, or a stand-in.
    """
    from alpha_umi.cli.eval_runs import check_agent, load_agent
    from alpha_umi.training.evaluation.questions import render_check

    # what a tool prints must not end up in the JSON
    with redirect_stdout(sys.stderr) if as_json else nullcontext(), ExitStack() as stack:
        agent = load_agent(model, free=False, max_steps=max_steps)
        folder = out or Path(stack.enter_context(TemporaryDirectory()))
        checked = check_agent(agent, questions, tools, folder, sheets=sheets, n_workers=workers)
    typer.echo(json.dumps(checked, ensure_ascii=False) if as_json else render_check(checked, questions))
    if out and not as_json:
        typer.echo(f"Written to {out}")
    share = checked["strict"]["success"]["value"]
    if minimum is not None and share < minimum:
        typer.secho(f"{share:.1%} are right, fewer than the {minimum:.1%} of --min.", fg="red", err=True)
        raise typer.Exit(EXIT_FAILURE)
