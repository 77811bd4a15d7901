"""`alpha-umi eval live`: the agent on queries whose tools really answer, with pass and win rate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from alpha_umi.cli.eval_options import Free, Model, Out, load_subject
from alpha_umi.cli.options import MaxSteps

if TYPE_CHECKING:
    from alpha_umi.tools.http.breaker import RemoteSettings
    from alpha_umi.training.evaluation.judging import Jury

JUDGE_TEMPERATURE = 0.7
"""Several votes of a judge that decodes greedily would all be the same."""


Suite: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="SUITE",
        help="toolbench:FILE_OR_FOLDER#SERVER: ToolBench's query files, and the address of its tool server. "
        "complexfuncbench-replay or complexfuncbench-replay:FILE: recorded tools and an exact checker.",
    ),
]
SearchBy: TypeAlias = Annotated[
    Literal["react", "dfsdt"] | None,
    typer.Option("--strategy", show_default="configured, else react", help="How the agent searches for an answer."),
]
PerFile: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--limit", min=1, metavar="N", show_default="all", help="Only the first N queries of each query file."
    ),
]
Workers: TypeAlias = Annotated[
    int, typer.Option(min=1, metavar="N", help="Queries at the same time; more than one only helps with servers.")
]
JudgeSpec: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--judge", metavar="SPEC", show_default="none", help="Chat model that judges the runs, such as openai:MODEL."
    ),
]
Votes: TypeAlias = Annotated[
    int, typer.Option(min=1, metavar="N", help="How often the judge is asked; an even number swaps sides fairly.")
]
Reference: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        show_default="none",
        help="Runs of another agent on the same queries, to win against: results of this command, or converted answers "
        "of ToolEval. Needs --judge.",
    ),
]


def live(
    suite: Suite,
    out: Out,
    model: Model = None,
    strategy: SearchBy = None,
    limit: PerFile = None,
    max_steps: MaxSteps = None,
    free: Free = False,
    workers: Workers = 1,
    judge: JudgeSpec = None,
    votes: Votes = 4,
    reference: Reference = None,
) -> None:
    """Let the agent answer queries with tools that really answer, and have its runs judged.

    Writes outcomes.jsonl, answers for ToolBench's ToolEval, metrics.json and live.md. A run that was stopped goes on
    where it was, and tries again what has failed.
    """
    from alpha_umi.cli.eval_agent import describe_agent  # noqa: PLC0415 - LangGraph takes a second
    from alpha_umi.cli.eval_live_agent import make_run  # noqa: PLC0415 - as above
    from alpha_umi.training.evaluation.live import evaluate_live  # noqa: PLC0415 - LangChain takes half a second
    from alpha_umi.training.evaluation.live_suites import load_live_suite  # noqa: PLC0415 - as above
    from alpha_umi.training.evaluation.live_summary import render_live  # noqa: PLC0415 - as above
    from alpha_umi.training.evaluation.report_judged import write_page  # noqa: PLC0415 - as above

    if reference is not None and judge is None:
        raise typer.BadParameter("needs a judge: give --judge SPEC as well.", param_hint="--reference")
    subject = load_subject(model, free=free, max_steps=max_steps)
    if strategy is not None:
        subject.settings.search.strategy = strategy
    tasks = load_live_suite(suite, limit=limit, remote=subject.settings.remote)
    metrics = evaluate_live(
        make_run(subject),
        tasks,
        out,
        identity={"suite": suite, **describe_agent(subject)},
        method=subject.settings.search.strategy,
        n_workers=workers,
        jury=_make_jury(judge, votes, workers, subject.settings.remote) if judge else None,
        reference=reference,
    )
    write_page(out)
    typer.echo(render_live(metrics))
    typer.echo(f"Written to {out}")


def _make_jury(spec: str, n_votes: int, n_workers: int, remote: RemoteSettings) -> Jury:
    from alpha_umi.nodes.models.specs import load_model  # noqa: PLC0415 - LangChain takes half a second
    from alpha_umi.training.evaluation.judge import Judge  # noqa: PLC0415 - as above
    from alpha_umi.training.evaluation.judging import Jury  # noqa: PLC0415 - as above

    model = load_model(spec, "summarizer", remote=remote, temperature=JUDGE_TEMPERATURE, max_tokens=512)
    return Jury(Judge(model, n_votes), {"judge": spec, "n_votes": n_votes, "temperature": JUDGE_TEMPERATURE}, n_workers)
