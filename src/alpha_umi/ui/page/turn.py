"""A question on the page, the steps that were taken for it, and the answer; updated in place while it grows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from nicegui import ui

from alpha_umi.ui.drawing import describe_search, draw_search
from alpha_umi.ui.page.elements import FORK, THUMB_DOWN, THUMB_UP, Text, make_button, set_prop
from alpha_umi.ui.view import CallView, StepView, TurnView

_MAX_HEADLINE_CHARS = 80


@dataclass(frozen=True, slots=True)
class TurnActions:
    """What a person can do with a turn: rate it, or fork the thread after one of its messages."""

    rate: Callable[[str, int | None], Awaitable[None]]
    fork: Callable[[str], Awaitable[None]]


class TurnPart:
    """One turn."""

    def __init__(self, actions: TurnActions) -> None:
        """Begin without content."""
        self._actions = actions
        self._shown: tuple[TurnView, bool] | None = None
        self._steps: list[_StepPart] = []
        with ui.element("article").classes("turn"):
            self._question = Text(tag="h2", classes="bubble question")
            self._list = ui.element("div").classes("steps")
            with ui.element("details").classes("search") as self._search:
                self._caption = Text(tag="summary")
                self._drawing = ui.html("", sanitize=False).classes("drawing")  # `draw_search` escapes what it shows
            self._answer = Text(classes="bubble answer")
            self._reason = Text(classes="reason")
            with ui.element("div").classes("foot") as self._foot:
                self._cost = Text(tag="span", classes="cost")
                self._up = self._make_thumb("This answer is good", THUMB_UP, 1)
                self._down = self._make_thumb("This answer is bad", THUMB_DOWN, -1)
                label = "Fork: go on from here in another thread"
                self._fork = make_button("Fork", self._fork_end, icon=FORK, label=label, classes="small")

    def _make_thumb(self, label: str, icon: str, rating: int) -> ui.button:
        async def rate() -> None:
            if self._shown:
                turn, _ = self._shown
                await self._actions.rate(turn.id, None if turn.rating == rating else rating)

        return make_button("", rate, icon=icon, label=label, classes="icon")

    async def _fork_end(self) -> None:
        if self._shown and (end := self._shown[0].end_id):
            await self._actions.fork(end)

    def update(self, turn: TurnView, *, is_live: bool) -> None:
        """Show a turn; with `is_live` the agent works on it."""
        if self._shown == (turn, is_live):
            return
        self._shown = (turn, is_live)
        self._question.set_text(turn.question)
        self._update_steps(turn, is_live=is_live)
        self._update_search(turn, is_live=is_live)
        self._answer.set_text(turn.answer)
        self._answer.set_visibility(bool(turn.answer))
        reason = turn.reason if turn.finish != "answer" else None
        self._reason.set_text(f"No answer: {reason}" if turn.finish == "give up" else f"{turn.finish}: {reason}")
        self._reason.set_visibility(bool(reason) and not is_live)
        self._foot.set_visibility(turn.end_id is not None and not is_live)
        self._cost.set_text(_describe_cost(turn))
        for button, rating in ((self._up, 1), (self._down, -1)):
            set_prop(button, "aria-pressed", str(turn.rating == rating).lower())

    def _update_steps(self, turn: TurnView, *, is_live: bool) -> None:
        steps = turn.steps
        if steps and turn.finish == "give up" and steps[-1].plan == turn.reason:
            steps = steps[:-1]  # the reason is shown below
        while len(self._steps) > len(steps):
            self._steps.pop().delete()
        while len(self._steps) < len(steps):
            with self._list:
                self._steps.append(_StepPart(len(self._steps) + 1, self._actions))
        for part, step in zip(self._steps, steps, strict=True):
            is_last = step is turn.steps[-1]
            part.update(step, is_open=is_live and is_last, can_fork=not (is_live or turn.tree or is_last))

    def _update_search(self, turn: TurnView, *, is_live: bool) -> None:
        self._search.set_visibility(turn.tree is not None)
        if turn.tree:
            self._caption.set_text(describe_search(turn.tree))
            self._drawing.set_content(draw_search(turn.tree))
        set_prop(self._search, "open", True if is_live else None)


class _StepPart:
    """A step that can be folded."""

    def __init__(self, number: int, actions: TurnActions) -> None:
        self._number, self._actions = number, actions
        self._shown: StepView | None = None
        self._calls: list[_CallPart] = []
        with ui.element("details").classes("step") as self._details:
            with ui.element("summary"):
                self._headline = Text(tag="span", classes="headline")
                self._certainty = Text(tag="span", classes="certainty")
            self._plan = Text(tag="p", classes="plan")
            self._box = ui.element("div")
            self._writing = Text(tag="pre", classes="writing")
            self._fork = make_button("Fork here", self._fork_here, icon=FORK, classes="small")

    def delete(self) -> None:
        self._details.delete()

    async def _fork_here(self) -> None:
        if self._shown and self._shown.end_id:
            await self._actions.fork(self._shown.end_id)

    def update(self, step: StepView, *, is_open: bool, can_fork: bool) -> None:
        set_prop(self._details, "open", True if is_open else None)
        self._fork.set_visibility(can_fork and step.end_id is not None)
        if step == self._shown:
            return
        self._shown = step
        self._headline.set_text(f"{self._number}  {_make_headline(step)}")
        self._certainty.set_text("" if step.certainty is None else f"{step.certainty:.0%} sure")
        self._plan.set_text(step.plan)
        self._writing.set_text("" if step.calls else step.writing)
        self._writing.set_visibility(bool(step.writing) and not step.calls)
        while len(self._calls) > len(step.calls):
            self._calls.pop().delete()
        while len(self._calls) < len(step.calls):
            with self._box:
                self._calls.append(_CallPart())
        for part, call in zip(self._calls, step.calls, strict=True):
            part.update(call)


class _CallPart:
    """A call with its observation."""

    def __init__(self) -> None:
        with ui.element("div").classes("call") as self._box:
            self._name = Text(tag="strong")
            self._arguments = Text(tag="pre")
            self._observation = Text(tag="pre")

    def delete(self) -> None:
        self._box.delete()

    def update(self, call: CallView) -> None:
        self._name.set_text(call.name)
        self._arguments.set_text(call.arguments)
        self._observation.set_text(call.observation or "(empty)")
        self._observation.set_visibility(call.observation is not None)
        self._observation.classes(replace="observation error" if call.is_error else "observation")


def _make_headline(step: StepView) -> str:
    names = ", ".join(call.name for call in step.calls)
    failed = "failed: " if any(call.is_error for call in step.calls) else ""
    text = " · ".join(filter(None, [failed + names, " ".join(step.plan.split())]))
    return text if len(text) <= _MAX_HEADLINE_CHARS else f"{text[:_MAX_HEADLINE_CHARS]}…"


def _describe_cost(turn: TurnView) -> str:
    if turn.cost is None:
        return ""
    parts = [
        f"{turn.cost.n_tokens:,} tokens",
        f"{turn.cost.cached:.0%} of the prompts cached",
        "" if turn.cost.seconds is None else f"{turn.cost.seconds:.1f} s",
    ]
    return " · ".join(filter(None, parts))
