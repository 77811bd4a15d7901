"""`alpha-umi eval`: how good a checkpoint is; one command per kind of measurement, and a report on all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from alpha_umi.cli.eval_live import live
from alpha_umi.cli.eval_scaling import scaling
from alpha_umi.cli.eval_static import static
from alpha_umi.cli.eval_tasks import tasks

app = typer.Typer(no_args_is_help=True, help="Measure how good a checkpoint is.")
app.command()(static)
app.command()(tasks)
app.command()(live)
app.command()(scaling)


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="Results of 'eval static', 'eval tasks' or 'eval live'.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Other results on the same data.")],
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
) -> None:
    """Tell whether B is better than A on the steps or tasks that both have, by a paired bootstrap."""
    from alpha_umi.training.evaluation import compare as measure  # noqa: PLC0415 - LangChain takes half a second
    from alpha_umi.training.evaluation import render_comparison  # noqa: PLC0415 - as above

    typer.echo(render_comparison(measure(a, b, seed=seed)))
    typer.echo("* the 95% interval over trajectories or tasks excludes 0")


@app.command()
def report(
    results: Annotated[list[Path], typer.Argument(metavar="DIR…", help="Results of any of these commands.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for report.html, report.md and figures.")],
) -> None:
    """Put results into one page beside the paper's Table 1, with breakdowns, plots and cases to read."""
    from alpha_umi.training.evaluation import write_report  # noqa: PLC0415 - LangChain takes half a second

    typer.echo(f"Written to {write_report(results, out)}")
