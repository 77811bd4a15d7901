"""The README's moving picture is drawn from a recording, and is what GitHub shows as an image."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
TEXT = "{http://www.w3.org/2000/svg}text"
PROGRAM = r"""
import sys, time

print("\x1b[1;34mplanner\x1b[0m  I add <1> & 2", flush=True)
time.sleep(float(sys.argv[1]))
print("done \N{GREEK SMALL LETTER ALPHA}", flush=True)
"""


@pytest.fixture(scope="module")
def picture() -> ModuleType:
    pytest.importorskip("pty", reason="a terminal is recorded, which Windows has none of", exc_type=ImportError)
    spec = importlib.util.spec_from_file_location("picture", DOCS / "picture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["picture"] = module  # where its dataclass looks for its types
    spec.loader.exec_module(module)
    return module


def read_lines(svg: str) -> list[str]:
    lines: dict[str, str] = {}
    for piece in ElementTree.fromstring(svg).iter(TEXT):
        lines[piece.attrib["y"]] = f"{lines.get(piece.attrib['y'], '')} {piece.text}".lstrip()
    return list(lines.values())


def test_picture_shows_what_a_program_writes_when_it_writes_it(picture: ModuleType) -> None:
    frames = picture.record([sys.executable, "-c", PROGRAM, "0.3"])
    shown = list(picture.list_shown(frames, start=2.0, row=1))
    svg = picture.draw([*picture.type_command(("ab",)), *shown], "A <title>")
    assert read_lines(svg) == ["$ ab", "planner I add <1> & 2", "done α"]
    assert shown[-1].at - shown[0].at >= 0.3
    assert shown[0].at >= 2.0
    (bold,) = [piece for piece in ElementTree.fromstring(svg).iter(TEXT) if piece.text == "planner"]
    assert bold.attrib["style"] == "font-weight: bold; fill: #79c0ff"


def test_picture_is_not_made_of_a_run_that_failed(picture: ModuleType) -> None:
    with pytest.raises(Exception, match="exit status 3"):
        picture.record([sys.executable, "-c", "raise SystemExit(3)"])


def test_pauses_are_cut_and_nothing_else(picture: ModuleType) -> None:
    shortened = picture.shorten_pauses([(0.25, "a"), (9.5, "ab"), (9.75, "abc")])
    assert [text for _, text in shortened] == ["a", "ab", "abc"]
    assert [at for at, _ in shortened] == pytest.approx([0.25, 0.55, 0.8])


def test_committed_picture_is_a_small_image_that_loads_nothing() -> None:
    svg = (DOCS / "terminal.svg").read_text(encoding="utf-8")
    assert len(svg.encode()) < 200_000
    lines = read_lines(svg)
    assert lines[1] == "planner Part 1 (What is 17% of 2340): I call calculator."
    assert lines[-1] == "summarizer 17% of 2340 = 397.8. 2027-03-01 is a Monday."
    assert svg.count("http") == 1, "beside the name of SVG itself nothing is named"
    assert all(word not in svg for word in ("<script", "url(", "href", "@import", "/home", "/tmp", "/root"))
