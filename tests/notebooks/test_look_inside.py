from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.notebooks.notebook import execute, list_outputs, list_texts, load
from tests.training import conftest as training

base, make_config, trained, data = training.base, training.make_config, training.trained, training.data


def read_counts(text: str) -> tuple[int, int]:
    """Return how many prompt tokens were computed, and how many there are."""
    computed, whole = re.findall(r"([\d,]+) tokens computed; without the shared cache ([\d,]+)", text)[0]
    return int(computed.replace(",", "")), int(whole.replace(",", ""))


def test_look_inside_runs_with_any_trained_checkpoint(tmp_path: Path, trained: Callable[..., Any]) -> None:
    texts = list_texts(execute("look_inside", tmp_path, {"NOTEBOOK_MODEL": str(trained()[0])}))
    computed, whole = read_counts(texts[2])
    assert computed < whole / 2
    assert "tokens with gradients against a prefix of" in texts[3]


def test_look_inside_is_committed_with_a_run_of_the_real_model() -> None:
    outputs = list_outputs(load("look_inside"))
    assert "17% of 2340 = 397.8. 2027-03-01 is a Monday." in outputs[1][0]
    computed, whole = read_counts(list_texts(load("look_inside"))[2])
    assert computed < whole / 4
    assert "planner</span>" in outputs[-1][0]["text/html"]
