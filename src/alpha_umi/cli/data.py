"""`alpha-umi data`: from raw sources to a training file, and a look at what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alpha_umi.cli.options import refuse_address
from alpha_umi.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

app = typer.Typer(no_args_is_help=True, help="Build and inspect training data.")


@app.command()
def build(
    source: Annotated[
        list[str], typer.Option(metavar="NAME:LOCATION", help="Where trajectories come from. Repeatable.")
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", callback=refuse_address, help="Folder for trajectories.jsonl and the reports."),
    ],
    exclude: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", show_default=False, help="Test ids or instructions to leave out. Repeatable."),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=N", show_default=False, help="Keep the first N of a source. Repeatable."),
    ] = None,
    heldout_tools: Annotated[float, typer.Option(help="Share that held-out tools may take into dev-tools.")] = 0.1,
    heldout_instructions: Annotated[float, typer.Option(help="Share of the rest in dev-instructions.")] = 0.05,
    vary_names: Annotated[
        float, typer.Option(help="Share of the training data in which tools and arguments get other names.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the splits, the names and of the sources that draw at random.")] = 0,
    tokenizer: Annotated[
        str | None, typer.Option(metavar="MODEL", show_default=False, help="Count tokens with this model's tokenizer.")
    ] = None,
) -> None:
    """Read, validate, deduplicate and split sources; 'alpha-umi data sources' lists them."""
    from rich.console import Console

    from alpha_umi.training.data.build import BuildSettings
    from alpha_umi.training.data.build import build as build_data
    from alpha_umi.training.data.report import render_report
    from alpha_umi.training.data.split import load_exclusions

    settings = BuildSettings(
        load_exclusions(*exclude or ()),
        heldout_tools,
        heldout_instructions,
        limits=dict(_parse_limit(each) for each in limit or ()),
        seed=seed,
        vary_names=vary_names,
    )
    report = build_data(
        source, out, settings, tokenizer=_load_tokenizer(tokenizer) if tokenizer else None, console=Console(stderr=True)
    )
    typer.echo(render_report(report.to_json()))
    typer.echo(f"Written to {out}")


@app.command()
def show(
    number: Annotated[int, typer.Argument(metavar="N", min=0, help="Which trajectory, counted from 0.")],
    data: Annotated[Path, typer.Option(metavar="DIR", help="Folder made by 'alpha-umi data build'.")],
    model: Annotated[str, typer.Option(help="Whose tokenizer to use.")] = "smollm2-135m",
) -> None:
    """Print one trajectory as the model sees it, with what each role is trained on in colour."""
    from rich.console import Console

    from alpha_umi.training.data.dataset import show_row

    Console().print(show_row(data, number, _load_tokenizer(model)), soft_wrap=True)


@app.command()
def sources() -> None:
    """List the sources that 'build' can read, and what their location is."""
    from alpha_umi.training.data.sources import list_sources

    for name, line in list_sources().items():
        typer.echo(f"{name:<16} {line}")


def _parse_limit(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not name or not number.isdecimal():
        raise ConfigError(f"--limit {text!r}: write NAME=N, for example gsm8k=500.")
    return name, int(number)


def _load_tokenizer(model: str) -> PreTrainedTokenizerBase:
    from alpha_umi.nodes.format.render import load_template
    from alpha_umi.nodes.models.engine.fit import load_hf_tokenizer
    from alpha_umi.nodes.models.engine.weights import resolve

    tokenizer: PreTrainedTokenizerBase = load_hf_tokenizer(resolve(model))
    tokenizer.chat_template = load_template("umi")
    return tokenizer
