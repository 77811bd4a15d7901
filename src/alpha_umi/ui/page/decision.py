"""The card on which a person decides about a call."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from nicegui import ui

from alpha_umi.errors import InputError
from alpha_umi.nodes.approval import ApprovalDecision
from alpha_umi.ui.asked import AskedView
from alpha_umi.ui.page.elements import Text, make_button

_FIELDS: dict[ApprovalDecision, tuple[str, str]] = {
    "edit": ("Arguments, as JSON", "Run with these arguments"),
    "reject": ("Why not? May be empty", "Reject"),
    "respond": ("What the tool would say", "Answer for the tool"),
}
_WORDS: dict[ApprovalDecision, str] = {"approve": "Approve", "edit": "Edit…", "reject": "Reject…", "respond": "Answer…"}


def show_decision(asked: AskedView, decide: Callable[[AskedView, ApprovalDecision, str], None]) -> None:
    """Show a call with a button for each decision that can be made; all but approval ask for a text first.

    Args:
        asked: The call.
        decide: Takes the decision; raises `InputError` where the text does not do.
    """
    with ui.element("section").classes("decision") as card:
        card.props["aria-label"] = f"Decide about {asked.name}"
        Text(f"May {asked.name} run?", tag="h3")
        Text(asked.arguments, tag="pre")
        Text(f"You are asked because {asked.reason}.", tag="p", classes="why")
        if asked.fault:
            Text(asked.fault, tag="p", classes="fault")
        forms: dict[ApprovalDecision, ui.element] = {}

        def choose(kind: ApprovalDecision) -> None:
            if kind == "approve":
                decide(asked, kind, "")
            for each, form in forms.items():
                form.set_visibility(each == kind)

        with ui.element("div").classes("buttons"):
            for kind in asked.allowed:
                make_button(_WORDS[kind], partial(choose, kind), classes=f"decide {kind}")
        for kind in asked.allowed:
            if kind in _FIELDS:
                forms[kind] = _make_form(asked, kind, decide)


def _make_form(
    asked: AskedView, kind: ApprovalDecision, decide: Callable[[AskedView, ApprovalDecision, str], None]
) -> ui.element:
    label, word = _FIELDS[kind]
    with ui.element("div").classes("form") as form:
        text = ui.textarea(label, value=asked.arguments if kind == "edit" else "").props("outlined autogrow")
        fault = Text(classes="fault").props('role="alert"')

        def send() -> None:
            try:
                decide(asked, kind, text.value or "")
            except InputError as error:
                fault.set_text(str(error))

        make_button(word, send, classes=f"decide {kind}")
    form.set_visibility(False)
    return form
