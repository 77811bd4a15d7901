"""The quickstart runs from top to bottom, and what is committed is what it prints."""

from __future__ import annotations

from typing import Any

import pytest

from tests.notebooks.notebook import execute, list_outputs, load


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return execute("quickstart", tmp_path_factory.mktemp("elsewhere"))


def test_quickstart_prints_what_is_committed(executed: Any) -> None:
    *scripted, with_weights = list_outputs(executed)
    assert scripted == list_outputs(load("quickstart"))[:-1]
    assert "alpha-umi models pull" in with_weights[0]


def test_quickstart_is_committed_with_a_run_of_the_real_model() -> None:
    (text,) = list_outputs(load("quickstart"))[-1]
    assert "[caller] count_stock(" in text
    assert "[summarizer]" in text
