"""`alpha-umi eval report`: result folders of any kind as one Markdown file and one self-contained HTML page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alpha_umi.files import write_atomically
from alpha_umi.training.evaluation.page import Case, Section, list_figures, render_html, render_markdown
from alpha_umi.training.evaluation.report_judged import make_live_sections
from alpha_umi.training.evaluation.report_live import make_scaling_sections, make_task_sections
from alpha_umi.training.evaluation.report_static import make_static_sections
from alpha_umi.training.evaluation.runs import KINDS, Run, load_runs

TITLE = "α-UMi evaluation"


def write_report(folders: Sequence[Path], out: Path) -> Path:
    """Write ``report.md`` with its figures, and ``report.html``, which needs nothing from outside.

    Args:
        folders: Results of ``alpha-umi eval`` static, tasks, live or scaling, in the order in which to show them.
        out: Folder to write into.

    Returns:
        The HTML page.

    Raises:
        ConfigError: If a folder holds no finished evaluation.
    """
    runs = load_runs(folders)
    static, tasks, live, scaling = ([run for run in runs if run.kind == kind] for kind in KINDS)
    sections = [
        *make_static_sections(static),
        *make_task_sections(tasks),
        *make_live_sections(live),
        *make_scaling_sections(scaling),
        _list_runs(runs),
    ]
    page = out / "report.html"
    contents = {page: render_html(TITLE, sections), out / "report.md": render_markdown(TITLE, sections)}
    contents |= {out / "figures" / f"{figure.name}.svg": figure.svg for figure in list_figures(sections)}
    for path, content in contents.items():
        with write_atomically(path) as file:
            file.write(content)
    return page


def _list_runs(runs: Sequence[Run]) -> Section:
    cases = []
    for run in runs:
        settings = {**_count(run.metrics), **_flatten(run.settings)}
        cases.append(Case(run.name, [("What it depends on", "\n".join(map(_show, settings.items())))]))
    return Section("The runs", cases)


def _flatten(settings: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(settings, dict):
        return {prefix: settings}
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flatten(value, f"{prefix}.{name}" if prefix else name)
    return flat


def _count(metrics: Any) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if name.startswith("n_")}


def _show(setting: tuple[str, Any]) -> str:
    name, value = setting
    return f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
