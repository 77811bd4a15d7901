"""`alpha-umi sheet`: first sheets of tools; faults, warnings and samples of sheets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Umi

SHEET = """
domain: rail
tools:
- name: find_train
  description: Find a train.
  parameters: {start: {from: [Brno, Graz]}}
  ask: ["A train from {start}.", "Trains from {start}", "I must leave {start}.", "How do I get away from {start}?"]
  cannot: find a train
  returns: {number: id T-##}
  reply: {train: "{number}"}
  answer: "It is train {number}."
- name: book_train
  description: Book a train.
  parameters: {number: {from: id T-## or find_train.number}}
  ask: ["Book {number}."]
  cannot: book a train
  reply: "{number} is booked."
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rail.yaml").write_text(SHEET)
    return tmp_path


def test_check_warns_and_shows_what_comes_of_a_sheet(umi: Umi, folder: Path) -> None:
    done = umi("sheet", "check", str(folder), "--samples", "2")
    assert done.code == 0
    assert f"warning: {folder / 'rail.yaml'}, line 15: book_train: there are 1 wordings; write 4 or more" in done.out
    assert done.out.count("request: ") == 2
    assert 'call:    find_train {"start": "' in done.out
    assert 'reply:   {"train": "T-' in done.out
    assert "answer:  It is train T-" in done.out
    assert done.out.endswith("2 tools can be used. Faults: 0, warnings: 1.\n")


def test_check_tells_all_faults_of_all_files(umi: Umi, folder: Path) -> None:
    (folder / "wrong.yaml").write_text(
        SHEET.replace("_train", "_bus").replace("{start}.", "{stat}.").replace("or find_bus.number", "or find_bus.no")
    )
    (folder / "broken.yaml").write_text("domain: x\ntools: [\n")
    (folder / "twice.yaml").write_text("domain: x\ndomain: y\ntools: []\n")
    done = umi("sheet", "check", str(folder / "rail.yaml"), str(folder), "--samples", "0")
    assert done.code == 1
    lines = [line.removeprefix(f"{folder}/") for line in done.out.splitlines() if not line.startswith("warning")]
    assert [line.partition(": ")[0] for line in lines[:6]] == [
        "broken.yaml, line 3",
        "twice.yaml, line 2",
        "wrong.yaml, line 7",
        "wrong.yaml, line 7",
        "wrong.yaml, line 14",
        "",
    ]
    assert lines[-1] == "2 tools can be used. Faults: 5, warnings: 1."


def test_check_without_arguments_is_about_the_sheets_that_ship(umi: Umi) -> None:
    done = umi("sheet", "check", "--samples", "0")
    assert done.code == 0
    assert done.out.endswith("Faults: 0, warnings: 0.\n")
    assert int(done.out.split()[0]) >= 1000


def test_a_folder_that_is_not_there_is_a_wrong_use(umi: Umi, tmp_path: Path) -> None:
    done = umi("sheet", "check", str(tmp_path / "none"))
    assert done.code == 2
    assert "cannot be read: No such file or directory; correct the path" in done.err


OWN = """
def cancel_trip(trip_id: str) -> str:
    '''Cancel a trip.'''
    return ""

def add_rules(rules: list[dict]) -> str:
    '''Add rules.'''
    return ""

def rate(flange: str) -> str:
    '''Rate a thing.'''
    return ""
"""


def test_a_first_sheet_for_each_tool_is_written_and_can_be_used(
    umi: Umi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"trips_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(OWN + "TOOLS = [cancel_trip, rate]")
    monkeypatch.chdir(tmp_path)
    done = umi("sheet", "--tools", f"{name}:TOOLS", "--tools", "builtin:calculator", "--out", "mine")
    path = Path("mine") / f"{name}.yaml"
    assert f"{path}: cancel_trip\n" in done.out
    assert "to correct: rate: nothing tells what flange look like\n" in done.out
    assert done.out.endswith("3 sheets are written. Correct them by hand, then: alpha-umi sheet check mine\n")
    assert done.code == 0
    assert "Cancel trip {trip_id}." in path.read_text()
    done = umi("sheet", "check", "mine", "--samples", "3")
    assert done.code == 0
    assert "3 tools can be used. Faults: 0" in done.out
    text = path.read_text()
    done = umi("sheet", "--tools", f"{name}:TOOLS", "--out", "mine")
    assert "0 sheets are written, 2 were there already and are as they were" in done.out
    assert path.read_text() == text


def test_a_tool_that_no_sheet_can_be_written_for_is_told(
    umi: Umi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"rules_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    done = umi("sheet", "--tools", f"{name}:add_rules")
    assert done.code == 1
    assert (
        "left out: add_rules: it needs rules: a list of lists, or of objects without named parts, cannot be said"
        in done.out
    )
    assert done.out.endswith("\n0 sheets are written, 1 tool is left out.\n")
    done = umi("sheet", "--tools", f"{name}:nothing")
    assert done.code == 2
    assert "has no 'nothing'" in done.err
    done = umi("sheet", "--tools", "replay:x#y")
    assert done.code == 2
    assert "name the tools themselves" in done.err


def test_without_tools_the_help_is_shown(umi: Umi) -> None:
    done = umi("sheet")
    assert done.code == 0
    assert "--tools" in done.out


def test_a_teacher_adds_wordings_and_its_costs_are_told(
    umi: Umi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"taught_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(OWN)
    (tmp_path / "script.yaml").write_text("summarizer: ['{trip_id} is off, we stay at home.\n\n  We go without {x}.']")
    monkeypatch.chdir(tmp_path)
    command = ("sheet", "--tools", f"{name}:cancel_trip", "--teacher", "scripted:script.yaml", "--wordings", "2")
    done = umi(*command)
    assert done.code == 0
    assert "tokens read" in done.out
    assert "1 wordings taken, 1 rejected\nrejected 1: it has a slot that the tool does not have\n" in done.out
    assert '"{trip_id} is off, we stay at home."' in (tmp_path / "sheets" / f"{name}_cancel_trip.yaml").read_text()
    (tmp_path / "script.yaml").write_text("summarizer: [no idea]")
    (tmp_path / "sheets" / "teacher.jsonl").unlink()
    done = umi(*command, "--max-calls", "1")
    assert done.code == 1
    assert (
        "The teacher stopped: it was asked 1 times, which is what --max-calls allows. What was written is" in done.err
    )
    done = umi("sheet", "--tools", f"{name}:cancel_trip", "--teacher", "telepathy:x")
    assert done.code == 2
    assert "Role spec 'telepathy:x' is not understood" in done.err


def test_requests_become_wordings_and_the_others_are_listed(
    umi: Umi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"sent_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(OWN)
    (tmp_path / "sent.txt").write_text("please, trip TR-1234 must be cancelled\nwhat is new?\n")
    monkeypatch.chdir(tmp_path)
    done = umi("sheet", "--tools", f"{name}:cancel_trip", "--requests", "sent.txt")
    assert done.code == 0
    assert "not used: sent.txt:2: no tool has words of it: what is new?\n" in done.out
    assert "requests: 1 are wordings now, 1 are not used\n" in done.out
    path = tmp_path / "sheets" / f"{name}_cancel_trip.yaml"
    assert '"please, trip {trip_id} must be cancelled"' in path.read_text()
    done = umi("sheet", "--tools", f"{name}:cancel_trip", "--requests", "nowhere.txt")
    assert done.code == 2
    assert "nowhere.txt" in done.err
