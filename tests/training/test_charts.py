from __future__ import annotations

import re
import sys
from xml.etree import ElementTree

import pytest

from alpha_umi.errors import ConfigError
from alpha_umi.training.charts import ChartPoint, Line, draw_bars, draw_intervals, draw_lines, load_matplotlib

NASTY = "<script>alert('$x^2$')</script> _ 漢 #ffffff"
BAND = Line("a", [ChartPoint(0, 1, 0, 2), ChartPoint(1, 2, 1, 3)])
PLAIN = Line("b", [ChartPoint(0, 1), ChartPoint(1, 2)])


def test_the_same_values_give_the_same_bytes() -> None:
    assert draw_lines([BAND, PLAIN], title="t", x_title="x") == draw_lines([BAND, PLAIN], title="t", x_title="x")
    bars = {"run": {"right": 3.0, "wrong": 1.0}}
    assert draw_bars(bars, title="t") == draw_bars(bars, title="t")


def test_a_band_is_drawn_where_there_are_intervals() -> None:
    with_band, without = (draw_lines([line], title="t", x_title="x") for line in (BAND, PLAIN))
    assert "fill-opacity: 0.15" in with_band
    assert "fill-opacity: 0.15" not in without


def test_names_cannot_become_markup() -> None:
    for svg in (
        draw_lines([Line(NASTY, [ChartPoint(1, 1)])], title=NASTY, x_title=NASTY),
        draw_bars({NASTY[:20]: {NASTY: 1.0}}, title=NASTY),
        draw_intervals({NASTY: {NASTY: {"value": 0.5, "low": None, "high": None}}}, title=NASTY),
    ):
        assert "<script" not in svg
        texts = ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter() if node.tag.endswith("text")]
        assert texts.count(NASTY) >= 2


@pytest.mark.parametrize("bars", [{}, {"run": {"right": 0.0, "wrong": 0.0}}])
def test_nothing_is_a_picture_too(bars: dict[str, dict[str, float]]) -> None:
    for svg in (draw_bars(bars, title="t"), draw_lines([], title="t", x_title="x"), draw_intervals({}, title="t")):
        assert ElementTree.fromstring(svg).tag.endswith("svg")


def test_parts_of_a_bar_are_shares() -> None:
    svg = draw_bars({"run": {"right": 3.0, "wrong": 1.0}}, title="t")
    assert ">75.0%<" in svg
    assert ">25.0%<" in svg


def test_an_interval_is_drawn_where_there_is_one_and_what_has_no_value_is_left_out() -> None:
    some = {"value": 0.5, "low": 0.2, "high": 0.8}
    svg = draw_intervals({"a": {"x": some, "y": some | {"low": None}}, "b": {"y": some | {"value": None}}}, title="t")
    assert svg.count("stroke-opacity: 0.35") == 1
    assert [name in svg for name in (">x<", ">y<", ">a<", ">b<")] == [True] * 4


def test_steps_are_counted_in_whole_numbers() -> None:
    svg = draw_lines([Line("a", [ChartPoint(1, 1), ChartPoint(2, 1), ChartPoint(3, 1)])], title="t", x_title="x")
    assert ">1.5<" not in svg
    assert ">2<" in svg


def test_pictures_of_one_page_share_no_id() -> None:
    ids = [set(re.findall(r' id="([^"]+)"', draw_lines([line], title="t", x_title="x"))) for line in (BAND, PLAIN)]
    assert not any(name.startswith(("figure", "axes", "text")) for found in ids for name in found)


def test_colours_follow_the_page_and_have_a_default() -> None:
    assert "fill: var(--ink, #1f2933)" in draw_lines([PLAIN], title="t", x_title="x")


def test_charts_without_matplotlib_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"alpha-umi\[eval\]"):
        load_matplotlib()
