from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from alpha_umi.nodes.format.trajectory import ROLES
from alpha_umi.training.evaluation.evaluator import render_tasks
from alpha_umi.training.evaluation.examples import StepOutput
from alpha_umi.training.evaluation.metrics import score_static, score_tasks
from alpha_umi.training.evaluation.metrics.published import PAPER_METRICS
from alpha_umi.training.evaluation.render import (
    Details,
    Figure,
    Paragraph,
    Section,
    Table,
    render_html,
    render_markdown,
)
from alpha_umi.training.evaluation.scaling import render_scaling
from alpha_umi.training.evaluation.static import render_static
from tests.training.evaluation.conftest import MakePrediction

NASTY = "<script>alert('x')</script> \"&amp; `` | [a](b) *b* <img src=x onerror=y>"


class Tags(HTMLParser):
    """Collects tags and checks that they are closed in order."""

    VOID = ("meta",)

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def make_sections(text: str) -> list[Section]:
    return [
        Section(
            text,
            [
                Paragraph(text),
                Table((text, text), [[text, text]], marked=frozenset({0}), heat=[[0.0, 1.0]]),
                Details(text, [(text, text)], open=True),
            ],
        ),
        Section("Empty"),
    ]


@given(st.text() | st.just(NASTY))
def test_no_text_can_become_markup_in_the_page(text: str) -> None:
    tags = Tags(render_html(text, make_sections(text)))
    assert tags.open == []
    assert tags.seen.isdisjoint({"script", "img", "link", "iframe"})


def test_the_page_asks_for_nothing_from_outside() -> None:
    figure = Figure("f", "<svg></svg>", "A picture.")
    tags = Tags(render_html("Report", [*make_sections(NASTY), Section("Pictures", [figure])]))
    assert not [value for name, value in tags.attributes if name in ("src", "xlink:href")]
    assert all(value and value.startswith("#") for name, value in tags.attributes if name == "href")
    assert any(name == "content" and "default-src 'none'" in (value or "") for name, value in tags.attributes)


def test_links_lead_to_sections() -> None:
    tags = Tags(render_html("Report", [Section("A b: c"), Section("D")]))
    ids = {value for name, value in tags.attributes if name == "id"}
    assert {value[1:] for name, value in tags.attributes if name == "href" and value} == ids == {"a-b-c", "d"}


def test_markdown_tables_keep_their_columns() -> None:
    table = Table(("name", "b"), [["x | y", "1.0\n[0.5, 1.5]"], ["z", "2"]], marked=frozenset({1}))
    lines = render_markdown("R", [Section("S", [table])]).splitlines()
    assert lines[4:] == [
        "| name | b |",
        "| --- | ---: |",
        r"| x \| y | 1.0 \[0.5, 1.5\] |",
        "| **z** | **2** |",
    ]


def test_markdown_fences_are_longer_than_what_they_hold() -> None:
    text = render_markdown("R", [Section("S", [Details("c", [("f", "a ```` b")])])])
    assert "\n`````text\na ```` b\n`````\n" in text


def test_a_remark_stands_small_below_its_number() -> None:
    page = render_html("R", [Section("S", [Table(("a", "b"), [["x", "1.0\n[0.5, 1.5]"]])])])
    assert "<td>1.0<small>[0.5, 1.5]</small></td>" in page


WRONG = StepOutput("Hm. Next: give up.")

RIGHT = StepOutput("Yes. Next: caller.", "Action: f\nAction Input: {}")


def test_both_definitions_stand_side_by_side(make_prediction: MakePrediction) -> None:
    predictions = [
        make_prediction("caller", RIGHT, RIGHT, key="a/0.0"),
        make_prediction("caller", RIGHT, WRONG, key="b/0.0"),
    ]
    lines = render_static(score_static(predictions)).splitlines()
    assert lines[0] == "2 steps of 2 trajectories"
    plan = next(line for line in lines if line.startswith("Plan ACC"))
    assert plan.split() == ["Plan", "ACC", "50.00", "50.00", "[9.5,", "90.5]", "2"]
    answers = next(line for line in lines if line.startswith("R-L"))
    assert answers.split() == ["R-L", "–", "–", "–", "0"]
    assert "Who lost the step: planner: decision 1." in lines


def test_nothing_measured_is_shown_as_nothing() -> None:
    assert "0 steps" in render_static(score_static([]))
    assert "0 tasks" in render_tasks(score_tasks([]))


def test_scaling_has_one_line_per_checkpoint() -> None:
    points = [
        {"method": role, "fraction": fraction, "strict": {name: {"value": fraction} for name in PAPER_METRICS}}
        for role in ROLES
        for fraction in (0.25, 1.0)
    ]
    lines = render_scaling({"points": points}).splitlines()
    assert len(lines) == 7
    assert lines[1].split() == ["planner", "25%", *["25.0"] * 5]
