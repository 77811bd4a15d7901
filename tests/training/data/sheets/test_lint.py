from pathlib import Path

import pytest

from alpha_umi.training.data.sheets.form import WORLD
from alpha_umi.training.data.sheets.lint import find_warnings
from alpha_umi.training.data.sheets.load import check_sheets

SHEET = """
domain: rail
tools:
- name: find_train
  description: Find a train between two towns.
  parameters:
    start: {from: city}
    end: {from: city}
    n: {from: int 1..9, optional: true}
    m: {from: int 5..20, optional: true}
  ask:
  - "A train from {start} to {end}[ for {n}][, {m} bags]."
  - "I must get from {start} to {end}[, we are {n}]."
  - "Which train goes from {start} to {end}?"
  - "Trains {start} - {end}"
  cannot: find a train
  reply: none
- name: book_train
  description: Book a seat.
  parameters: {start: {from: city}, start_at: {from: time, optional: true}}
  ask: ["Book {start}.", "A seat from {start}.", "Get me a seat, I leave from {start}.", "Seat: {start}[ {start_at}]"]
  cannot: book a seat in a train
  reply: booked
"""


def warn(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "rail.yaml"
    path.write_text(text)
    sheets, faults = check_sheets([path])
    assert not faults
    return [str(warning).removeprefix(f"{path}, ") for warning in find_warnings(sheets)]


def test_a_good_sheet_has_no_warnings(tmp_path: Path) -> None:
    assert warn(tmp_path, SHEET) == []


DOUBTS: list[tuple[str, str, str]] = [
    ('  - "Trains {start} - {end}"\n', "", "line 11: find_train: there are 3 wordings"),
    ("{start} - {end}", "{start}, {end}", "line 15: find_train: 'Trains {start}, {end}': write a word between {start}"),
    ("{start} - {end}", "{start}[ for {n}] {end}", "write a word between {start} and {end}"),
    ("[ for {n}][, {m} bags]", "[ for {n}][, {m}]", "line 12: find_train: 'A train from"),
    ("[, {m} bags]", "", "line 10: find_train: no wording says {m}"),
    (
        "A seat from {start}.",
        "book {start}!",
        "line 21: book_train: 'book {start}!' is but for its slots 'Book {start}.'",
    ),
    (
        "Book {start}.",
        "trains {start}[ {start_at}]",
        "book_train: 'trains {start}[ {start_at}]' is but for its slots 'Trains",
    ),
    ("description: Book a seat.", 'description: ""', "line 19: book_train: the description is empty"),
]


@pytest.mark.parametrize(("old", "new", "warning"), DOUBTS)
def test_what_is_doubtful_is_told_with_its_line(tmp_path: Path, old: str, new: str, warning: str) -> None:
    assert old in SHEET
    found = warn(tmp_path, SHEET.replace(old, new))
    assert len(found) == 1
    assert warning in found[0]


def test_a_tool_that_is_like_no_other_is_a_stranger(tmp_path: Path) -> None:
    sheet = SHEET.replace("book_train", "melt_ice").replace("a seat in a train", "some ice")
    sheet = sheet.replace("Book a seat.", "Melt ice.").replace(
        "{from: city}, start_at", "{from: [a glacier, a cube]}, start_at"
    )
    assert "line 18: melt_ice: no other tool of 'rail' is near it; write one that people might take it for." in warn(
        tmp_path, sheet
    )


def test_a_tool_that_exists_should_describe_its_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"own_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(
        "def find_train(start: str, start_at: str = '') -> str:\n    'Find a train.'\n    return start\n"
    )
    monkeypatch.chdir(tmp_path)
    sheet = SHEET.replace("find_train", "look_up").replace(", start_at: {from: time, optional: true}", "")
    sheet = sheet.replace("[ {start_at}]", "").replace(
        "name: book_train\n  description: Book a seat.", f"tool: {name}:find_train"
    )
    found = warn(tmp_path, sheet)
    assert found == ["line 18: find_train: the tool does not describe start, start_at; do so, unless the name says it."]


def test_the_world_that_ships_has_neither_faults_nor_warnings() -> None:
    sheets, faults = check_sheets([WORLD])
    assert [str(each) for each in (*faults, *find_warnings(sheets))] == []
