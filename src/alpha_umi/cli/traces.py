"""`alpha-umi traces`: what the agent did, as training data."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from alpha_umi.cli.agent import open_threads
from alpha_umi.cli.options import (
    DEFAULT_DATABASE,
    Checkpointer,
    Database,
    Model,
    Tools,
    is_given,
    load_configuration,
    refuse_address,
)

if TYPE_CHECKING:
    from alpha_umi.tools.spec import ToolSpec
    from alpha_umi.training.data.dataset import Tally
    from alpha_umi.training.traces import Trace

app = typer.Typer(no_args_is_help=True, help="Turn what the agent did into training data.")


def _check_finishes(names: Sequence[str]) -> Sequence[str]:
    from alpha_umi.nodes.state import Finish

    for name in names:
        if name not in get_args(Finish):
            raise typer.BadParameter(f"no turn ends with {name!r}; write {', '.join(get_args(Finish))}.")
    return names


@app.command()
def export(
    ctx: typer.Context,
    out: Annotated[
        Path,
        typer.Option(metavar="FILE", callback=refuse_address, help="File of trajectories for 'data build', .jsonl."),
    ],
    database: Database = DEFAULT_DATABASE,
    checkpointer: Checkpointer = None,
    thread: Annotated[
        list[str] | None, typer.Option(metavar="NAME", show_default="all", help="Only this thread. Repeatable.")
    ] = None,
    log: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", show_default=False, help="What 'ask --json' printed, a line each. Repeatable."),
    ] = None,
    model: Model = None,
    tools: Tools = None,
    finish: Annotated[
        list[str],
        typer.Option(metavar="FINISH", callback=_check_finishes, help="Only turns that ended so. Repeatable."),
    ] = ["answer"],  # noqa: B006 - typer reads it
    redact: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TYPE",
            show_default="keys and passwords",
            help="Also hide email, credit_card, ip, mac_address or url. Repeatable.",
        ),
    ] = None,
) -> None:
    """Write what the agent did as trajectories, which 'data build --source own:FILE' and 'eval static' read.

    Reads the threads of ask and chat, or the files of --log. What cannot be used is left out, counted and named.
    """
    from alpha_umi.training.data.dataset import Tally
    from alpha_umi.training.traces import export_traces, read_logs, render_export
    from alpha_umi.training.traces.export import make_finish_filter
    from alpha_umi.training.traces.redact import make_hiding

    tally = Tally()
    parts: list[Iterator[Trace]] = [read_logs(path, tally) for path in log or ()]
    if thread or not parts or any(is_given(ctx, name) for name in ("database", "checkpointer")):
        parts.append(_read_threads(ctx, database, checkpointer, thread, _load_catalogue(model, tools), tally))
    filters = [make_finish_filter(finish)]
    exported = export_traces(chain.from_iterable(parts), out, filters, tally, make_hiding(redact or ()))
    typer.echo(render_export(exported, out))


def _load_catalogue(model: str | None, tools: list[str] | None) -> Mapping[str, ToolSpec]:
    """Return the tools of the configuration by name, with the one that finds others."""
    from alpha_umi.graph.factory import load_toolbox, make_retriever
    from alpha_umi.nodes.tool_selection import make_picker

    settings = load_configuration(model, tools, None, None)
    toolbox = load_toolbox(settings)
    if retriever := make_retriever(settings, toolbox.specs):
        toolbox, _ = make_picker(toolbox, retriever)
    return {spec.name: spec for spec in toolbox.specs}


def _read_threads(
    ctx: typer.Context,
    database: Path,
    checkpointer: str | None,
    names: Sequence[str] | None,
    catalogue: Mapping[str, ToolSpec],
    tally: Tally,
) -> Iterator[Trace]:
    from alpha_umi.training.traces import read_threads

    with open_threads(ctx, database, checkpointer) as saver:
        if saver is not None:
            yield from read_threads(saver, names or saver.list_threads(sys.maxsize), catalogue, tally)
