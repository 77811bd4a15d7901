"""The tree of a search as SVG: one row for each node, indented by its depth, so that it grows downwards."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from alpha_umi.nodes.search import list_children, parse_step
from alpha_umi.nodes.state import Tree, TreeNode

_ROW, _INDENT, _RADIUS = 28, 22, 6
_MAX_CHARS = 70


def draw_search(tree: Tree) -> str:
    """Return SVG in which each node has its status as class, and the place where the search is "here"."""
    nodes = list(_walk(tree, 0))
    rows = {node["id"]: row for row, node in enumerate(nodes)}
    parts = [_draw_edge(node, rows) for node in nodes if node["parent"] is not None]
    parts += [_draw_node(node, rows[node["id"]], is_here=node["id"] == tree["cursor"]) for node in nodes]
    label = describe_search(tree)
    width = max(node["depth"] for node in nodes) * _INDENT + 560
    return (
        f'<svg role="img" aria-label="{label}" width="{width}" height="{len(nodes) * _ROW}" '
        f'viewBox="0 0 {width} {len(nodes) * _ROW}"><title>{label}</title>{"".join(parts)}</svg>'
    )


def describe_search(tree: Tree) -> str:
    """Return how large the tree is."""
    n_steps = len(tree["nodes"]) - 1
    n_dead = sum(node["status"] in ("failed", "gave up") for node in tree["nodes"])
    steps, ends = "step" if n_steps == 1 else "steps", "dead end" if n_dead == 1 else "dead ends"
    return f"Search tree: {n_steps} {steps}, {n_dead} {ends}"


def _walk(tree: Tree, number: int) -> Iterator[TreeNode]:
    yield tree["nodes"][number]
    for child in list_children(tree, number):
        yield from _walk(tree, child["id"])


def _find_place(depth: int, row: int) -> tuple[int, int]:
    return _RADIUS + 2 + depth * _INDENT, row * _ROW + _ROW // 2


def _draw_edge(node: TreeNode, rows: dict[int, int]) -> str:
    """Return a line from the parent down and to the right."""
    x, y = _find_place(node["depth"], rows[node["id"]])
    parent_x, parent_y = _find_place(node["depth"] - 1, rows[node["parent"] or 0])
    return f'<path class="edge" d="M{parent_x} {parent_y}V{y - 8}q0 8 8 8H{x}"/>'


def _draw_node(node: TreeNode, row: int, *, is_here: bool) -> str:
    x, y = _find_place(node["depth"], row)
    kind = node["status"].replace(" ", "-") + (" here" if is_here else "")
    text = _describe(node)
    cut = text if len(text) <= _MAX_CHARS else f"{text[:_MAX_CHARS]}…"
    hint = f"{text}\n{node['reason']}" if node["reason"] else text
    return (
        f'<g class="{kind}"><title>{escape(hint)}</title><circle cx="{x}" cy="{y}" r="{_RADIUS}"/>'
        f'<text x="{x + 2 * _RADIUS}" y="{y}" dominant-baseline="central">{escape(cut)}</text></g>'
    )


def _describe(node: TreeNode) -> str:
    if node["step"] is None:
        return "question"
    step = parse_step(node)
    calls = ", ".join(call.name for call in step.calls)
    parts = [calls, step.answer or step.rationale or step.decision]
    return " ".join(" · ".join(filter(None, parts)).split())
