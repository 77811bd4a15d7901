"""The quickstart runs from top to bottom, and what is committed is what it prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

QUICKSTART = Path(__file__).resolve().parents[2] / "notebooks" / "quickstart.ipynb"


def load() -> Any:
    return nbformat.read(QUICKSTART, as_version=4)  # type: ignore[no-untyped-call]


def read_outputs(notebook: Any) -> list[list[Any]]:
    """Return the outputs of every code cell."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [[output.get("text") or output.get("data") for output in cell.outputs] for cell in cells]


@pytest.fixture(scope="module")
def committed() -> Any:
    return load()


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Executed on a machine without weights and without network."""
    notebook = load()
    folder = tmp_path_factory.mktemp("elsewhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHA_UMI_CACHE", str(folder))
        patch.setenv("HF_HUB_OFFLINE", "1")
        resources = {"metadata": {"path": str(folder)}}
        NotebookClient(notebook, timeout=120, coalesce_streams=True, resources=resources).execute()
    return notebook


def test_quickstart_prints_what_is_committed(executed: Any, committed: Any) -> None:
    *scripted, with_weights = read_outputs(executed)
    assert scripted == read_outputs(committed)[:-1]
    assert "alpha-umi models pull" in with_weights[0]


def test_quickstart_is_committed_with_a_run_of_the_real_model(committed: Any) -> None:
    (text,) = read_outputs(committed)[-1]
    assert "[caller] count_stock(" in text
    assert "[summarizer]" in text


def test_quickstart_output_tells_nothing_about_a_machine() -> None:
    assert all(
        place not in QUICKSTART.read_text(encoding="utf-8")
        for place in ("/root", "/home/", "/Users/", "/tmp/", "site-packages")
    )
