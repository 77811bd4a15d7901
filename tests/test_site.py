"""The documentation's site is built without a warning, holds what is public, and loads nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer

import alpha_umi
from alpha_umi.cli import app
from alpha_umi.graph.config import UmiSettings
from alpha_umi.training.config import StageConfig

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("graph", "nodes", "tools", "training", "src")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("sphinx") is None, reason="needs the extra docs: pip install 'alpha-umi[docs]'"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, by the command of `make docs`."""
    place = tmp_path_factory.mktemp("site")
    (options,) = re.findall(r"^\t\$\(BIN\)/sphinx-build (.+)$", MAKEFILE, re.MULTILINE)
    words = [sys.executable, "-m", "sphinx", *options.replace("build/", f"{place}/").split()]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return place / "site"


class Loads(HTMLParser):
    """What a browser loads with a page."""

    def __init__(self, page: str) -> None:
        """Read a page."""
        super().__init__()
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag loads; links that a person follows are none of it."""
        has = dict(attrs)
        named = has.get("src") or has.get("srcset") or has.get("data") or has.get("poster")
        if tag == "link" and not {"search", "next", "prev", "index", "canonical"} & {*(has.get("rel") or "").split()}:
            named = has.get("href")
        self.addresses += [named] if named else []


def test_pages_load_nothing_from_other_hosts(site: Path) -> None:
    pages = [path.read_text(encoding="utf-8") for path in site.rglob("*.html")]
    loaded = {address for page in pages for address in Loads(page).addresses}
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    loaded |= set(re.findall(r"url\(['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)", styles))
    assert len(pages) > 50
    assert len(loaded) > 20
    assert [address for address in loaded if str(address).startswith(("http:", "https:", "//"))] == []


def test_reference_holds_what_is_exported(site: Path) -> None:
    page = (site / "docs" / "reference" / "api.html").read_text(encoding="utf-8")
    assert [name for name in alpha_umi.__all__ if f'id="alpha_umi.{name}"' not in page] == []


def list_paths(command: Any, path: str = "alpha-umi") -> list[str]:
    inner = getattr(command, "commands", {}).items()
    return [path, *(each for name, sub in inner for each in list_paths(sub, f"{path} {name}"))]


def test_reference_holds_every_command(site: Path) -> None:
    page = re.sub("<[^>]+>", "", (site / "docs" / "reference" / "commands.html").read_text(encoding="utf-8"))
    paths = list_paths(typer.main.get_command(app))
    assert len(paths) > 20
    assert [path for path in paths if f"$ {path} " not in page] == []


@pytest.mark.parametrize(("page", "model"), [("configuration", UmiSettings), ("training", StageConfig)])
def test_reference_holds_every_setting(site: Path, page: str, model: Any) -> None:
    text = (site / "docs" / "reference" / f"{page}.html").read_text(encoding="utf-8")
    assert [name for name in model.model_fields if f'<span class="pre">{name}</span>' not in text] == []


def test_reference_holds_every_variable_that_the_code_reads(site: Path) -> None:
    sources = "".join(path.read_text("utf-8") for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    named = {name for name in re.findall(r'"(ALPHA_UMI_[A-Z_]+[A-Z])"', sources)}
    page = (site / "docs" / "reference" / "environment.html").read_text(encoding="utf-8")
    assert len(named) > 5
    assert [name for name in named if name not in page] == []


def test_search_knows_the_words_of_pages(site: Path) -> None:
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    assert index.startswith("Search.setIndex(")  # a script, which a page may load from a disk
    assert all(f'"{word}":' in index for word in ("redact", "retriev", "approv"))
