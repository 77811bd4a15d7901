"""One thread in a browser: built when the page is opened, then updated in place as the conversation goes on."""

from __future__ import annotations

from pathlib import Path

from nicegui import ui

from alpha_umi.errors import AlphaUmiError
from alpha_umi.graph.threads import make_thread_name
from alpha_umi.nodes.approval import ApprovalDecision
from alpha_umi.ui.asked import AskedView
from alpha_umi.ui.conversation import Conversation
from alpha_umi.ui.desk import Desk
from alpha_umi.ui.page.decision import show_decision
from alpha_umi.ui.page.elements import MENU, PLUS, SEND, STOP, Text, make_button, telling
from alpha_umi.ui.page.threads import ThreadList, make_path
from alpha_umi.ui.page.tools import make_tools
from alpha_umi.ui.page.turn import TurnActions, TurnPart

_UPDATE_S = 0.1
"""As often as a person can see a change; what is written in between comes at once."""
_STYLE = Path(__file__).with_name("page.css").read_text("utf-8")
_SCRIPT = Path(__file__).with_name("page.js").read_text("utf-8")
# Enter sends; Shift+Enter begins a line, and Enter that ends the composition of a character stays with that.
_ON_ENTER = "(e) => { if (!e.shiftKey && !e.isComposing) { e.preventDefault(); emit(e.target.value); } }"


class ThreadPage:
    """The page of one thread.

    Args:
        desk: All threads.
        conversation: The thread.
        models: What plays the roles, as the configuration says.
    """

    def __init__(self, desk: Desk, conversation: Conversation, models: str) -> None:
        """Build the page."""
        self._desk, self._conversation = desk, conversation
        self._version, self._was_running = -1, True
        self._turns: list[TurnPart] = []
        self._asked: tuple[AskedView, ...] | None = None
        ui.add_head_html(f"<style>{_STYLE}</style><script>{_SCRIPT}</script>")
        self._make_frame(models)
        with ui.element("div").classes("talk"):
            self._empty = Text("Ask something. Each step is shown as it is taken.", tag="p", classes="empty")
            self._list = ui.element("div")
            self._questions = ui.element("div").props('role="region" aria-label="Decisions"')
            self._notice = ui.element("div").classes("notice").props('role="alert"')
        self._make_composer()
        ui.timer(_UPDATE_S, self._update)

    def _make_frame(self, models: str) -> None:
        tools = make_tools(self._desk.tools)
        # Quasar decides by the width; without a value NiceGUI would ask the browser, which may be slow to answer
        drawer = ui.left_drawer(value=False, bordered=True, bottom_corner=True).props("width=290 show-if-above")
        with drawer.classes("side") as side:
            make_button("New thread", self._begin, icon=PLUS, classes="decide new")
            self._threads = ThreadList(self._delete)
        with ui.header(bordered=True).classes("head"):
            make_button("", lambda: side.run_method("toggle"), icon=MENU, label="Threads", classes="icon")
            with ui.element("h1"):
                Text("α-UMi", tag="span")
                Text(models, tag="span", classes="models")
            make_button("Tools", tools.open, classes="decide")

    def _make_composer(self) -> None:
        with ui.footer(bordered=True).classes("foot-bar"), ui.element("div").classes("composer"):
            self._box = ui.textarea(placeholder="Question").props(
                'autogrow outlined dense autofocus aria-label="Question"'
            )
            self._box.on("keydown.enter", lambda event: self._ask(event.args), js_handler=_ON_ENTER)
            self._send = make_button("", lambda: self._ask(self._box.value), icon=SEND, label="Send", classes="send")
            self._stop = make_button("", self._conversation.stop, icon=STOP, label="Stop", classes="send")
            self._status = Text(classes="status").props('role="status"')

    def _ask(self, question: str | None) -> None:
        if question and question.strip() and not self._conversation.is_running and not self._conversation.asked:
            self._conversation.ask(question.strip())
            self._box.set_value("")

    def _begin(self) -> None:
        ui.navigate.to(make_path(make_thread_name()))

    async def _delete(self, thread: str) -> None:
        await self._desk.delete(thread)
        if thread == self._conversation.thread:
            self._begin()
        else:
            await self._update_threads()

    async def _fork(self, message_id: str) -> None:
        ui.navigate.to(make_path(await self._desk.fork(self._conversation.thread, message_id)))

    def _decide(self, asked: AskedView, kind: ApprovalDecision, text: str) -> None:
        self._conversation.decide(asked, kind, text)

    async def _update_threads(self) -> None:
        with telling():
            self._threads.update(await self._desk.list_threads(), self._conversation.thread)

    async def _update(self) -> None:
        """Show what has changed since the last time."""
        talk = self._conversation
        if self._version == talk.version:
            return
        self._version = talk.version
        self._update_turns()
        self._update_questions()
        self._update_notice()
        self._send.set_visibility(not talk.is_running)
        self._stop.set_visibility(talk.is_running)
        waits = "Waits for your decision." if talk.asked else ""
        self._status.set_text(f"{talk.doing}…" if talk.is_running else waits)
        is_over, self._was_running = self._was_running and not talk.is_running, talk.is_running
        if is_over:
            await self._update_threads()

    def _update_turns(self) -> None:
        talk = self._conversation
        turns = talk.turns
        self._empty.set_visibility(not turns)
        while len(self._turns) < len(turns):
            with self._list:
                self._turns.append(TurnPart(TurnActions(talk.rate, self._fork)))
        for part, turn in zip(self._turns, turns, strict=False):
            part.update(turn, is_live=talk.is_running and turn is turns[-1])

    def _update_questions(self) -> None:
        asked = self._conversation.asked
        if asked == self._asked:
            return
        self._asked = asked
        self._questions.clear()
        with self._questions:
            for each in asked:
                show_decision(each, self._decide)
            if len([each for each in asked if "approve" in each.allowed]) > 1:
                make_button("Approve all", self._conversation.approve_all, classes="decide approve")

    def _update_notice(self) -> None:
        """Say what went wrong, or that the answer was stopped, and offer to go on."""
        talk = self._conversation
        self._notice.clear()
        self._notice.set_visibility(bool(talk.error) or talk.is_stopped)
        with self._notice:
            if talk.error:
                Text(talk.error, tag="p", classes="fault")
            if talk.is_stopped:
                Text("This answer was stopped; no finished step is lost.", tag="p")
                make_button("Continue", talk.go_on, classes="decide approve")


def register_page(desk: Desk, models: str) -> None:
    """Let NiceGUI serve the pages of all threads."""

    async def show(thread: str) -> None:
        try:
            conversation = await desk.open(thread)
        except AlphaUmiError as error:  # of a thread that is damaged, or a database that is away
            ui.add_head_html(f"<style>{_STYLE}</style>")
            Text(str(error), tag="p", classes="talk fault").props('role="alert"')
            return
        ThreadPage(desk, conversation, models)

    ui.page("/t/{thread:path}")(show)
