"""`alpha-umi improve`: an agent learns from those of its own runs that were right.

Here graph, training and evaluation meet, as in `alpha_umi.cli.eval_runs`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alpha_umi.cli.options import refuse_address
from alpha_umi.cli.teach import CONFIGURATION, check_roles, render_progress

if TYPE_CHECKING:
    from alpha_umi.training.evaluation import EvalTask
    from alpha_umi.training.evaluation.evaluator import Scorer

_MEASURED_OF = 4
"""One of so many questions of a file is measured, and the others are sampled."""


@dataclass(frozen=True)
class _Suite:
    """Tasks to sample, by round, and others to measure, each with a folder for their files; and how they are scored.

    `tools` are those that the tasks are about, as far as they have a name.
    """

    identity: Mapping[str, Any]
    load_sampled: Callable[[int, Path], Sequence[EvalTask]]
    load_measured: Callable[[Path], Sequence[EvalTask]]
    scorer: Scorer
    tools: Sequence[str] = ()


def improve(
    suite: Annotated[
        str,
        typer.Option(
            metavar="SUITE",
            help="Tasks with an exact checker: world:SHEETS, world, builtin, or questions:FILE as 'check' reads it.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", callback=refuse_address, help="Folder for all; a stopped run continues there."),
    ],
    rounds: Annotated[int, typer.Option(min=1, metavar="N", help="Rounds; more can be added later.")] = 2,
    samples: Annotated[int, typer.Option(min=1, metavar="K", help="Runs of each task.")] = 4,
    temperature: Annotated[float, typer.Option(min=0.0, max=2.0, metavar="T", help="Of the sampled runs.")] = 0.7,
    minutes: Annotated[float, typer.Option(min=0.1, metavar="M", help="Minutes of training in each round.")] = 20.0,
    start: Annotated[
        str, typer.Option("--from", metavar="CKPT", help="A checkpoint folder, or the name of one that ships.")
    ] = "smollm2-135m-umi",
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROLE", show_default="all", callback=check_roles, help="Train this role alone. Repeatable."
        ),
    ] = None,
    tools: Annotated[
        list[str] | None,
        typer.Option("--tools", "-t", metavar="TOOL", show_default="the configured ones", help="Of questions:FILE."),
    ] = None,
    tasks: Annotated[int, typer.Option(min=1, metavar="N", help="Tasks to sample in each round.")] = 60,
    measured: Annotated[int, typer.Option(min=1, metavar="N", help="Other tasks, to measure on.")] = 40,
    workers: Annotated[int, typer.Option(min=1, metavar="N", help="Tasks at the same time.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Of tasks, choice and training.")] = 1,
) -> None:
    """Let an agent learn from those of its own runs that were right (rejection sampling).

    Each round samples several runs of each task, keeps those with exact calls and the right answer or refusal, and
    trains the roles further on them, with some of what ships beside them. Tasks that are never sampled measure it.
    """
    from alpha_umi.nodes.format.trajectory import ROLES
    from alpha_umi.training.evaluation.result_folder import ResultFolder
    from alpha_umi.training.further import FurtherTraining, read_start
    from alpha_umi.training.further.improve import render_rounds, train_on_right

    roles = [each for each in ROLES if not only or each in only]
    training = FurtherTraining(start=read_start(start, roles), roles=roles, minutes=minutes, seed=seed)
    loaded = _load_suite(suite, tools, n_tasks=tasks, n_measured=measured, seed=seed)
    sampling = {"samples": samples, "temperature": temperature}
    identity = {"kind": "improve", **training.describe(), **sampling, **loaded.identity}
    with ResultFolder(out, "improve.jsonl", identity):
        checkpoint, counts = training.start.path, list[Mapping[str, int]]()
        shares = {"before": _run(loaded, checkpoint, 0.0, loaded.load_measured, out / "before", workers)}
        for number in range(1, rounds + 1):
            folder = out / f"round-{number}"
            counts.append(_sample(loaded, checkpoint, number, folder, samples, temperature, workers, seed))
            training = FurtherTraining(
                start=read_start(str(checkpoint), roles), roles=roles, minutes=minutes, seed=seed
            )
            checkpoint = train_on_right(training, folder)
            after = _run(loaded, checkpoint, 0.0, loaded.load_measured, folder / "measured", workers)
            shares[f"round {number}"] = after
        (out / CONFIGURATION).write_text(_make_configuration(checkpoint, loaded.tools), "utf-8")
    typer.echo(f"\n{render_rounds(counts)}\n\nOn tasks that were not sampled:\n\n{render_progress(shares)}\n")
    named = "" if loaded.tools else "--tools … "
    typer.echo(f"Try it: alpha-umi ask --model {out / CONFIGURATION} {named}…")


def _make_configuration(checkpoint: Path, tools: Sequence[str]) -> str:
    import yaml

    values = {"models": f"hf:{checkpoint}", **({"tools": [*tools]} if tools else {})}
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _sample(
    suite: _Suite,
    checkpoint: Path,
    number: int,
    folder: Path,
    n_samples: int,
    temperature: float,
    workers: int,
    seed: int,
) -> Mapping[str, int]:
    """Sample the runs of a round, and write those that are right, unless that is done; return how many they are."""
    from alpha_umi.training.evaluation.result_folder import OUTCOMES, read_json, read_rows
    from alpha_umi.training.further.improve import RIGHT, choose_right, write_choice

    if not (folder / RIGHT).exists():
        places = [folder / "sampled" / str(sample) for sample in range(1, n_samples + 1)]
        for place in places:
            _run(suite, checkpoint, temperature, lambda files: suite.load_sampled(number, files), place, workers)
        write_choice(choose_right([read_rows(place / OUTCOMES) for place in places], seed=seed), folder)
    counts: Mapping[str, int] = read_json((folder / RIGHT).with_suffix(".json"))
    return counts


def _run(
    suite: _Suite,
    checkpoint: Path,
    temperature: float,
    load: Callable[[Path], Sequence[EvalTask]],
    out: Path,
    workers: int,
) -> Mapping[str, Any]:
    """Let the agent do tasks, as far as that is not done, and return the metrics."""
    from alpha_umi.cli.eval_runs import evaluate_agent, load_agent

    files = out / "files"
    files.mkdir(parents=True, exist_ok=True)
    agent = load_agent(f"hf:{checkpoint}", free=False, temperature=temperature)
    return evaluate_agent(agent, load(files), out, identity=suite.identity, scorer=suite.scorer, n_workers=workers)


def _load_suite(name: str, tools: list[str] | None, *, n_tasks: int, n_measured: int, seed: int) -> _Suite:
    from alpha_umi.training.evaluation import load_suite, make_answer_scorer

    kind, _, place = name.partition(":")
    if kind == "questions" and place:
        return _load_questions(Path(place), tools, n_tasks, n_measured)

    def load_sampled(number: int, folder: Path) -> Sequence[EvalTask]:
        return load_suite(name, n_tasks=n_tasks, seed=seed + number, folder=folder, held_out=False)

    def load_measured(folder: Path) -> Sequence[EvalTask]:
        return load_suite(name, n_tasks=n_measured, seed=seed, folder=folder)

    identity = {"suite": name, "seed": seed, "tasks": n_tasks, "measured": n_measured}
    return _Suite(identity, load_sampled, load_measured, make_answer_scorer())


def _load_questions(path: Path, tools: list[str] | None, n_tasks: int, n_measured: int) -> _Suite:
    from alpha_umi.cli.eval_runs import load_asked
    from alpha_umi.cli.options import load_configuration
    from alpha_umi.errors import ConfigError
    from alpha_umi.nodes.models.engine.checkpoint import hash_file
    from alpha_umi.training.evaluation.questions.score import list_effects, make_question_scorer, make_question_tasks

    settings = load_configuration(None, None, None, None)
    file, loaded = load_asked(path, settings, tools)
    all_tasks = make_question_tasks(file, loaded)
    shown, kept = ([t for i, t in enumerate(all_tasks) if (i % _MEASURED_OF == 0) == held] for held in (False, True))
    if not shown:
        raise ConfigError(f"{path} has one question, and one is needed to sample and another to measure; add some.")
    identity = {"suite": "questions", "file": hash_file(path), "tasks": n_tasks, "measured": n_measured}
    scorer = make_question_scorer(file, list_effects(loaded))
    named = tools or settings.tools
    return _Suite(identity, lambda number, folder: shown[:n_tasks], lambda folder: kept[:n_measured], scorer, named)
