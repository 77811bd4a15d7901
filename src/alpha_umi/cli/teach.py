"""`alpha-umi teach`: roles trained further on tool sheets, measured before and after.

Here graph, training and evaluation meet, as in `alpha_umi.cli.eval_runs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alpha_umi.cli.options import refuse_address

if TYPE_CHECKING:
    from alpha_umi.training.further.teach import Lesson

CONFIGURATION = "agent.yaml"
_SHARES = (
    "success",
    "calls_exact",
    "single_exact",
    "parts_right",
    "refused",
    "nothing_fits_refused",
    "false_refusal",
    "wrong_effect",
)


def check_roles(names: list[str] | None) -> list[str] | None:
    """Return names of roles, or say that one is none."""
    from alpha_umi.nodes.format.trajectory import ROLES

    for name in names or ():
        if name not in ROLES:
            raise typer.BadParameter(f"{name!r} is no role; write {', '.join(ROLES)}.")
    return names


def teach(
    sheets: Annotated[Path, typer.Option(metavar="FOLDER|FILE", help="Tool sheets; 'alpha-umi sheet' helps.")],
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", callback=refuse_address, help="Folder for all; a stopped run continues there."),
    ],
    minutes: Annotated[
        float, typer.Option(min=0.1, metavar="N", help="Minutes of training; making data and measuring take more.")
    ] = 60.0,
    start: Annotated[
        str, typer.Option("--from", metavar="CKPT", help="A checkpoint folder, or the name of one that ships.")
    ] = "smollm2-135m-umi",
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROLE",
            show_default="planner, caller and summarizer",
            callback=check_roles,
            help="Train this role alone. Repeatable.",
        ),
    ] = None,
    tasks: Annotated[
        int, typer.Option(min=0, metavar="N", help="Tasks in words that training never saw, before and after; 0: none.")
    ] = 40,
    seed: Annotated[int, typer.Option(min=0, help="Of the data and the training.")] = 1,
) -> None:
    """Teach a checkpoint the tools of your sheets.

    Its roles are trained further on conversations made from the sheets, with some of what ships beside them. Tools
    that exist and have no effects are run to make the data. At the end stand figures from before and after, and a
    configuration to use it with.
    """
    from alpha_umi.nodes.format.trajectory import ROLES
    from alpha_umi.training.evaluation.result_folder import ResultFolder
    from alpha_umi.training.further import CHECKPOINT
    from alpha_umi.training.further.teach import read_lesson
    from alpha_umi.training.further.teach import teach as run

    lesson = read_lesson(
        sheets, start, roles=[each for each in ROLES if not only or each in only], minutes=minutes, seed=seed
    )
    with ResultFolder(out, "lesson.jsonl", {"kind": "teach", **lesson.describe()}):
        before = _measure(f"hf:{lesson.start.path}", lesson, tasks, out / "before")
        run(lesson, out)
        after = _measure(f"hf:{out / CHECKPOINT}", lesson, tasks, out / "after")
        (out / CONFIGURATION).write_text(make_configuration(lesson, out / CHECKPOINT), "utf-8")
    if tasks:
        table = render_progress({"before": before, "after": after})
        typer.echo(f"\n{tasks} tasks in words that training never saw:\n\n{table}\n")
    typer.echo(f"Try it: alpha-umi ask --model {out / CONFIGURATION} …")


def _measure(model: str, lesson: Lesson, n_tasks: int, out: Path) -> Mapping[str, Any]:
    """Let the agent do tasks in held-out words with the sheets' tools; calls of tools that exist may be run."""
    if not n_tasks:
        return {}
    from alpha_umi.cli.eval_runs import evaluate_agent, load_agent
    from alpha_umi.training.evaluation import load_suite, make_answer_scorer

    suite = f"world:{lesson.place}"
    loaded = load_suite(suite, n_tasks=n_tasks, seed=lesson.seed, folder=out)
    return evaluate_agent(
        load_agent(model, free=False),
        loaded,
        out,
        identity={"suite": suite, "seed": lesson.seed},
        scorer=make_answer_scorer(),
        n_workers=1,
    )


def render_progress(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the shares of several measurements of the same tasks as a table, in percent."""
    from alpha_umi.training.evaluation.render import TITLES, interval, percent, render_columns

    rows = [["%", *(text for name in measured for text in (name, "")), "tasks"]]
    for name in _SHARES:
        shares = [metrics["strict"][name] for metrics in measured.values()]
        if shares[-1]["n"]:
            told = [text for each in shares for text in (percent(each["value"]), interval(each))]
            rows.append([TITLES[name], *told, f"{shares[-1]['n']:,}"])
    return render_columns(rows, (38, *(7, 14) * len(measured), 6))


def make_configuration(lesson: Lesson, checkpoint: Path) -> str:
    """Return a configuration in YAML: the checkpoint, and the tools of the sheets that exist."""
    import yaml

    tools = list(dict.fromkeys(sheet.real.source for sheet in lesson.tools if sheet.real))
    lines = ["# Written by alpha-umi teach; paths are relative to the folder in which alpha-umi is started."]
    if not tools:
        lines.append("# The sheets are about invented tools. Name yours: tools: [my_tools:TOOLS]")
    values: dict[str, Any] = {"models": f"hf:{checkpoint}", **({"tools": tools} if tools else {})}
    return "\n".join([*lines, yaml.safe_dump(values, sort_keys=False, allow_unicode=True)])
