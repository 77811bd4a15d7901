"""What holds for every notebook as it is committed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.notebooks.notebook import FOLDER, list_outputs, load

NAMES = sorted(path.stem for path in FOLDER.glob("*.ipynb"))


@pytest.fixture(params=NAMES)
def notebook(request: pytest.FixtureRequest) -> Any:
    return load(request.param)


def test_every_notebook_has_its_test_and_the_readme_names_it() -> None:
    tests = {path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py")} - {"all"}
    assert tests == set(NAMES)
    readme = (FOLDER.parent / "README.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"notebooks/{name}.ipynb" not in readme] == []


def test_notebook_was_run_from_top_to_bottom(notebook: Any) -> None:
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert [output for cell in cells for output in cell.outputs if output.output_type == "error"] == []
    assert [output for cell in cells for output in cell.outputs if output.get("name") == "stderr"] == []


def test_notebook_shows_a_picture(notebook: Any) -> None:
    shown = {
        kind for outputs in list_outputs(notebook) for each in outputs if not isinstance(each, str) for kind in each
    }
    assert shown & {"image/svg+xml", "text/markdown"}


@pytest.mark.parametrize("name", NAMES)
def test_notebook_tells_nothing_about_a_machine(name: str) -> None:
    text = (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
    places = ("/root", "/home/", "/Users/", "/tmp/", "site-packages")
    assert [place for place in places if place in text] == []


def test_notebooks_are_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.glob("*.ipynb")) < 1_500_000
