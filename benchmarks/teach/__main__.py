"""How right an agent is with tools that no training has seen: six sets of tools in six fields, 42 questions each.

    python -m benchmarks.teach [SET …] [--model SPEC|CONFIG] [--out DIR] [--minutes N]

Each set is `tools.py`, `questions.yaml` and `sheets` in a folder here; the questions were written before the sheets, in
other words than the tools' descriptions, and who wrote the sheets had not seen them.
``alpha-umi check`` on one set also prints what went wrong:

    alpha-umi check --questions benchmarks/teach/apiary/questions.yaml --tools benchmarks.teach.apiary.tools:TOOLS

With --minutes each set is taught to the shipped checkpoint and asked again: by the sheets in its folder, or without any
by those that ``alpha-umi sheet`` writes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alpha_umi.cli.eval_runs import check_agent, load_agent
from alpha_umi.nodes.models.engine.scheduler import close_engines
from alpha_umi.training.evaluation.metrics import score_tasks
from alpha_umi.training.evaluation.render import percent, render_columns
from alpha_umi.training.evaluation.result_folder import OUTCOMES, read_rows

FOLDER = Path(__file__).parent
SETS = sorted(path.parent.name for path in FOLDER.glob("*/tools.py"))
COLUMNS = ("right, %", "one call", "several", "no tool", "missing", "tools", "calls", "wrong effect", "seconds")
TOOLS = "benchmarks.teach.{}.tools:TOOLS"
_KINDS = ("one call", "several calls", "no tool", "missing value")
_SHARES = ("tools_exact", "calls_exact", "wrong_effect")


def make_row(name: str, checked: Mapping[str, Any]) -> list[str]:
    """Return the figures of one set, or of all, as they stand under `COLUMNS`."""
    strict, kinds = checked["strict"], checked["by_kind"]
    shares = [strict["success"], *(kinds[kind]["success"] for kind in _KINDS), *(strict[name] for name in _SHARES)]
    return [name, *(percent(share["value"]) for share in shares), f"{strict['seconds']['value']:.1f}"]


def ask(questions: Path, tools: str, model: str, out: Path, n_workers: int) -> dict[str, Any]:
    """Ask a model the questions of a file; a stopped run continues in `out`."""
    try:
        return check_agent(load_agent(model, free=False), questions, [tools], out, n_workers=n_workers)
    finally:
        close_engines()  # a training needs the memory


def teach_set(name: str, minutes: float, out: Path) -> str:
    """Teach the shipped checkpoint the tools of one set and return the role spec of what comes."""
    sheets = FOLDER / name / "sheets"
    if not sheets.is_dir():
        sheets = out / "sheets"
        run_umi("sheet", "--tools", TOOLS.format(name), "--out", sheets)
    run_umi("teach", "--sheets", sheets, "--out", out / "taught", "--minutes", minutes, "--tasks", 0)
    return f"hf:{out / 'taught' / 'checkpoint'}"


def run_umi(*arguments: object) -> None:
    """Run ``alpha-umi``; what it prints goes to stderr."""
    command = [sys.executable, "-m", "alpha_umi.cli", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=sys.stderr)


def main() -> None:
    """Ask all questions of the sets, teach if that is wanted, and print one line for each set."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.teach")
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"default: all of {', '.join(SETS)}")
    parser.add_argument("--model", default="hf:smollm2-135m-umi", help="role spec, checkpoint or YAML file")
    parser.add_argument("--out", type=Path, default=Path("build/teach"), help="folder for the results")
    parser.add_argument("--workers", type=int, default=4, help="questions at the same time")
    parser.add_argument("--minutes", type=float, help="teach each set for so long, and ask again")
    options = parser.parse_args()
    if unknown := set(options.sets) - set(SETS):
        parser.error(f"there is no set {min(unknown)}; there are {', '.join(SETS)}")
    stages = ("before", "taught") if options.minutes else ("before",)
    names = options.sets or SETS
    rows, outcomes = [], {stage: list[dict[str, Any]]() for stage in stages}
    for name in names:
        for stage in stages:
            out = options.out / name
            model = options.model if stage == "before" else teach_set(name, options.minutes, out)
            questions, tools = FOLDER / name / "questions.yaml", TOOLS.format(name)
            checked = ask(questions, tools, model, out / f"asked-{stage}", options.workers)
            rows.append(make_row(f"{name} {stage}", checked))
            outcomes[stage] += read_rows(out / f"asked-{stage}" / OUTCOMES)
    if len(names) > 1:
        rows += [make_row(f"all {stage}", score_tasks(outcomes[stage])) for stage in stages]
    print(render_columns([["set", *COLUMNS], *rows], (22, *[8] * len(COLUMNS))))


if __name__ == "__main__":
    main()
