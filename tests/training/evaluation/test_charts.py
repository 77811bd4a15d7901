from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpha_umi.training.evaluation.charts import Line, Point, draw_bars, draw_lines

SVG = "{http://www.w3.org/2000/svg}"
finite = st.floats(-1e6, 1e6)


@given(st.lists(st.tuples(finite, finite), max_size=5))
def test_points_lie_inside_the_picture(values: list[tuple[float, float]]) -> None:
    svg = draw_lines([Line("a", [Point(x, y) for x, y in values])], title="t", x_title="x")
    root = ElementTree.fromstring(svg)
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    circles = root.findall(f"{SVG}circle")
    assert len(circles) == len(values)
    assert all(0 <= float(circle.attrib["cx"]) <= width for circle in circles)
    assert all(0 <= float(circle.attrib["cy"]) <= height for circle in circles)


def test_a_band_is_drawn_where_there_are_intervals() -> None:
    with_band = Line("a", [Point(0, 1, 0, 2), Point(1, 2, 1, 3)])
    without = Line("b", [Point(0, 1), Point(1, 2)])
    assert draw_lines([with_band, without], title="t", x_title="x").count("<polygon") == 1


def test_names_cannot_become_markup() -> None:
    nasty = "<script>alert('x')</script>"
    for svg in (
        draw_lines([Line(nasty, [Point(1, 1)])], title=nasty, x_title=nasty),
        draw_bars({nasty: {nasty: 1.0}}, title=nasty),
    ):
        assert "<script" not in svg
        ElementTree.fromstring(svg)


@pytest.mark.parametrize("amounts", [{"right": 3.0, "wrong": 1.0}, {"right": 0.0, "wrong": 0.0}])
def test_parts_of_a_bar_add_up(amounts: dict[str, float]) -> None:
    root = ElementTree.fromstring(draw_bars({"run": amounts}, title="t"))
    widths = [float(bar.attrib["width"]) for bar in root.findall(f"{SVG}rect") if bar.attrib["height"] == "26"]
    total = sum(amounts.values())
    assert len(widths) == 2
    if total:
        assert widths[0] / sum(widths) == pytest.approx(amounts["right"] / total, abs=1e-3)
    else:
        assert widths == [0.0, 0.0]


def test_no_bars_are_a_picture_too() -> None:
    assert ElementTree.fromstring(draw_bars({}, title="t")).tag.endswith("svg")
