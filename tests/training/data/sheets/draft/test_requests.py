"""Requests that people sent, made into wordings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn
from alpha_umi.training.data.sheets.draft.sheet_file import load_items
from alpha_umi.training.data.sheets.draft.sources.requests import RequestMatcher, SentRequest, load_requests
from alpha_umi.training.data.sheets.draft.write import use_requests
from alpha_umi.training.data.sheets.load import check_sheets, load_sheets
from alpha_umi.training.data.sources import own

SHEETS = """
domain: bikes
tools:
- name: book_repair
  description: Book a repair in the workshop.
  parameters:
    customer: {from: person}
    bike: {from: id BK-####}
    day: {from: date}
    parts: {items: {enum: [chain, brake_pads]}, optional: true}
  ask:
  - "Book a repair for {customer}, bike {bike}, on {day}[ with {parts}]."
  cannot: book a repair
  reply: ok
- name: rent_bike
  description: Rent a bike.
  parameters:
    kind: {enum: [city, cargo]}
    days: {from: int 2..9}
    price: {from: int 20..90, optional: true}
    time: {from: time, optional: true}
  ask: ["Rent a {kind} bike for {days} days[ at {time}][ below {price}]."]
  cannot: rent a bike
  reply: ok
- name: send_note
  description: Send a note to a colleague.
  parameters: {to: {from: person}, text: {from: note}}
  ask: ['Send {to} a note: "{text}".']
  cannot: send a note
  reply: ok
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bikes.yaml").write_text(SHEETS)
    return tmp_path


LINES = [
    (
        "Hi, repair BK-1042 on Friday for Anna Weiss please, thanks!",
        "Repair {bike} on {day} for {customer} please".replace("R", "r", 1),
    ),
    (
        "Can you book a repair for Tom Baker's bike BK-77, 3rd of May 2027?",
        "Can you book a repair for {customer}'s bike {bike}, {day}?",
    ),
    (
        "Repair BK-1 for Ben Carter on 2027-01-02, with chain and brake pads.",
        "Repair {bike} for {customer} on {day}[, with {parts}].",
    ),
    ("I'd rent a cargo bike for three days at 9:30", "I'd rent a {kind} bike for {days} days[ at {time}]"),
    (
        "Rent me a city bike for 4 days for less than 60",
        "Rent me a {kind} bike for {days} days[ for less than {price}]",
    ),
    ('A note to Grace Kim please: "the keys are in the drawer"', 'A note to {to} please: "{text}"'),
]


@pytest.mark.parametrize(("text", "wording"), LINES)
def test_values_are_found_in_a_line(folder: Path, text: str, wording: str) -> None:
    matcher = RequestMatcher(load_sheets(folder), set())
    _, found, reason = matcher.match(SentRequest("x:1", text))
    assert (found, reason) == (wording, "")


REASONS = [
    ("What is the weather in Oslo?", "no tool has words of it"),
    ("Book a repair for Anna Weiss.", "it seems to be about book_repair, but bike, day cannot be found in it"),
    ("Rent a [city] bike", "it has braces or brackets"),
    ("Rent a bike for 3 days or 4 days", "it seems to be about rent_bike, but kind, days cannot be found in it"),
    ("bike", "it may be about book_repair or rent_bike"),
]


@pytest.mark.parametrize(("text", "reason"), REASONS)
def test_what_no_wording_comes_of_is_told(folder: Path, text: str, reason: str) -> None:
    matcher = RequestMatcher(load_sheets(folder), set())
    assert matcher.match(SentRequest("x:1", text))[1:] == ("", reason)


def test_an_optional_value_that_the_sentence_needs_is_no_wording(folder: Path) -> None:
    text = "Repair BK-1 for Ben Carter on 2027-01-02, the chain has to be replaced."
    _, wording, reason = RequestMatcher(load_sheets(folder), set()).match(SentRequest("x:1", text))
    assert wording == ""
    assert reason == "it seems to be about book_repair, but not a sentence without parts, which is optional"


def test_lines_go_behind_the_wordings_of_their_tool(folder: Path) -> None:
    path = folder / "sent.txt"
    path.write_text("# collected in May\n\nI'd rent a cargo bike for 3 days\nHello\nI'd rent a city bike for 4 days\n")
    used = use_requests(load_requests(path, own.read), [folder / "bikes.yaml", folder / "none.yaml"])
    assert used.taken == {"rent_bike": ["I'd rent a {kind} bike for {days} days"]}
    assert [(request.where, reason) for request, reason in used.left] == [
        (f"{path}:4", "no tool has words of it"),
        (
            f"{path}:5",
            'as a wording of rent_bike, "I\'d rent a {kind} bike for {days} days": it is there already',
        ),
    ]
    assert load_items(folder / "bikes.yaml")[1]["ask"][-1] == "I'd rent a {kind} bike for {days} days"
    assert not check_sheets([folder / "bikes.yaml"])[1]


def test_traces_tell_the_call(folder: Path) -> None:
    def turn(text: str, *calls: Call) -> Turn:
        steps = [Step("", "caller", (call,)) for call in calls]
        return Turn(text, (*steps, Step("", "conclusion", answer="Done.")))

    ok = Observation("ok")
    rent = Call("1", "rent_bike", {"kind": "cargo", "days": 3, "time": "09:00"}, ok)
    repair = Call(
        "2", "book_repair", {"customer": "Ann", "bike": "X9", "day": "2027-05-03", "parts": ["brake_pads", "chain"]}, ok
    )
    turns = (
        turn("We need something big (cargo) from 9am, three nights", rent),
        turn("Ann comes with X9 on May 3, 2027, do brake_pads and chain", repair),
        turn("Both", rent, repair),
        turn("The usual", rent),
        turn("Fly me home", Call("3", "fly", {}, ok)),
    )
    row = {"id": "a", "trajectory": Trajectory((), turns).to_row()}
    path = folder / "traces.jsonl"
    path.write_text(json.dumps(row) + "\nno json\n")
    sheets = load_sheets(folder)
    matcher = RequestMatcher(sheets, set())
    requests = load_requests(path, own.read)
    assert [matcher.match(request)[1:] for request in requests[:5]] == [
        ("We need something big ({kind})[ from {time}], {days} nights", ""),
        ("{customer} comes with {bike} on {day}, do {parts}".replace(", do {parts}", ", do[ {parts}]"), ""),
        ("", "there are 2 calls for it, not one"),
        ("", "it seems to be about rent_bike, but kind, days cannot be found in it"),
        ("", "its call is of fly, which has no sheet"),
    ]
    assert "1 lines cannot be read" in requests[5].problem
