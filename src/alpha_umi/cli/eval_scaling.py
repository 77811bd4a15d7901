"""`alpha-umi eval scaling`: how each method gets better with more data."""

from __future__ import annotations

from typing import Annotated

import typer

from alpha_umi.cli.eval_options import Data, Free, Limit, Out, Source, Split
from alpha_umi.errors import ConfigError

BASELINES = (
    "smollm2-135m",
    "smollm2-135m-no-reuse",
    "smollm2-135m-single",
    "smollm2-135m-single-multitask",
    "smollm2-135m-multi-one-stage",
)


def scaling(
    data: Data,
    out: Out,
    fractions: Annotated[
        str, typer.Option(metavar="F,F,…", help="Shares of the training split, each above 0 and at most 1.")
    ] = "0.1,0.3,1",
    config: Annotated[
        list[str] | None,
        typer.Option(
            metavar="C",
            show_default="the five baselines",
            help="A training configuration: a file, or the name of a shipped one. Repeatable.",
        ),
    ] = None,
    split: Split = None,
    source: Source = None,
    limit: Limit = None,
    free: Free = False,
) -> None:
    """Train each method on growing shares of the data, evaluate it statically, and draw the curves.

    Writes checkpoints, their results, points.jsonl, metrics.json and one picture per metric. A run that was stopped
    goes on where it was.
    """
    from alpha_umi.cli.eval_train import evaluate_methods  # noqa: PLC0415 - torch takes seconds
    from alpha_umi.training.evaluation.scaling import SCALING_METRICS  # noqa: PLC0415 - LangChain takes half a second
    from alpha_umi.training.evaluation.summary import render_scaling  # noqa: PLC0415 - as above

    metrics = evaluate_methods(
        config or BASELINES,
        _parse_fractions(fractions),
        data,
        out,
        split=split,
        sources=source or (),
        limit=limit,
        free=free,
    )
    typer.echo(render_scaling(metrics, SCALING_METRICS))
    typer.echo(f"Written to {out}")


def _parse_fractions(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"--fractions {text!r}: write numbers with commas between them, as in 0.1,0.3,1.") from error
