"""`alpha-umi eval report`: result folders of any kind as one Markdown file and one self-contained HTML page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alpha_umi.training.data.files import write_atomically
from alpha_umi.training.evaluation.page import Section, Table, Text, list_figures, render_html, render_markdown
from alpha_umi.training.evaluation.report_live import make_scaling_sections, make_task_sections
from alpha_umi.training.evaluation.report_static import make_static_sections
from alpha_umi.training.evaluation.runs import KINDS, Run, load_runs

TITLE = "α-UMi evaluation"
_MAX_SETTING = 80


def write_report(folders: Sequence[Path], out: Path) -> Path:
    """Write ``report.md`` with its figures, and ``report.html``, which needs nothing from outside.

    Args:
        folders: Results of ``alpha-umi eval`` static, tasks or scaling, in the order in which to show them.
        out: Folder to write into.

    Returns:
        The HTML page.

    Raises:
        ConfigError: If a folder holds no finished evaluation.
    """
    runs = load_runs(folders)
    static, tasks, scaling = ([run for run in runs if run.kind == kind] for kind in KINDS)
    sections = [
        *make_static_sections(static),
        *make_task_sections(tasks),
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
    rows = [
        [run.name, name, _show(value)]
        for run in runs
        for name, value in {**_flatten(run.settings), **_count(run.metrics)}.items()
    ]
    return Section(
        "The runs", [Text("What each result depends on."), Table(("run", "setting", "value"), rows, n_labels=3)]
    )


def _flatten(settings: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(settings, dict):
        return {prefix: settings}
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flatten(value, f"{prefix}.{name}" if prefix else name)
    return flat


def _count(metrics: Any) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if name.startswith("n_")}


def _show(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_SETTING else f"{text[: _MAX_SETTING - 1]}…"
