"""A larger model that writes wordings: what is taken of it, what it costs, and what happens when it fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from langchain_core.messages import BaseMessage

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.trajectory import Role
from alpha_umi.nodes.models.scripted import ScriptedChatModel
from alpha_umi.training.data.sheets.draft.sheet_file import load_items
from alpha_umi.training.data.sheets.draft.sources.accept import WordingJudge
from alpha_umi.training.data.sheets.draft.sources.teacher import JOURNAL, Teacher, make_question, parse_reply
from alpha_umi.training.data.sheets.draft.write import write_sheets
from alpha_umi.training.data.sheets.form import ToolSheet
from alpha_umi.training.data.sheets.load import check_sheets, load_sheets

SHEET = """
domain: d
tools:
- name: book
  description: Book a table.
  parameters: {day: {from: date}, city: {from: city}, seats: {from: int 2..8, optional: true}}
  ask: ["Book a table in {city} on {day}[ for {seats}]."]
  cannot: book a table
  returns: {number: id T-##}
  reply: {number: "{number}"}
  answer: "Table {number} in {city} is yours."
"""
TOOLS = """
def book_table(day: str, city: str) -> str:
    '''Book a table.'''
    return ""

def cancel_table(table_id: str) -> str:
    '''Cancel a table.'''
    return ""

def clean_table(table_id: str) -> str:
    '''Clean a table.'''
    return ""

TOOLS = [book_table, cancel_table, clean_table]
"""
GOOD = "Get us a table in {city}[ for {day}].\n{day}, {city}, a place to eat, please\nANSWER: It is done in {city}."
GOOD_CANCEL = "We are not coming to {table_id}.\nFree table {table_id} again."


@pytest.fixture
def sheet(tmp_path: Path) -> ToolSheet:
    (tmp_path / "a.yaml").write_text(SHEET)
    [sheet] = load_sheets(tmp_path / "a.yaml")
    return sheet


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"tables_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(TOOLS)
    monkeypatch.chdir(tmp_path)
    return f"{name}:TOOLS"


def make_teacher(replies: list[str] | ScriptedChatModel, out: Path, max_calls: int = 99) -> Teacher:
    model = replies if isinstance(replies, ScriptedChatModel) else ScriptedChatModel(script=replies)
    return Teacher(model, "scripted:x", out, n_wordings=4, max_calls=max_calls)


FAULTS = [
    ("Book a table in {city}.", "a value that the tool needs is not said"),
    ("Book {city} {city} on {day}.", "a value is said twice"),
    ("Book {place} on {day} in {city}.", "it has a slot that the tool does not have"),
    ("Book in {city} on {day} for {seats}.", "an optional value is not in brackets"),
    ("Book in {city on {day}.", "a brace or bracket is wrong"),
    ("Book in {city}[ on {day}", "a brace or bracket is wrong"),
    ("{city} {day}", "there are no words"),
    ("A place for {city} {day}.", "its values cannot be told apart"),
    ("book a table in {day} on {city}[, for {seats}]!", "it is there already"),
    ("x" * 2000 + " {city} in {day}", "it is too short or too long"),
    ("Somewhere to eat in {city}? On {day}[, we are {seats}].", ""),
    ("Is a table free[ on {day}] in {city}?", ""),
]


@pytest.mark.parametrize(("text", "fault"), FAULTS)
def test_a_wording_is_checked(sheet: ToolSheet, text: str, fault: str) -> None:
    judge = WordingJudge(sheet, {"book a table in {} on {} for {}"})
    assert judge.find_fault(text) == fault
    if not fault:
        assert judge.find_fault(text) == "it is there already"


def test_a_reply_is_read_whatever_it_looks_like() -> None:
    assert parse_reply('["Book {day}.", "Is {day} free?"]') == (["Book {day}.", "Is {day} free?"], "")
    assert parse_reply('```json\n["Book {day}."]\n```\nANSWER: ok {day}') == (["Book {day}."], "ok {day}")
    assert parse_reply('Sure! Here:\n1) "Book {day}"\n• (rush) {day}\n**ANSWER:** Done {day}.') == (
        ["Book {day}", "(rush) {day}"],
        "Done {day}.",
    )
    for text in ("", "[", "{", "```", "[[[[", "ANSWER:", "\x00\n- \n1."):
        wordings, _ = parse_reply(text)
        assert all(wordings)


def test_the_question_tells_the_slots_and_what_the_answer_may_tell(sheet: ToolSheet) -> None:
    system, question = make_question(sheet, sheet.tool.ask, 7)
    assert "Each slot stands once" in system.text
    assert "- {seats} (optional), for example: " in question.text
    assert "- {day} (needed)" in question.text
    assert "Write 7 requests" in question.text
    assert "no others: {day}, {city}, {number}" in question.text


def test_wordings_and_answers_go_into_the_sheets_and_nothing_is_asked_twice(source: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    model = ScriptedChatModel(script=[GOOD, GOOD_CANCEL, "Wipe {table_id}.\nMake {table_id} clean."])
    teacher = make_teacher(model, out)
    written = write_sheets(source, out, teacher)
    assert written.taught == {"book_table": 2, "cancel_table": 2, "clean_table": 2}
    assert (teacher.tally.n_calls, teacher.tally.n_taken) == (3, 6)
    assert teacher.tally.input_tokens > 100
    assert teacher.tally.output_tokens > 10
    assert not teacher.problem
    items = load_items(written.path)
    assert items[0]["ask"][-2:] == GOOD.splitlines()[:2]
    assert items[0]["answer"] != "It is done in {city}."  # it does not tell the number that came back
    assert not check_sheets([written.path])[1]
    text = written.path.read_text()
    again = make_teacher([], out)
    assert write_sheets(source, out, again).taught == {"book_table": 0, "cancel_table": 0, "clean_table": 0}
    assert again.tally.n_calls == 0
    assert not again.problem
    assert written.path.read_text() == text


def test_sheets_that_were_there_get_wordings_and_nothing_else_of_them_changes(source: str, tmp_path: Path) -> None:
    path = write_sheets(source, tmp_path).path
    path.write_text(path.read_text().replace("cannot: cancel a table", "cannot: cancel a table  # mine"))
    before = path.read_text().splitlines()
    write_sheets(
        source, tmp_path, make_teacher([GOOD, GOOD_CANCEL, "Wipe {table_id}.\nMake {table_id} clean."], tmp_path)
    )
    after = path.read_text().splitlines()
    assert [line for line in after if line in before] == before
    assert len(after) == len(before) + 6


@pytest.mark.parametrize("is_down", [True, False])
def test_a_teacher_that_fails_ends_cleanly_and_can_be_gone_on_with(source: str, tmp_path: Path, is_down: bool) -> None:
    def fail(role: Role, messages: list[BaseMessage]) -> str:
        if "book_table" in messages[-1].text:
            return GOOD
        raise OSError("no route to host")

    out = tmp_path / "out"
    model = ScriptedChatModel(script=fail, role="summarizer")
    teacher = make_teacher(model, out) if is_down else make_teacher([GOOD], out, max_calls=1)
    written = write_sheets(source, out, teacher)
    assert teacher.problem == (
        "it could not be asked (OSError: no route to host)"
        if is_down
        else "it was asked 1 times, which is what --max-calls allows"
    )
    assert len(load_items(written.path)) == 3
    assert not check_sheets([written.path])[1]
    more = make_teacher([GOOD_CANCEL, "Wipe {table_id}.\nMake {table_id} clean."], out)
    write_sheets(source, out, more)
    assert more.tally.n_calls == 2
    items = load_items(written.path)
    assert [item["ask"][-1] for item in items] == [
        GOOD.splitlines()[1],
        "Free table {table_id} again.",
        "Make {table_id} clean.",
    ]


def test_a_teacher_that_writes_nonsense_is_not_asked_for_ever(source: str, tmp_path: Path) -> None:
    teacher = make_teacher(["la la la"] * 6, tmp_path)
    written = write_sheets(source, tmp_path, teacher)
    assert teacher.problem == "it wrote nothing that can be used for 3 tools in a row"
    assert teacher.tally.rejected == {"a value that the tool needs is not said": 6}
    assert len(load_items(written.path)) == 3


def test_a_journal_that_cannot_be_read_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_text(json.dumps({"tool": "a", "reply": "b"}) + "\n" + json.dumps({"tool": 3}) + "\n")
    with pytest.raises(ConfigError, match=r"teacher\.jsonl:2: a line needs 'tool' and 'reply'"):
        make_teacher([], tmp_path)
