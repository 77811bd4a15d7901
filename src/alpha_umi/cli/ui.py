"""`alpha-umi ui`: the agent on a page of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from alpha_umi.cli.options import (
    DEFAULT_DATABASE,
    Approve,
    Checkpointer,
    Database,
    MaxSteps,
    Model,
    StrategyName,
    Temperature,
    Thread,
    Tools,
    load_configuration,
    make_context,
)
from alpha_umi.errors import hide_passwords

if TYPE_CHECKING:
    from pathlib import Path
    from socket import socket

    from alpha_umi.graph.config import ModelSpecs, UmiSettings
    from alpha_umi.nodes.state import UmiContext


def ui(
    model: Model = None,
    tools: Tools = None,
    max_steps: MaxSteps = None,
    temperature: Temperature = None,
    approve: Approve = None,
    strategy: StrategyName = None,
    thread: Thread = None,
    database: Database = DEFAULT_DATABASE,
    checkpointer: Checkpointer = None,
    host: Annotated[
        str, typer.Option(metavar="HOST", help="What to bind; others than this machine need the token that is printed.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", min=0, max=65_535, help="0 takes any that is free.")] = 8642,
    token: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            envvar="ALPHA_UMI_TOKEN",
            show_default="a new one; none on this machine alone",
            help="What a browser has to show.",
        ),
    ] = None,
) -> None:
    """Talk with the agent in a browser: steps, approvals, threads, search trees; nothing is loaded from elsewhere."""
    settings = load_configuration(model, tools, max_steps, temperature, strategy)
    context = make_context(settings, approve=approve)
    from alpha_umi.cli.session import EventLoop
    from alpha_umi.ui.server import bind, choose_token

    with bind(host, port) as listener, EventLoop() as loop:
        where = checkpointer or database
        loop.run(_serve(settings, context, where, listener, host, choose_token(host, token), thread))


def describe_models(models: ModelSpecs) -> str:
    """Return what plays the roles, each once, as it may be shown."""
    specs = models.values() if isinstance(models, dict) else [models]
    names = [name for spec in specs for name in ([spec] if isinstance(spec, str) else spec)]
    return hide_passwords(", ".join(dict.fromkeys(names)))


async def _serve(
    settings: UmiSettings,
    context: UmiContext,
    where: Path | str,
    listener: socket,
    host: str,
    token: str | None,
    thread: str | None,
) -> None:
    from alpha_umi.ui.desk import open_desk
    from alpha_umi.ui.server import make_app, make_url, serve

    models = describe_models(settings.models)

    def announce() -> None:
        typer.echo(f"Open {make_url(listener, token, thread)} in a browser; Ctrl-C ends it.")

    async with open_desk(settings, context, where) as desk:
        await serve(make_app(desk, models, host=host, token=token), listener, announce)
