"""Ask the person at the terminal whether a tool may run; see `alpha_umi.nodes.approval` for both shapes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from alpha_umi.cli.screen import Screen
from alpha_umi.errors import InputError


def ask_person(request: Mapping[str, Any], screen: Screen) -> dict[str, Any]:
    """Return the person's decision on every requested action.

    Raises:
        InputError: If there is nobody to answer.
    """
    try:
        return {"decisions": [_decide(action, screen) for action in request["action_requests"]]}
    except EOFError as error:
        raise InputError("Tool calls wait for approval and nobody answered: run it in a terminal.") from error


def _decide(action: Mapping[str, Any], screen: Screen) -> dict[str, Any]:
    call = f"{action['name']} {json.dumps(action['args'], ensure_ascii=False)}"
    while True:
        reply = screen.ask(f"{call}  run it? [y]es, [n]o, [e]dit: ", "approve").strip().lower()
        if reply in ("y", "yes"):
            return {"type": "approve"}
        if reply in ("n", "no"):
            return {"type": "reject", "message": screen.ask("why not? (may be empty) ")}
        if reply in ("e", "edit"):
            return {"type": "edit", "edited_action": {"name": action["name"], "args": _ask_arguments(screen)}}


def _ask_arguments(screen: Screen) -> dict[str, Any]:
    while True:
        try:
            arguments = json.loads(screen.ask("arguments, as one JSON object: "))
        except ValueError as error:
            screen.note(f"That is not JSON: {error}.")
            continue
        if isinstance(arguments, dict):
            return arguments
        screen.note('That is not a JSON object; write for example {"expression": "1 + 1"}.')
