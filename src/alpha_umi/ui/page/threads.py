"""The list of threads at the side of the page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from urllib.parse import quote

from nicegui import ui

from alpha_umi.graph.threads import ThreadSummary
from alpha_umi.ui.page.elements import CROSS, Text, make_button


def make_path(thread: str) -> str:
    """Return the page's address of a thread."""
    return f"/t/{quote(thread, safe='')}"


class ThreadList:
    """Links to the threads, the newest first, each with a button that deletes it.

    Args:
        delete: Deletes a thread, which a person has confirmed.
    """

    def __init__(self, delete: Callable[[str], Awaitable[None]]) -> None:
        """Begin with an empty list."""
        self._delete = delete
        with ui.element("nav") as self._nav:
            self._nav.props["aria-label"] = "Threads"

    def update(self, threads: Sequence[ThreadSummary], current: str) -> None:
        """Show the threads."""
        self._nav.clear()
        with self._nav:
            if not threads:
                Text("No threads yet.", tag="p", classes="empty")
            for each in threads:
                self._show(each, is_current=each.name == current)

    def _show(self, thread: ThreadSummary, *, is_current: bool) -> None:
        with ui.element("div").classes("thread current" if is_current else "thread"):
            link = ui.element("a")
            link.props["href"] = make_path(thread.name)
            if is_current:
                link.props["aria-current"] = "page"
            with link:
                Text(" ".join(thread.first_question.split()) or "(no question)", tag="span", classes="first")
                n = thread.n_questions
                when = f"{thread.changed_at:%Y-%m-%d %H:%M}"
                Text(f"{when} · {n} {'question' if n == 1 else 'questions'}", tag="span", classes="when")
            label = f"Delete thread {thread.name}"
            make_button("", partial(self._confirm, thread.name), icon=CROSS, label=label, classes="icon")

    def _confirm(self, thread: str) -> None:
        async def delete() -> None:
            dialog.close()
            await self._delete(thread)

        with self._nav, ui.dialog(value=True) as dialog, ui.card().classes("card"):
            Text(f"Delete thread {thread}?", tag="h3")
            Text("All that was said in it is deleted. This cannot be undone.", tag="p")
            with ui.element("div").classes("buttons"):
                make_button("Delete", delete, classes="decide reject")
                make_button("Keep", dialog.close, classes="decide")
