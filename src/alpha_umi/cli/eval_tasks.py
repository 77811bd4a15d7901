"""`alpha-umi eval tasks`: the live agent on tasks with known answers."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from alpha_umi.cli.eval_options import Free, Model, Out, load_subject
from alpha_umi.cli.options import MaxSteps


def tasks(
    out: Out,
    model: Model = None,
    suite: Annotated[
        str,
        typer.Option(
            metavar="SUITE",
            help="builtin: made-up tasks for the built-in tools, unlike those for training. gsm8k:FILE: problems of "
            "GSM8K with a calculator.",
        ),
    ] = "builtin",
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", show_default="300 of builtin, else all", help="Only the first N tasks."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of builtin: another seed gives other tasks.")] = 1,
    max_steps: MaxSteps = None,
    free: Free = False,
    workers: Annotated[
        int, typer.Option(min=1, metavar="N", help="Tasks at the same time; the models write for them together.")
    ] = 8,
) -> None:
    """Let the agent solve tasks on its own and check its last answer exactly.

    Writes outcomes.jsonl and metrics.json. A run that was stopped goes on where it was.
    """
    from alpha_umi.cli.eval_agent import describe_agent, make_ask  # noqa: PLC0415 - LangGraph takes a second
    from alpha_umi.training.evaluation import evaluate_tasks, load_suite, render_tasks  # noqa: PLC0415 - as above

    subject = load_subject(model, free=free, max_steps=max_steps)
    identity = {"suite": suite, "seed": seed, **describe_agent(subject)}
    # the files and the database that some of the tasks are about
    with tempfile.TemporaryDirectory() as folder:
        loaded = load_suite(suite, n_tasks=limit, seed=seed, folder=Path(folder))
        metrics = evaluate_tasks(make_ask(subject), loaded, out, identity=identity, n_workers=workers)
    typer.echo(render_tasks(metrics))
    typer.echo(f"Written to {out}")
