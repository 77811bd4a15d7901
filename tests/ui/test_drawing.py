"""The drawing of a search."""

from __future__ import annotations

from xml.etree import ElementTree

from alpha_umi.nodes.format.trajectory import Call, Step
from alpha_umi.nodes.search import add_node, make_tree
from alpha_umi.ui.drawing import draw_search

SVG = "{http://www.w3.org/2000/svg}"


def test_every_node_has_a_row_below_its_parent() -> None:
    tree = add_node(make_tree(), Step("I guess.", "give up"), "gave up", "It is <b>no</b> guess.")
    tree = add_node({**tree, "cursor": 0}, Step("I count.", "caller", (Call("1", "count", {}),)), "open", None)
    tree = add_node(tree, Step("Done.", "conclusion", answer="7 <script>"), "answer", None)
    drawn = ElementTree.fromstring(draw_search(tree).replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1))
    assert drawn.get("aria-label") == "Search tree: 3 steps, 1 dead end"
    groups = drawn.findall(f"{SVG}g")
    assert [group.get("class") for group in groups] == ["open", "gave-up", "open", "answer here"]
    texts = [group.findtext(f"{SVG}text") for group in groups]
    assert texts == ["question", "I guess.", "count · I count.", "7 <script>"]
    circles = [group.find(f"{SVG}circle") for group in groups]
    places = [(int(c.get("cx", "")), int(c.get("cy", ""))) for c in circles if c is not None]
    assert [y for _, y in places] == sorted(y for _, y in places)
    assert places[1][0] == places[2][0] < places[3][0]
    assert groups[1].findtext(f"{SVG}title") == "I guess.\nIt is <b>no</b> guess."
