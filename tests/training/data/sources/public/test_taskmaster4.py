from __future__ import annotations

from typing import Any

from alpha_umi.training.data.clean import describe_calls
from tests.training.data.conftest import Read, WriteLines


def call(name: str, request: str | None, response: str) -> list[dict[str, str]]:
    entries = [("api_call", name), ("request", request), ("api_response", name), ("response", response)]
    return [{"k": kind, "v": value, "c": "0"} for kind, value in entries if value is not None]


def user(text: str, *annotations: dict[str, str]) -> dict[str, Any]:
    return {"speaker": "user", "text": text, "annotations": list(annotations)}


def order(*utterances: dict[str, Any]) -> dict[str, Any]:
    return {"id": "dlg-1", "scenario": "test", "utterances": list(utterances)}


MENU = call("get_menu_items", '{"query": "tea"}', '{"menu_items": [{"menu_item_id": "tea-7"}]}')
ADD = call("add_order_item", '{"menu_item_id": "tea-7", "quantity": "2"}', '{"order_id": "55"}')
READY = {"speaker": "assistant", "text": "Is that all?"}


def test_taskmaster4_chains_calls_and_answers(read: Read, write_lines: WriteLines) -> None:
    record = order(user("Hi. Two teas please!", *MENU, *ADD), READY, user("Let me see the menu"), READY)
    record["utterances"][2]["annotations"] = call("show_menu", None, '{"success": true}')
    (example,), tally = read("taskmaster4", write_lines([record]))
    (first, second, last), (menu, end) = (turn.steps for turn in example.trajectory.turns)
    assert first.rationale == f"Part 1 (Two teas please): {describe_calls(first.calls)}"
    assert second.rationale == f"Part 2 (Two teas please) with tea-7: {describe_calls(second.calls)}"
    assert second.calls[0].arguments == {"menu_item_id": "tea-7", "quantity": 2}
    assert second.calls[0].observation is not None
    assert second.calls[0].observation.text == '{"order_id": "55"}'
    assert (last.decision, last.answer, end.answer) == ("conclusion", "Is that all?", "Is that all?")
    assert (menu.calls[0].name, menu.calls[0].arguments) == ("show_menu", {})
    assert len({step.calls[0].id for step in (first, second, menu)}) == 3
    assert {"get_menu_items", "add_order_item", "show_menu"} < {tool.name for tool in example.trajectory.tools}
    assert not tally.repaired


def test_taskmaster4_repairs_values_quoted_twice(read: Read, write_lines: WriteLines) -> None:
    add = call("add_order_item", '{"menu_item_id": ""tea-7"","quantity": "1"}', '{"order_id":""55"", "notes": ""}')
    (example,), tally = read("taskmaster4", write_lines([order(user("Tea", *add), READY)]))
    (made,) = example.trajectory.turns[0].steps[0].calls
    assert made.arguments == {"menu_item_id": "tea-7", "quantity": 1}
    assert made.observation is not None
    assert made.observation.text == '{"order_id": "55", "notes": ""}'
    assert tally.repaired == {"value quoted twice": 2}


def test_taskmaster4_ends_before_what_cannot_be_read(read: Read, write_lines: WriteLines) -> None:
    faults = [
        (call("add_order_item", '{"quantity": "1"}', "{}"), "a call that its API does not allow"),
        (call("fly_away", "{}", "{}"), "a call that its API does not allow"),
        (call("show_menu", None, "{oops"), "a request or response that is no JSON object"),
    ]
    for calls, reason in faults:
        record = order(user("Tea", *MENU), READY, user("And more", *calls), READY)
        (example,), tally = read("taskmaster4", write_lines([record]))
        assert [turn.instruction for turn in example.trajectory.turns] == ["Tea"]
        assert tally.repaired == {f"dialogue cut before {reason}": 1}
