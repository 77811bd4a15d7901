"""`alpha-umi eval report`: result folders of any kind as one Markdown file and one self-contained HTML page."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from alpha_umi.files import write_atomically
from alpha_umi.nodes.format.trajectory import DECISIONS, Trajectory
from alpha_umi.training.charts import ChartPoint, Line, draw_bars, draw_intervals, draw_lines
from alpha_umi.training.data.files import Record, read_records
from alpha_umi.training.evaluation.compared import compare_with_peers, compare_with_table_1, compare_with_table_2
from alpha_umi.training.evaluation.evaluator import list_groups
from alpha_umi.training.evaluation.examples import Prediction, StepOutput
from alpha_umi.training.evaluation.metrics import COSTS, LAST_STEP, LIVE_SHARES, NO_DECISION, TASK_SHARES
from alpha_umi.training.evaluation.metrics.published import (
    PAPER_METRICS,
    load_peers,
    load_table_2,
)
from alpha_umi.training.evaluation.metrics.strict import (
    ANSWER_THRESHOLD,
    FAULTS,
    ROLE_METRICS,
    STRICT_METRICS,
    StepScore,
    list_worst_steps,
    take_in_turn,
)
from alpha_umi.training.evaluation.render import (
    TITLES,
    Block,
    Command,
    Details,
    Figure,
    Paragraph,
    Section,
    Table,
    number_interval,
    percent,
    percent_interval,
    render_html,
    render_markdown,
    render_transcript,
)
from alpha_umi.training.evaluation.result_folder import KINDS, OUTCOMES, PREDICTIONS, FinishedRun, load_runs, read_rows
from alpha_umi.training.evaluation.scaling import draw_scaling

TITLE = "α-UMi evaluation"
LIVE_PAGE = "live.md"
_N_FAILURES = 10
_MAX_TITLE = 110
_MAX_TOOLS = 30


def write_report(folders: Sequence[Path], out: Path) -> Path:
    """Write ``report.md`` with its figures, and ``report.html``, which needs nothing from outside; return the latter.

    Raises:
        ConfigError: If a folder holds no finished evaluation, or matplotlib is not installed.
    """
    runs = load_runs(folders)
    static, tasks, live, scaling = ([run for run in runs if run.kind == kind] for kind in KINDS)
    sections = [
        *_show_static(static),
        *_show_tasks(tasks),
        *_show_live(live),
        *_show_scaling(scaling),
        Section("The runs", [_show_settings(run) for run in runs]),
    ]
    page = out / "report.html"
    contents = {page: render_html(TITLE, sections), out / "report.md": render_markdown(TITLE, sections)}
    for block in chain.from_iterable(section.blocks for section in sections):
        if isinstance(block, Figure):
            contents[out / "figures" / f"{block.name}.svg"] = block.svg
    for path, content in contents.items():
        with write_atomically(path) as file:
            file.write(content)
    return page


def write_live_page(out: Path) -> None:
    """Write ``live.md`` next to the metrics of a live evaluation."""
    text = render_markdown("Live evaluation", list(_show_live(load_runs([out]))))
    with write_atomically(out / LIVE_PAGE) as file:
        file.write(text)


def _show_settings(run: FinishedRun) -> Details:
    counts = {name: value for name, value in run.metrics.items() if name.startswith("n_")}
    return Details(run.name, [("What it depends on", "\n".join(_flatten({**counts, **run.settings})))])


def _list_commands(runs: Sequence[FinishedRun]) -> list[Block]:
    """Return what printed the figures of a section, as far as that is known."""
    return [Command(run.name, run.command) for run in runs if run.command]


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield a line per value, named by the keys that lead to it."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"


def _show_static(runs: Sequence[FinishedRun]) -> Iterator[Section]:
    """Yield the blocks about static runs, most wanted first; nothing if there are none."""
    if not runs:
        return
    yield Section("Next to the paper", [*compare_with_table_1(runs), *_list_commands(runs)])
    yield Section("Strict metrics", _list_strict(runs))
    yield Section("Each role on its own", _list_roles(runs))
    yield Section("Decisions", [block for run in runs for block in _show_confusion(run)])
    yield Section("Who lost the step", _show_faults(runs))
    yield Section("By position in the turn", [_draw_steps(runs), _break_down(runs, "by_step", "step")])
    yield Section("By length of the prompt", [_break_down(runs, "by_length", "characters")])
    if any(len(run.metrics["by_source"]) > 1 for run in runs):
        yield Section("By source", [_break_down(runs, "by_source", "source")])
    for run in runs:
        yield Section(f"Worst steps of {run.name}", _show_lost_steps(run) or [Paragraph("No step was lost.")])


def _list_strict(runs: Sequence[FinishedRun]) -> list[Block]:
    return [
        Paragraph(
            "Nothing is dropped and a missing name is a wrong one. In brackets the 95% bootstrap interval over "
            f"trajectories. Step ACC: nobody lost the step (an answer needs R-L of {ANSWER_THRESHOLD:g}). Call EM: "
            "name and all arguments are exact. An interval without width only says that all values were the same."
        ),
        _list_metrics("%", runs, "strict", STRICT_METRICS, percent_interval),
    ]


def _list_metrics(
    corner: str, runs: Sequence[FinishedRun], group: str, names: Sequence[str], show: Callable[[Any], str]
) -> Table:
    """Return a table with one row per run and one column per metric."""
    rows = [[run.name, *(show(run.metrics[group][name]) for name in names)] for run in runs]
    return Table((corner, *(TITLES[name] for name in names)), rows)


def _list_roles(runs: Sequence[FinishedRun]) -> list[Block]:
    columns = [(role, name) for role, names in ROLE_METRICS.items() for name in names]
    header = ("%", *(f"{TITLES[name.rpartition('.')[2]]}\n{role}" for role, name in columns))
    rows = [[run.name, *(percent_interval(run.metrics["roles"][role][name]) for role, name in columns)] for run in runs]
    return [
        Paragraph("Caller and summarizer continue from the reference plan here, not from the planner's."),
        Table(header, rows),
    ]


def _show_confusion(run: FinishedRun) -> list[Block]:
    made = (*DECISIONS, NO_DECISION)
    rows, heat = [], []
    for right, counts in run.metrics["confusion"].items():
        total = sum(counts.values())
        shares = [counts[name] / total if total else 0.0 for name in made]
        cells = (f"{counts[name]:,} ({percent(share, 0)}%)" for name, share in zip(made, shares, strict=True))
        rows.append([right, *cells])
        heat.append([0.0, *shares])
    return [
        Paragraph(f"{run.name}: rows are the reference, columns what the planner decided."),
        Table(("", *made), rows, heat=heat),
    ]


def _show_faults(runs: Sequence[FinishedRun]) -> list[Block]:
    bars: dict[str, Mapping[str, float]] = {}
    for run in runs:
        faults = run.metrics["faults"]
        bars[run.name] = {"right": run.metrics["n_steps"] - sum(faults.values()), **faults}
    rows = [[name, *(f"{parts[part]:,}" for part in ("right", *FAULTS))] for name, parts in bars.items()]
    header = ("steps", "right", *(fault.replace(": ", ":\n") for fault in FAULTS))
    caption = (
        "Whose mistake lost the step. \u201cplanner: rationale\u201d: the decision was right, and caller or summarizer "
        "do it right from the reference plan."
    )
    return [Figure("faults", draw_bars(bars, title="Share of all steps"), caption), Table(header, rows)]


def _draw_steps(runs: Sequence[FinishedRun]) -> Figure:
    lines = []
    for run in runs:
        groups = [(int(name.split()[0]), values["step_acc"]) for name, values in run.metrics["by_step"].items()]
        # one trajectory alone says nothing, and would make the line jump
        points = [ChartPoint.from_share(x, measured) for x, measured in groups if measured["low"] is not None]
        lines.append(Line(run.name, points))
    svg = draw_lines(lines, title="Step ACC (%)", x_title=f"step of the turn ({LAST_STEP} stands for all later ones)")
    return Figure("steps", svg, "Step ACC by position, with 95% intervals, as far as two trajectories come.")


def _break_down(runs: Sequence[FinishedRun], key: str, title: str) -> Table:
    rows = [
        [run.name, name, f"{group['plan_acc']['n']:,}", *(percent(group[metric]["value"]) for metric in STRICT_METRICS)]
        for run in runs
        for name, group in run.metrics[key].items()
    ]
    return Table(("run", title, "steps", *(TITLES[metric] for metric in STRICT_METRICS)), rows, n_labels=2)


def _show_lost_steps(run: FinishedRun) -> list[Block]:
    predictions = [Prediction.from_row(row) for _, row in read_records(run.path / PREDICTIONS)]
    worst = list_worst_steps(predictions, _N_FAILURES)
    return [_describe_step(*entry, is_first=i == 0) for i, entry in enumerate(worst)]


def _describe_step(prediction: Prediction, score: StepScore, *, is_first: bool) -> Details:
    names = list(prediction.offered)
    rest = f" … and {len(names) - _MAX_TOOLS} more" if len(names) > _MAX_TOOLS else ""
    fields = [
        ("Step", f"{prediction.key}, step {prediction.step + 1}"),
        ("Instruction", prediction.instruction),
        ("Last observation", prediction.observation),
        ("Tools on offer", ", ".join(names[:_MAX_TOOLS]) + rest),
        ("Right", _join(prediction.reference)),
        ("Predicted", _join(prediction.predicted)),
        ("Predicted from the reference plan", _join(prediction.isolated) if prediction.isolated else ""),
        ("Scores", ", ".join(f"{name} {value:.2f}" for name, value in score.values.items())),
    ]
    return _make_details(f"{score.fault}: {prediction.instruction}", fields, is_first)


def _join(output: StepOutput) -> str:
    return "\n".join(text for text in (output.plan, output.call, output.answer) if text is not None) or "(nothing)"


def _make_details(title: str, fields: Sequence[tuple[str, str]], is_first: bool) -> Details:
    """Leave out empty fields, and unfold the first of its section."""
    title = " ".join(title.split())
    title = title if len(title) <= _MAX_TITLE else f"{title[: _MAX_TITLE - 1]}…"
    return Details(title, [(name, text) for name, text in fields if text], open=is_first)


def _show_tasks(runs: Sequence[FinishedRun]) -> Iterator[Section]:
    """Yield the blocks about tasks with known answers; nothing if there are none."""
    if not runs:
        return
    shares, kinds = [], []
    names = [name for name in TASK_SHARES if any(run.metrics["strict"][name]["n"] for run in runs)]
    for run in runs:
        measured = [percent_interval(run.metrics["strict"][name]) for name in names]
        shares.append([run.name, f"{run.metrics['n_tasks']:,}", *measured])
        for kind, of in run.metrics["by_kind"].items():
            n = f"{of['success']['n']:,}"
            kinds.append([run.name, kind, n, percent_interval(of["success"]), number_interval(of["calls"])])
    yield Section(
        "Live tasks",
        [
            Paragraph(
                "The agent runs on its own and its last answer is checked exactly. Solved: of the tasks that have an "
                "answer. Refused: of those that have none. Gave up wrongly: of the tasks that have an answer."
            ),
            _draw_shares(runs, names),
            Table(("%", "tasks", *(TITLES[name] for name in names)), shares),
            Paragraph("Cost per task:"),
            _list_metrics("mean", runs, "strict", COSTS, number_interval),
            *_list_commands(runs),
        ],
    )
    if any(run.metrics["strict"][name]["n"] for run in runs for name in load_peers().columns):
        yield Section("Next to a peer", compare_with_peers(runs))
    header = ("run", "kind", "tasks", "Success (%)", "Calls")
    yield Section("Live tasks by kind", [Table(header, kinds, n_labels=2)])
    if certain := [run for run in runs if run.metrics.get("certainty", {}).get("n")]:
        yield Section("How certain the planner is", _show_certainty(certain))
    for run in runs:
        yield Section(f"Failed tasks of {run.name}", _show_failed_tasks(run) or [Paragraph("No task failed.")])


def _draw_shares(runs: Sequence[FinishedRun], names: Sequence[str]) -> Figure:
    """Draw what the table says, but for what a run has no tasks for."""
    series = {run.name: {TITLES[name]: run.metrics["strict"][name] for name in names} for run in runs}
    return Figure("shares", draw_intervals(series, title="Share of the tasks (%)"), "With Wilson's 95% intervals.")


def _show_certainty(runs: Sequence[FinishedRun]) -> list[Block]:
    calibration, asked = [Line("as it says", [ChartPoint(0.0, 0.0), ChartPoint(100.0, 100.0)])], []
    for run in runs:
        measured = run.metrics["certainty"]
        points = [ChartPoint.from_share(100 * each["certainty"], each["right"]) for each in measured["bins"]]
        calibration.append(Line(run.name, points))
        # of the most certain alone, should there be none, nothing is known
        left = [each for each in measured["asked"] if each["right"]["n"]]
        asked.append(Line(run.name, [ChartPoint.from_share(100 * each["asked"], each["right"]) for each in left]))
    return [
        Figure(
            "calibration",
            draw_lines(calibration, title="Tasks done right (%)", x_title="probability of the least certain plan (%)"),
            "The tasks in up to ten equal parts by certainty, with 95% intervals.",
        ),
        Figure(
            "asked",
            draw_lines(asked, title="Right of the others (%)", x_title="tasks that are asked about (%)"),
            "What `unsure` buys: a lower share of tasks is left alone, and more of them are right.",
        ),
    ]


def _show_failed_tasks(run: FinishedRun) -> list[Block]:
    """Return failed tasks, of each kind in turn."""
    failed: defaultdict[str, list[Record]] = defaultdict(list)
    for row in read_rows(run.path / OUTCOMES):
        if not row["success"]:
            failed[row["kind"]].append(row)
    chosen = islice(take_in_turn(failed.values()), _N_FAILURES)
    return [_describe_task(row, is_first=i == 0) for i, row in enumerate(chosen)]


def _describe_task(row: Record, *, is_first: bool) -> Details:
    fields = [
        ("Task", row["key"]),
        ("Instructions", "\n".join(row["instructions"])),
        ("Expected", "to be given up" if row["expected"] is None else "\n".join(row["expected"]) or "any answer"),
        ("Outcome", "gave up" if row["gave_up"] else (row["answer"] or "no answer")),
        ("Cause", row.get("cause") or ""),
        ("Error", row["error"] or ""),
        ("What happened", render_transcript(Trajectory.from_row(row["trajectory"]))),
    ]
    return _make_details(f"{row['kind']}: {row['instructions'][-1]}", fields, is_first)


def _show_live(runs: Sequence[FinishedRun]) -> Iterator[Section]:
    """Yield the blocks about queries whose tools really answer; nothing if there are none."""
    if not runs:
        return
    yield Section("Live queries", _describe_live(runs))
    if any(group in load_table_2().columns for run in runs for group in run.metrics["by_group"]):
        yield Section("Next to the paper's Table 2", compare_with_table_2(runs))


def _describe_live(runs: Sequence[FinishedRun]) -> list[Block]:
    shares = [name for name in LIVE_SHARES if any(run.metrics["overall"][name]["n"] for run in runs)]
    rows = [
        [run.name, group, f"{measured['answered']['n']:,}", *(percent_interval(measured[name]) for name in shares)]
        for run in runs
        for group, measured in list_groups(run.metrics)
    ]
    names = list(dict.fromkeys(name for run in runs for name in run.metrics["ends"]))
    ends = [[run.name, *(f"{run.metrics['ends'].get(name, 0):,}" for name in names)] for run in runs]
    return [
        Paragraph(
            "Pass: the judge calls the query solved. Unsure: it cannot tell; not passed. Win: preferred to the "
            "reference, ties count half. Solved: an exact checker found every needed call, no other, and an answer. "
            "Completeness: share of the needed calls that were made. Call accuracy: share of the calls made that were "
            "needed. Answered: with any answer. In brackets the 95% bootstrap interval over queries."
        ),
        Table(("run", "group", "queries", *(f"{TITLES[name]} (%)" for name in shares)), rows, n_labels=2),
        Paragraph("How the runs ended:"),
        Table(("run", *names), ends),
        Paragraph("Cost per query:"),
        _list_metrics("mean", runs, "overall", COSTS, number_interval),
        *_list_commands(runs),
    ]


def _show_scaling(runs: Sequence[FinishedRun]) -> Iterator[Section]:
    """Yield one section per scaling run."""
    for i, run in enumerate(runs):
        points = run.metrics["points"]
        figures = [
            Figure(f"scaling-{i}-{name}", draw_scaling(points, name), f"{TITLES[name]}, strict definition.")
            for name in PAPER_METRICS
        ]
        intro = (
            "Each point is a checkpoint trained on that share of the data; bands are 95% intervals over trajectories."
        )
        yield Section(f"Data scaling: {run.name}", [Paragraph(intro), *figures, *_list_commands([run])])
