"""`alpha-umi sheet`: first tool sheets for tools that exist, what is wrong with sheets, and what comes of them."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from alpha_umi.cli.options import Tools
from alpha_umi.cli.screen import EXIT_FAILURE

if TYPE_CHECKING:
    from alpha_umi.training.data.sheets.draft.sources.teacher import Teacher
    from alpha_umi.training.data.sheets.draft.write import UsedRequests, WrittenSheets

_MAX_NAMES = 6

app = typer.Typer(invoke_without_command=True, help="Write and check tool sheets, which training data are made from.")


@app.callback()
def write(
    ctx: typer.Context,
    tools: Tools = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the sheets go, a file for each --tools.")] = Path(
        "sheets"
    ),
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC", show_default=False, help="Larger model that writes more wordings, such as openai:MODEL."
        ),
    ] = None,
    wordings: Annotated[int, typer.Option(min=1, max=100, metavar="N", help="Of the teacher, for each tool.")] = 12,
    max_calls: Annotated[int, typer.Option(min=1, metavar="N", help="How often the teacher may be asked.")] = 500,
    requests: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", show_default=False, help="What people sent, to make wordings of: lines, or traces (.jsonl)."
        ),
    ] = None,
) -> None:
    """Write a first sheet for each tool of --tools, to be corrected by hand; or check sheets, see 'check'.

    Tools that a file has already stay as they are, but for wordings of a teacher or of requests.
    """
    if ctx.invoked_subcommand is not None:
        return
    if not tools:
        typer.echo(ctx.get_help())
        raise typer.Exit
    from alpha_umi.training.data.sheets.draft.sources.requests import load_requests
    from alpha_umi.training.data.sheets.draft.write import summarize, use_requests, write_sheets
    from alpha_umi.training.data.sources import own

    sent = load_requests(requests, own.read) if requests else []
    taught_by = _load_teacher(teacher, out, wordings, max_calls) if teacher else None
    written = [write_sheets(source, out, taught_by) for source in dict.fromkeys(tools)]
    for each in written:
        _show_written(each)
    if taught_by:
        _show_teacher(taught_by)
    if requests:
        _show_requests(use_requests(sent, [each.path for each in written]))
    is_there = any(each.written or each.kept for each in written)
    correct = f" Correct them by hand, then: alpha-umi sheet check {quote(str(out))}" if is_there else ""
    typer.echo(f"{summarize(written)}{correct}")
    if (taught_by and taught_by.problem) or any(each.left_out for each in written):
        raise typer.Exit(EXIT_FAILURE)


def _load_teacher(spec: str, out: Path, n_wordings: int, max_calls: int) -> Teacher:
    from alpha_umi.nodes.models.specs import load_model
    from alpha_umi.training.data.sheets.draft.sources.teacher import Teacher

    model = load_model(spec, "summarizer", temperature=0.8, max_tokens=3000)
    return Teacher(model, spec, out, n_wordings=n_wordings, max_calls=max_calls)


def _show_requests(used: UsedRequests) -> None:
    """Tell which requests are wordings now, and why the others are not."""
    for request, reason in used.left:
        typer.echo(f"not used: {request.where}: {reason}: {request.text}")
    n_taken = sum(map(len, used.taken.values()))
    typer.echo(f"requests: {n_taken} are wordings now, {len(used.left)} are not used")


def _show_teacher(teacher: Teacher) -> None:
    """Tell what a teacher cost, what of it was taken, and why not the rest."""
    tally = teacher.tally
    cost = f"{tally.n_calls} calls, {tally.input_tokens:,} tokens read, {tally.output_tokens:,} written"
    typer.echo(f"teacher: {cost}; {tally.n_taken} wordings taken, {tally.rejected.total()} rejected")
    for reason, count in tally.rejected.most_common():
        typer.echo(f"rejected {count}: {reason}")
    if teacher.problem:
        typer.echo(
            f"The teacher stopped: {teacher.problem}. What was written is kept; repeat the command to go on.", err=True
        )


def _show_written(written: WrittenSheets) -> None:
    """Tell what a file has now, and what is to be looked at first."""
    for name in written.written:
        typer.echo(f"{written.path}: {name}")
    for name, values in written.guesses.items():
        more = f" and {len(values) - _MAX_NAMES} more" if len(values) > _MAX_NAMES else ""
        typer.echo(f"to correct: {name}: nothing tells what {', '.join(values[:_MAX_NAMES])}{more} look like")
    for name, reason in written.left_out.items():
        typer.echo(f"left out: {name}: {reason}")


@app.command()
def check(
    places: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FOLDER_OR_FILE", show_default="the sheets that ship", help="What to check."),
    ] = None,
    samples: Annotated[int, typer.Option(min=0, help="How many requests to show, with what comes of them.")] = 5,
) -> None:
    """Tell every fault of every sheet, and what is doubtful; show samples. Exit code 1 if there is a fault."""
    from alpha_umi.training.data.sheets.form import WORLD
    from alpha_umi.training.data.sheets.lint import find_warnings, render_samples
    from alpha_umi.training.data.sheets.load import check_sheets

    sheets, faults = check_sheets(places or [WORLD])
    warnings = find_warnings(sheets)
    for line in (*faults, *(f"warning: {warning}" for warning in warnings)):
        typer.echo(line)
    n_faults = len(faults)
    for sample in render_samples(sheets, samples):
        n_faults += not isinstance(sample, str)
        typer.echo(f"\n{sample}")
    typer.echo(f"\n{len(sheets)} tools can be used. Faults: {n_faults}, warnings: {len(warnings)}.")
    if n_faults:
        raise typer.Exit(EXIT_FAILURE)
