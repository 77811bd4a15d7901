"""The agent's tools with what their models read about them, and what their calls change."""

from __future__ import annotations

from collections.abc import Sequence

from nicegui import ui

from alpha_umi.nodes.format.tool_docs import describe_arguments
from alpha_umi.tools.spec import Effects, ToolSpec
from alpha_umi.ui.page.elements import Text, make_button

_EFFECTS: dict[Effects, str] = {
    "none": "changes nothing",
    "idempotent": "doing it twice is doing it once",
    "once": "may change something, so a person is asked unless a rule says otherwise",
}


def make_tools(tools: Sequence[ToolSpec]) -> ui.dialog:
    """Return a closed dialog that shows the tools."""
    with ui.dialog() as dialog, ui.card().classes("card tools"):
        with ui.element("div").classes("title"):
            Text(f"Tools ({len(tools)})", tag="h2")
            make_button("Close", dialog.close, classes="decide")
        for tool in tools:
            _show(tool)
    return dialog


def _show(tool: ToolSpec) -> None:
    with ui.element("section"):
        Text(tool.name, tag="h3")
        Text(tool.description, tag="p")
        with ui.element("dl"):
            for name, text in describe_arguments(tool).items():
                Text(name, tag="dt")
                Text(text, tag="dd")
        Text(f"{tool.source} · {_EFFECTS[tool.effects]}", tag="p", classes="why")
