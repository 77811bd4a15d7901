"""Exit codes, and errors as one readable message."""

from __future__ import annotations

import sys
import traceback

import typer

from alpha_umi.errors import AlphaUmiError, ConfigError, InputError

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_GAVE_UP = 3
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


def report(error: Exception) -> int:
    """Say on stderr what went wrong and return the exit code; ``--debug`` shows where, too."""
    if "--debug" in sys.argv:
        typer.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    elif isinstance(error, AlphaUmiError):
        typer.secho(str(error), fg="red", err=True)
    else:
        typer.secho(f"{type(error).__name__}: {error}", fg="red", err=True)
        typer.echo("That was not expected; 'alpha-umi --debug …' shows where it happened.", err=True)
    return EXIT_USAGE if isinstance(error, ConfigError | InputError) else EXIT_FAILURE
