"""Reads and executes the notebooks."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"


def load(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)  # type: ignore[no-untyped-call]


def execute(name: str, folder: Path, environ: Mapping[str, str] | None = None, timeout_s: int = 120) -> Any:
    """Return a notebook that was run in an empty folder, on a machine without weights and without network.

    A cell that fails raises `nbclient.exceptions.CellExecutionError`.
    """
    notebook = load(name)
    nothing = {"ALPHA_UMI_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with patch.dict(os.environ, {**nothing, "PATH": programs, **(environ or {})}):
        resources = {"metadata": {"path": str(folder)}}
        NotebookClient(notebook, timeout=timeout_s, coalesce_streams=True, resources=resources).execute()
    return notebook


def list_outputs(notebook: Any) -> list[list[Any]]:
    """Return the outputs of every code cell."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [[output.get("text") or output.get("data") for output in cell.outputs] for cell in cells]


def list_texts(notebook: Any) -> list[str]:
    """Return what every code cell shows as text; of a picture its size."""
    return [
        "".join(output if isinstance(output, str) else output["text/plain"] for output in outputs)
        for outputs in list_outputs(notebook)
    ]
