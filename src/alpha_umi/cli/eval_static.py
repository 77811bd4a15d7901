"""`alpha-umi eval static`: every step of given trajectories, predicted from the reference history."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from alpha_umi.cli.eval_options import Data, Free, Limit, Model, Out, Source, Split, load_subject


def static(
    data: Data,
    out: Out,
    model: Model = None,
    split: Split = None,
    source: Source = None,
    format: Annotated[
        Literal["trajectories", "umi"],
        typer.Option(help="trajectories: as 'alpha-umi data build' writes them. umi: the paper's own test files."),
    ] = "trajectories",
    limit: Limit = None,
    free: Free = False,
    isolated: Annotated[
        bool,
        typer.Option(
            help="Ask caller and summarizer a second time with the reference plan, to see whose mistake lost a step."
        ),
    ] = True,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            show_default="64 for local weights, 8 for a server",
            help="Steps asked for, and then saved, at once; a server gets that many requests at the same time.",
        ),
    ] = None,
) -> None:
    """Predict every step of given trajectories and score it, by the paper's definition and by ours.

    Writes predictions.jsonl and metrics.json. A run that was stopped goes on where it was.
    """
    from alpha_umi.training.evaluation import evaluate_static, load_examples, render_static  # noqa: PLC0415 - a second

    examples = load_examples(data, format=format, split=split, sources=source or ())
    subject = load_subject(model, free=free, temperature=0.0)
    metrics = evaluate_static(
        subject.models,
        examples,
        out,
        limit=limit,
        batch_size=batch_size,
        isolated=isolated,
        identity={"specs": subject.settings.models},
    )
    typer.echo(render_static(metrics))
    typer.echo(f"Written to {out}")
