"""The command line: each of its commands is in a module here.

Nothing here imports LangGraph or torch before a command needs it, so that ``--help`` is quick.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from contextlib import suppress
from importlib.metadata import version
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from alpha_umi.cli import data, eval, models, sheet, traces
from alpha_umi.cli.agent import ask, chat, graph, threads
from alpha_umi.cli.check import check
from alpha_umi.cli.improve import improve
from alpha_umi.cli.models import train
from alpha_umi.cli.new import new
from alpha_umi.cli.options import QuestionCommand
from alpha_umi.cli.screen import EXIT_INTERRUPTED, EXIT_TERMINATED, show_error
from alpha_umi.cli.teach import teach
from alpha_umi.cli.ui import ui
from alpha_umi.errors import hide_passwords


class _Commands(TyperGroup):
    """Commands whose usage errors quote no password."""

    def invoke(self, ctx: Any) -> Any:
        """Parse the rest of the command line and run the command."""
        try:
            return super().invoke(ctx)
        except typer.TyperException as error:
            error.message = hide_passwords(error.message)
            raise


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 answered, 1 failure, 2 usage or configuration, 3 the agent gave up, 130 interrupted, "
    "143 terminated.",
)
app.command(cls=QuestionCommand)(ask)
for _command in (chat, ui, graph, train, teach, improve, check, new):
    app.command()(_command)
app.add_typer(threads, name="threads")
app.add_typer(traces.app, name="traces")
app.add_typer(data.app, name="data")
app.add_typer(sheet.app, name="sheet")
app.add_typer(eval.app, name="eval")
app.add_typer(models.app, name="models")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"alpha-umi {version('alpha-umi')}")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and the warnings of libraries.")] = False,
    _: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """α-UMi: an agent made of small, locally fine-tuned models."""
    if not debug:
        _silence_libraries()


def main() -> None:
    """Run the command line; an error becomes one message on stderr and an exit code."""
    try:
        app(prog_name="alpha-umi")
    except SystemExit as leave:
        if leave.code in (EXIT_INTERRUPTED, EXIT_TERMINATED):
            _leave_at_once(int(leave.code))
        raise
    except Exception as error:
        sys.exit(show_error(error))


def _leave_at_once(code: int) -> NoReturn:
    """End the process without waiting for its threads, which finish loading weights first."""
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _silence_libraries() -> None:
    """Keep other libraries' warnings and log lines off the screen; their errors stay."""
    warnings.simplefilter("ignore")
    logging.basicConfig(level=logging.ERROR, format="%(name)s: %(message)s")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # else it warns whenever a tool starts a process
