"""`alpha-umi sheet`: what is wrong with tool sheets, and what comes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from alpha_umi.cli.screen import EXIT_FAILURE

app = typer.Typer(no_args_is_help=True, help="Check tool sheets, which training data are made from.")


@app.command()
def check(
    places: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FOLDER_OR_FILE", show_default="the sheets that ship", help="What to check."),
    ] = None,
    samples: Annotated[int, typer.Option(min=0, help="How many requests to show, with what comes of them.")] = 5,
) -> None:
    """Tell every fault of every sheet, and what is doubtful; show samples. Exit code 1 if there is a fault."""
    from alpha_umi.training.data.sheets.form import WORLD
    from alpha_umi.training.data.sheets.lint import find_warnings, render_samples
    from alpha_umi.training.data.sheets.load import check_sheets

    sheets, faults = check_sheets(places or [WORLD])
    warnings = find_warnings(sheets)
    for line in (*faults, *(f"warning: {warning}" for warning in warnings)):
        typer.echo(line)
    n_faults = len(faults)
    for sample in render_samples(sheets, samples):
        n_faults += not isinstance(sample, str)
        typer.echo(f"\n{sample}")
    typer.echo(f"\n{len(sheets)} tools can be used. Faults: {n_faults}, warnings: {len(warnings)}.")
    if n_faults:
        raise typer.Exit(EXIT_FAILURE)
