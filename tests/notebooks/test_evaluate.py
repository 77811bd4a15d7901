from __future__ import annotations

from pathlib import Path

import yaml

from tests.notebooks.notebook import execute, list_texts, load


def test_evaluate_runs_with_a_model_that_gives_everything_up(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text(yaml.safe_dump({"planner": ["No.\nNext: give up."]}))
    environ = {"NOTEBOOK_MODEL": f"scripted:{script}", "NOTEBOOK_TASKS": "5"}
    texts = list_texts(execute("evaluate", tmp_path, environ))
    assert "$ alpha-umi eval tasks" in texts[1]
    assert "Gave up wrongly" in texts[1]
    assert all(f"Written to {folder}" in " ".join(texts) for folder in ("results/tasks", "results/free", "report"))
    assert (tmp_path / "report" / "report.html").stat().st_size > 10_000


def test_evaluate_is_committed_with_a_run_of_the_real_model() -> None:
    texts = list_texts(load("evaluate"))
    assert "--model hf:smollm2-135m-umi --suite builtin" in texts[1]
    assert "Solved" in texts[1]
    assert "Live tasks" in texts[-1]
