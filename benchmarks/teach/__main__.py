"""How right an agent is with tools that no training has seen: six sets of tools in six fields, 42 questions each.

    python -m benchmarks.teach [SET …] [--model SPEC|CONFIG] [--out DIR]

Each set is `tools.py` and `questions.yaml` in a folder here; the questions were written before any sheet for the tools,
in other words than their descriptions. ``alpha-umi check`` on one set also prints what went wrong:

    alpha-umi check --questions benchmarks/teach/apiary/questions.yaml --tools benchmarks.teach.apiary.tools:TOOLS
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alpha_umi.cli.eval_runs import check_agent, load_agent
from alpha_umi.training.evaluation.metrics import score_tasks
from alpha_umi.training.evaluation.render import percent, render_columns
from alpha_umi.training.evaluation.result_folder import OUTCOMES, read_rows

FOLDER = Path(__file__).parent
SETS = sorted(path.parent.name for path in FOLDER.glob("*/tools.py"))
COLUMNS = ("right, %", "one call", "several", "no tool", "missing", "tools", "calls", "wrong effect", "seconds")
_KINDS = ("one call", "several calls", "no tool", "missing value")
_SHARES = ("tools_exact", "calls_exact", "wrong_effect")


def make_row(name: str, checked: Mapping[str, Any]) -> list[str]:
    """Return the figures of one set, or of all, as they stand under `COLUMNS`."""
    strict, kinds = checked["strict"], checked["by_kind"]
    shares = [strict["success"], *(kinds[kind]["success"] for kind in _KINDS), *(strict[name] for name in _SHARES)]
    return [name, *(percent(share["value"]) for share in shares), f"{strict['seconds']['value']:.1f}"]


def main() -> None:
    """Ask all questions of the sets and print one line for each set."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.teach")
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"default: all of {', '.join(SETS)}")
    parser.add_argument(
        "--model", default="hf:smollm2-135m-umi", help="a role spec, a checkpoint folder or a YAML file"
    )
    parser.add_argument("--out", type=Path, default=Path("build/teach"), help="folder for the results")
    parser.add_argument("--workers", type=int, default=4, help="questions at the same time")
    options = parser.parse_args()
    if unknown := set(options.sets) - set(SETS):
        parser.error(f"there is no set {min(unknown)}; there are {', '.join(SETS)}")
    agent = load_agent(options.model, free=False)
    rows, outcomes = [], list[dict[str, Any]]()
    for name in options.sets or SETS:
        questions, tools = FOLDER / name / "questions.yaml", [f"benchmarks.teach.{name}.tools:TOOLS"]
        checked = check_agent(agent, questions, tools, options.out / name, n_workers=options.workers)
        rows.append(make_row(name, checked))
        outcomes += read_rows(options.out / name / OUTCOMES)
    if len(rows) > 1:
        rows.append(make_row("all", score_tasks(outcomes)))
    print(render_columns([["set", *COLUMNS], *rows], (16, *[8] * len(COLUMNS))))


if __name__ == "__main__":
    main()
