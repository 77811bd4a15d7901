"""`alpha-umi train`: the stages of a method, into a checkpoint folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def train(
    config: Annotated[str, typer.Option(metavar="C", help="A configuration file, or the name of a shipped one.")],
    data: Annotated[Path, typer.Option(metavar="DIR", help="Folder made by 'alpha-umi data build'.")],
    out: Annotated[Path, typer.Option(metavar="CKPT", help="The checkpoint folder.")],
    only: Annotated[
        Literal["planner", "caller", "summarizer"] | None,
        typer.Option(show_default=False, help="Train this role alone, again if it was trained before."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what is in CKPT.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and say what would be done.")] = False,
) -> None:
    """Fine-tune a backbone and its roles (GLPFT); a killed run goes on with --resume."""
    from alpha_umi.training.config import load_config  # noqa: PLC0415 - pydantic takes a moment
    from alpha_umi.training.glpft import train as run  # noqa: PLC0415 - torch takes seconds

    reports = run(load_config(config), data, out, only=only, resume=resume, dry_run=dry_run, progress=True)
    for report in reports:
        typer.echo(
            f"{report.name:<11} {report.kind:<6} {report.status:<7} {report.n_samples:>7} samples "
            f"{report.n_tokens:>10} tokens {report.n_batches:>6} forwards an epoch {report.n_steps:>6} steps"
            + (f"  {report.n_too_long} too long" if report.n_too_long else "")
        )
        for name, value in report.metrics.items():
            typer.echo(f"    {name}: {value}")
    if not dry_run:
        typer.echo(f"Try it: alpha-umi ask --model hf:{out} 'What is 17% of 2340?'")
