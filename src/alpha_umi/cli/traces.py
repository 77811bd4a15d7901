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
    from langsmith import Client

    from alpha_umi.graph.config import UmiSettings
    from alpha_umi.tools.spec import ToolSpec
    from alpha_umi.training.data.dataset import Tally
    from alpha_umi.training.evaluation.judge import Judge
    from alpha_umi.training.traces import Filter, Trace

app = typer.Typer(no_args_is_help=True, help="Turn what the agent did into training data.")


def _check_finishes(names: list[str] | None) -> list[str] | None:
    from alpha_umi.nodes.state import Finish

    for name in names or ():
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
    project: Annotated[
        str | None,
        typer.Option(metavar="NAME", show_default=False, help="Runs of this project of LangSmith; needs its API key."),
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="TAG", show_default=False, help="Only runs with this tag. Repeatable.")
    ] = None,
    feedback: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=MIN", show_default=False, help="Only runs whose mean score is at least MIN. Repeatable."
        ),
    ] = None,
    model: Model = None,
    tools: Tools = None,
    finish: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FINISH",
            show_default="answer; with --questions also 'give up'",
            callback=_check_finishes,
            help="Only turns that ended so. Repeatable.",
        ),
    ] = None,
    rated: Annotated[
        bool, typer.Option("--rated", help="Only turns with a thumb up, given on the page of 'ui'.")
    ] = False,
    questions: Annotated[
        Path | None,
        typer.Option(metavar="FILE", show_default=False, help="Only right turns, by a file of questions of 'check'."),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(metavar="SPEC", show_default=False, help="Only turns this chat model takes for solved."),
    ] = None,
    votes: Annotated[int, typer.Option(min=1, metavar="N", help="How often the judge is asked about each turn.")] = 4,
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

    Reads the threads of ask, chat and ui, the files of --log, or the runs of --project. What cannot be used is left
    out, counted and named; so are turns with a thumb down.
    """
    _check_use(out, project, {"tag": tag, "feedback": feedback})
    from alpha_umi.training.data.dataset import Tally
    from alpha_umi.training.traces import export_traces, make_hiding, read_logs, render_export

    tally = Tally()
    parts: list[Iterator[Trace]] = [read_logs(path, tally) for path in log or ()]
    minimums = [_parse_feedback(each) for each in feedback or ()]
    client = _connect() if project is not None else None
    settings = load_configuration(model, tools, None, None)
    filters = _make_filters(finish, minimums, questions, settings, is_rated=rated)
    judging = _load_judge(judge, votes, settings) if judge else None
    if client and project is not None:
        parts.append(_read_runs(client, project, tag or (), _load_catalogue(settings), tally))
    if thread or not parts or any(is_given(ctx, name) for name in ("database", "checkpointer")):
        parts.append(_read_threads(ctx, database, checkpointer, thread, _load_catalogue(settings), tally))
    exported = export_traces(
        chain.from_iterable(parts), out, filters, tally, hide=make_hiding(redact or ()), judge=judging
    )
    typer.echo(render_export(exported, out))


def _check_use(out: Path, project: str | None, about_runs: Mapping[str, list[str] | None]) -> None:
    """Refuse options that cannot go together, before anything is loaded."""
    if out.is_dir():
        raise typer.BadParameter("it is a folder; name a file.", param_hint="--out")
    for name, given in about_runs.items():
        if given and project is None:
            raise typer.BadParameter("it is about runs in LangSmith; give --project.", param_hint=f"--{name}")


def _make_filters(
    finish: list[str] | None,
    minimums: Sequence[tuple[str, float]],
    questions: Path | None,
    settings: UmiSettings,
    *,
    is_rated: bool,
) -> list[Filter]:
    """Return what a turn must pass to be kept."""
    from alpha_umi.training.traces import (
        make_feedback_filter,
        make_finish_filter,
        make_question_filter,
        make_rating_filter,
    )

    filters = [make_finish_filter(finish or (["answer", "give up"] if questions else ["answer"]))]
    filters.append(make_rating_filter(is_wanted=is_rated))
    filters += [make_feedback_filter(key, minimum) for key, minimum in minimums]
    if questions:
        from alpha_umi.cli.eval_runs import load_asked

        filters.append(make_question_filter(*load_asked(questions, settings, None)))
    return filters


def _connect() -> Client:
    from alpha_umi.training.evaluation.langsmith import connect

    return connect()


def _parse_feedback(text: str) -> tuple[str, float]:
    key, _, minimum = text.rpartition("=")
    try:
        return key or text, float(minimum)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: write KEY=MIN, such as user_score=1.", param_hint="--feedback") from error


def _load_judge(spec: str, votes: int, settings: UmiSettings) -> Judge:
    from alpha_umi.cli.eval_runs import load_judge

    return load_judge(spec, votes, 1, settings.remote)


def _read_runs(
    client: Client, project: str, tags: Sequence[str], catalogue: Mapping[str, ToolSpec], tally: Tally
) -> Iterator[Trace]:
    from alpha_umi.training.traces import read_runs

    return read_runs(client, project, catalogue, tally, tags=tags)


def _load_catalogue(settings: UmiSettings) -> Mapping[str, ToolSpec]:
    """Return the tools of the configuration by name, with the one that finds others."""
    from alpha_umi.graph.factory import load_toolbox, make_retriever
    from alpha_umi.nodes.role.tool_selection import make_picker

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
