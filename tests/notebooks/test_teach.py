from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.notebooks.notebook import execute, list_texts, load
from tests.training import conftest as training

base, make_config, trained, data = training.base, training.make_config, training.trained, training.data


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_teach_runs_with_a_tiny_checkpoint(tmp_path: Path, trained: Callable[..., Any]) -> None:
    environ = {"NOTEBOOK_START": str(trained()[0]), "NOTEBOOK_MINUTES": "0.1", "NOTEBOOK_TASKS": "2"}
    texts = list_texts(execute("teach", tmp_path, environ, timeout_s=800))
    assert "2 sheets are written" in texts[1]
    assert "Faults: 0" in texts[3]
    assert "2 tasks in words that training never saw" in texts[4]
    assert (tmp_path / "my-agent" / "checkpoint" / "umi.json").exists()


def test_teach_is_committed_with_a_run_of_the_real_model() -> None:
    texts = list_texts(load("teach"))
    assert "--from smollm2-135m-umi" in texts[4]
    assert "All calls exact" in texts[4]
    assert "models: hf:my-agent/checkpoint" in texts[-1]
