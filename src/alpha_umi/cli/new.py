"""`alpha-umi new`: a project of one's own, of the files in ``project/``."""

from __future__ import annotations

import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from alpha_umi.errors import ConfigError

_NAME = re.compile(r"[^\W\d_][\w -]*")
_ENDING, _GITIGNORE = ".jinja", "gitignore"


def new(
    folder: Annotated[Path, typer.Argument(help="Where to write it; its last part names the project.")],
) -> None:
    """Write a project of your own: tools, configuration, questions, tool sheets, a test, langgraph.json, README."""
    name = folder.resolve().name
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} cannot name a project; use letters, digits, '-' and '_', as in my-agent.")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ConfigError(
            f"{folder} is there already, and nothing is overwritten; name a folder that is not, or is empty."
        )
    for path in _write(files("alpha_umi.cli") / "project", folder, name):
        typer.echo(path)
    typer.echo(f"Next: cd {quote(str(folder))}, and read README.md.")


def _write(source: Traversable, folder: Path, name: str) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for each in sorted(source.iterdir(), key=lambda each: each.name):
        if each.is_dir():
            written += _write(each, folder / each.name, name)
            continue
        target = each.name.removesuffix(_ENDING)
        path = folder / (f".{target}" if target == _GITIGNORE else target)
        with path.open("x", encoding="utf-8") as file:
            file.write(each.read_text("utf-8").replace("{{ name }}", name))
        written.append(path)
    return written
