"""Ask the person at the terminal about a tool call, in the form of `alpha_umi.nodes.approval.questions`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from alpha_umi.cli.screen import Screen
from alpha_umi.errors import InputError

_WORDS = {"approve": "yes", "reject": "no", "edit": "edit", "respond": "answer"}


def ask_person(request: Mapping[str, Any], screen: Screen) -> dict[str, Any]:
    """Return the person's decision on the first call of a request; the graph asks about the others again.

    Raises:
        InputError: If there is nobody to answer.
    """
    if not sys.stdin.isatty():
        raise InputError(
            "A tool call waits for approval, and nobody can be asked: standard input is no terminal. Run it in one; "
            "what is piped in is not taken for a decision."
        )
    if fault := request.get("error"):
        screen.note(f"{fault}".partition(" Resume with ")[0])
    action, review = request["action_requests"][0], request["review_configs"][0]
    try:
        return {"decisions": [{"id": action["id"], **_decide(action, review["allowed_decisions"], screen)}]}
    except EOFError as error:
        raise InputError("A tool call waits for approval and nobody answered: run it again to be asked.") from error


def show_call(name: str, arguments: Any) -> str:
    """Return a call as it can be read on a terminal, which nothing in it may make look like another one."""
    text = f"{name} {json.dumps(arguments, ensure_ascii=False)}"
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)


def _decide(action: Mapping[str, Any], allowed: Sequence[str], screen: Screen) -> dict[str, Any]:
    choices = {key: kind for kind, word in _WORDS.items() if kind in allowed for key in (word, word[0])}
    words = ", ".join(f"[{word[0]}]{word[1:]}" for kind, word in _WORDS.items() if kind in allowed)
    question = f"{show_call(action['name'], action['args'])}  {action['description']} {words}: "
    screen.forget_typed()
    while True:
        kind = choices.get(screen.ask(question, "approve").strip().lower())
        if kind == "approve":
            return {"type": kind}
        if kind == "reject":
            return {"type": kind, "message": screen.ask("why not? (may be empty) ")}
        if kind == "respond" and (message := screen.ask("what the tool would say: ").strip()):
            return {"type": kind, "message": message}
        if kind == "edit":
            return {"type": kind, "edited_action": _ask_action(action["name"], screen)}


def _ask_action(name: str, screen: Screen) -> dict[str, Any]:
    """Return the call as the person writes it: arguments, or another tool and arguments."""
    while True:
        words = screen.ask("arguments as one JSON object, or a tool's name followed by them: ").strip()
        tool, brace, rest = words.partition("{")
        try:
            arguments = json.loads(brace + rest)
        except ValueError as error:
            screen.note(f'That is not a JSON object ({error}); write for example {{"expression": "1 + 1"}}.')
            continue
        if isinstance(arguments, dict):
            return {"name": tool.strip() or name, "args": arguments}
