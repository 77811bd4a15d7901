"""Small elements of the page: text that stays text, icons that need no font."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from typing import Any, TypeAlias

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from alpha_umi.errors import AlphaUmiError

Action: TypeAlias = Callable[[], object]

# Quasar draws what begins with M as the path of a square of 24 units.
MENU = "M3 6h18v2H3zM3 11h18v2H3zM3 16h18v2H3z"
PLUS = "M11 4h2v7h7v2h-7v7h-2v-7H4v-2h7z"
CROSS = "M5 6.4L6.4 5 12 10.6 17.6 5 19 6.4 13.4 12 19 17.6 17.6 19 12 13.4 6.4 19 5 17.6 10.6 12z"
SEND = "M11 20V8l-5 5-1.5-1.5L12 4l7.5 7.5L18 13l-5-5v12z"
STOP = "M6 6h12v12H6z"
THUMB_UP = "M2 10h4v11H2zM8 10l4-8 2.5 1.5L14 9h7l-2.5 12H8z"
THUMB_DOWN = "M2 3h4v11H2zM8 14l4 8 2.5-1.5L14 15h7L18.500 3H8z"
FORK = "M5 3h2v6c0 2 1 3 3 3h4V9l5 4-5 4v-3h-4v0H7v7H5z"


class Text(TextElement):
    """Text in an element of HTML; whatever it holds is shown and never read as HTML."""

    def __init__(self, text: str = "", tag: str = "div", classes: str = "") -> None:
        """Show a text."""
        super().__init__(tag=tag, text=text)
        self.classes(classes)


def make_button(text: str, action: Action, *, icon: str | None = None, label: str = "", classes: str = "") -> ui.button:
    """Return a button; `label` is what a screen reader says where there is no text, or more to say."""

    async def run() -> None:
        with telling():
            if isinstance(done := action(), Awaitable):
                await done

    button = ui.button(text, on_click=run, icon=icon, color=None).props("no-caps unelevated dense").classes(classes)
    if label:
        button.props["aria-label"] = button.props["title"] = label
    return button


@contextmanager
def telling() -> Any:
    """Show an error that a person can do something about, and go on."""
    try:
        yield
    except AlphaUmiError as error:
        ui.notify(str(error), type="negative", multi_line=True, timeout=0, close_button="Close")


def set_prop(element: ui.element, name: str, value: object) -> None:
    """Set or, with None, remove a property; nothing is sent if it is so already."""
    if element.props.get(name) != value:
        if value is None:
            element.props.pop(name, None)
        else:
            element.props[name] = value
        element.update()
