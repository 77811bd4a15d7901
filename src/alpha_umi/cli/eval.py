"""`alpha-umi eval`: how good a checkpoint is; one command per kind of measurement, and a report on all of them.

What takes a second to import is imported by the command that needs it.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from alpha_umi.cli.options import MaxSteps, StrategyName, refuse_address
from alpha_umi.errors import ConfigError, hide_passwords

BASELINES = (
    "smollm2-135m",
    "smollm2-135m-no-reuse",
    "smollm2-135m-single",
    "smollm2-135m-single-multitask",
    "smollm2-135m-multi-one-stage",
)

EvalModel: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="CKPT|CONFIG",
        show_default="$ALPHA_UMI_CONFIG, else hf:smollm2-135m-umi",
        help="A checkpoint folder, a role spec such as hf:PATH or openai:MODEL, or a YAML configuration with one "
        "spec per role.",
    ),
]
Out: TypeAlias = Annotated[
    Path,
    typer.Option(metavar="DIR", callback=refuse_address, help="Folder for the results; a stopped run continues there."),
]
Data: TypeAlias = Annotated[
    Path, typer.Option(metavar="FILE|DIR", help="A folder made by 'alpha-umi data build', or one file of trajectories.")
]
SplitOption: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="NAME", show_default="all but train", help="dev-tools, dev-instructions or train."),
]
Source: TypeAlias = Annotated[
    list[str] | None, typer.Option(metavar="NAME", show_default="all", help="Only from this source. Repeatable.")
]
Free: TypeAlias = Annotated[
    bool, typer.Option("--free", help="Let local models write without the grammar, as in the published figures.")
]
Limit: TypeAlias = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", show_default="all", help="Only N trajectories, the same N each time."),
]
TaskSuite: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="SUITE",
        help="builtin: made-up tasks for the built-in tools, unlike those for training. world: for invented "
        "tools that training never has. gsm8k:FILE: problems of GSM8K with a calculator.",
    ),
]
TaskLimit: TypeAlias = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", show_default="300, of gsm8k all", help="Only the first N tasks."),
]
TaskSeed: TypeAlias = Annotated[int, typer.Option(help="Of builtin and world: another seed gives other tasks.")]
Reference: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        show_default="none",
        help="Runs of another agent on the same queries, to win against: results of this command, or converted "
        "answers of ToolEval. Needs --judge.",
    ),
]

app = typer.Typer(no_args_is_help=True, help="Measure how good a checkpoint is.")


def _finish(results: str, out: Path) -> None:
    """Print the results, and keep what was typed beside them, for the report."""
    from alpha_umi.training.evaluation.result_folder import COMMAND

    (out / COMMAND).write_text(hide_passwords(shlex.join(["alpha-umi", *sys.argv[1:]])) + "\n", "utf-8")
    typer.echo(results)
    typer.echo(f"Written to {out}")


@app.command()
def static(
    data: Data,
    out: Out,
    model: EvalModel = None,
    split: SplitOption = None,
    source: Source = None,
    format: Annotated[
        Literal["trajectories", "umi"],
        typer.Option(help="trajectories: as 'alpha-umi data build' writes them. umi: the paper's own test files."),
    ] = "trajectories",
    limit: Limit = None,
    free: Free = False,
    isolated: Annotated[
        bool, typer.Option(help="Ask caller and summarizer again with the reference plan, to see who lost a step.")
    ] = True,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            show_default="64 for local weights, 8 for a server",
            help="Steps asked for, and then saved, at once; a server gets that many requests at the same time.",
        ),
    ] = None,
) -> None:
    """Predict every step of given trajectories and score it, by the paper's definition and by ours.

    Writes predictions.jsonl and metrics.json. A stopped run continues where it was.
    """
    from alpha_umi.cli.eval_runs import load_agent
    from alpha_umi.training.evaluation import evaluate_static, load_examples, render_static

    examples = load_examples(data, format=format, split=split, sources=source or ())
    agent = load_agent(model, free=free, temperature=0.0)
    models, identity = agent.get_single_models(), {"specs": agent.settings.models}
    metrics = evaluate_static(
        models, examples, out, limit=limit, batch_size=batch_size, isolated=isolated, identity=identity
    )
    _finish(render_static(metrics), out)


@app.command()
def tasks(
    out: Out,
    model: EvalModel = None,
    suite: TaskSuite = "builtin",
    limit: TaskLimit = None,
    seed: TaskSeed = 1,
    max_steps: MaxSteps = None,
    free: Free = False,
    workers: Annotated[
        int, typer.Option(min=1, metavar="N", help="Tasks at the same time; the models write for them together.")
    ] = 8,
) -> None:
    """Let the agent solve tasks on its own and check its last answer exactly.

    Writes outcomes.jsonl and metrics.json. A stopped run continues where it was.
    """
    from alpha_umi.cli.eval_runs import load_agent, make_run
    from alpha_umi.training.evaluation import evaluate_tasks, load_suite, make_answer_scorer, render_tasks

    agent = load_agent(model, free=free, max_steps=max_steps)
    identity = {"suite": suite, "seed": seed, **agent.describe()}
    # the files and the database that some of the tasks are about
    with tempfile.TemporaryDirectory() as folder:
        loaded = load_suite(suite, n_tasks=limit, seed=seed, folder=Path(folder))
        metrics = evaluate_tasks(
            make_run(agent), loaded, out, identity=identity, scorer=make_answer_scorer(), n_workers=workers
        )
    _finish(render_tasks(metrics), out)


@app.command()
def push(
    suite: Annotated[
        str,
        typer.Option(
            metavar="SUITE",
            help="builtin, world, world:SHEETS or gsm8k:FILE, as of 'eval tasks'; or questions:FILE, as of 'check'.",
        ),
    ] = "builtin",
    tools: Annotated[
        list[str] | None,
        typer.Option(
            "--tools",
            "-t",
            metavar="TOOL",
            show_default="the configured ones",
            help="The tools that questions:FILE is about: MODULE:OBJECT, openapi:FILE, … Repeatable.",
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            show_default="alpha-umi-SUITE-SEED, alpha-umi-FILE",
            help="Name of the dataset in LangSmith.",
        ),
    ] = None,
    limit: TaskLimit = None,
    seed: TaskSeed = 1,
) -> None:
    """Make a dataset of a suite in LangSmith, for langsmith.evaluate; a second push changes only what is new.

    Takes LANGSMITH_API_KEY and LANGSMITH_ENDPOINT from the environment. docs/langsmith.md has the loop.
    """
    from alpha_umi.cli.options import load_configuration
    from alpha_umi.training.evaluation.langsmith import EvalSuite, connect, push_suite

    client = connect()
    kind, _, file = suite.partition(":")
    if kind == "questions" and file:
        settings = load_configuration(None, None, None, None)
        loaded = EvalSuite.from_questions(file, tools or settings.tools, n_tasks=limit)
    else:
        loaded = EvalSuite(suite, n_tasks=limit, seed=seed)
    name = dataset or f"alpha-umi-{loaded.name}"
    pushed = push_suite(loaded, name, client)
    typer.echo(
        f"Dataset {name}: {pushed.n_created:,} examples created, {pushed.n_updated:,} updated, "
        f"{pushed.n_unchanged:,} unchanged"
    )


@app.command()
def live(
    suite: Annotated[
        str,
        typer.Option(
            metavar="SUITE",
            help="toolbench:FILE_OR_FOLDER#SERVER: ToolBench's query files, and the address of its tool server. "
            "complexfuncbench-replay or complexfuncbench-replay:FILE: recorded tools and an exact checker.",
        ),
    ],
    out: Out,
    model: EvalModel = None,
    strategy: StrategyName = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", show_default="all", help="Only the first N queries of each query file."),
    ] = None,
    max_steps: MaxSteps = None,
    free: Free = False,
    workers: Annotated[
        int, typer.Option(min=1, metavar="N", help="Queries at the same time; more than one only helps with servers.")
    ] = 1,
    judge: Annotated[
        str | None,
        typer.Option(metavar="SPEC", show_default="none", help="Chat model that judges, such as openai:MODEL."),
    ] = None,
    votes: Annotated[
        int, typer.Option(min=1, metavar="N", help="How often the judge is asked; an even number swaps sides fairly.")
    ] = 4,
    reference: Reference = None,
) -> None:
    """Let the agent answer queries with tools that really answer, and have its runs judged.

    Writes outcomes.jsonl, answers for ToolBench's ToolEval, metrics.json and live.md. A stopped run continues where
    it was, and repeats what has failed.
    """
    from alpha_umi.cli.eval_runs import load_agent, load_judge, make_run
    from alpha_umi.training.evaluation import (
        evaluate_tasks,
        load_live_suite,
        make_live_scorer,
        render_live,
        write_live_page,
    )

    if reference is not None and judge is None:
        raise typer.BadParameter("needs a judge: give --judge SPEC as well.", param_hint="--reference")
    agent = load_agent(model, free=free, max_steps=max_steps)
    if strategy is not None:
        agent.settings.search.strategy = strategy
    remote = agent.settings.remote
    loaded = load_live_suite(suite, limit=limit, remote=remote)
    judging = load_judge(judge, votes, workers, remote) if judge else None
    scorer = make_live_scorer(agent.settings.search.strategy, judging, reference)
    identity = {"suite": suite, **agent.describe()}
    metrics = evaluate_tasks(make_run(agent), loaded, out, identity=identity, scorer=scorer, n_workers=workers)
    write_live_page(out)
    _finish(render_live(metrics), out)


@app.command()
def scaling(
    data: Data,
    out: Out,
    fractions: Annotated[
        str, typer.Option(metavar="F,F,…", help="Shares of the training split, each above 0 and at most 1.")
    ] = "0.1,0.3,1",
    config: Annotated[
        list[str] | None,
        typer.Option(
            metavar="C",
            show_default="the five baselines",
            help="A training configuration: a file, or the name of a shipped one. Repeatable.",
        ),
    ] = None,
    split: SplitOption = None,
    source: Source = None,
    limit: Limit = None,
    free: Free = False,
) -> None:
    """Train each method on growing shares of the data, evaluate it statically, and draw the curves.

    Writes checkpoints, their results, points.jsonl, metrics.json and one picture per metric. A stopped run continues
    where it was.
    """
    from alpha_umi.cli.eval_runs import evaluate_methods
    from alpha_umi.training.evaluation import render_scaling

    try:
        shares = [float(part) for part in fractions.split(",")]
    except ValueError as error:
        raise ConfigError(
            f"--fractions {fractions!r}: write numbers with commas between them, as in 0.1,0.3,1."
        ) from error
    metrics = evaluate_methods(
        config or BASELINES, shares, data, out, split=split, sources=source or (), limit=limit, free=free
    )
    _finish(render_scaling(metrics), out)


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="Results of 'eval static', 'eval tasks' or 'eval live'.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Other results on the same data.")],
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
) -> None:
    """Tell whether B is better than A on the steps or tasks that both have, by a paired bootstrap."""
    from alpha_umi.training.evaluation import compare as measure
    from alpha_umi.training.evaluation import render_comparison

    typer.echo(render_comparison(measure(a, b, seed=seed)))
    typer.echo("* the 95% interval over trajectories or tasks excludes 0")


@app.command()
def report(
    results: Annotated[list[Path], typer.Argument(metavar="DIR…", help="Results of any of these commands.")],
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", callback=refuse_address, help="Folder for report.html, report.md and figures."),
    ],
) -> None:
    """Put results into one page, with the paper's Table 1, breakdowns, plots and cases to read."""
    from alpha_umi.training.evaluation import write_report

    typer.echo(f"Written to {write_report(results, out)}")
