import json
import random
import sys
from pathlib import Path

import pytest

from alpha_umi.errors import ConfigError
from alpha_umi.tools.toolbox import Toolbox
from alpha_umi.training.data.sheets.form import ToolSheet
from alpha_umi.training.data.sheets.lint import render_samples
from alpha_umi.training.data.sheets.load import check_sheets, load_sheets
from alpha_umi.training.data.sheets.real_tool import read_reply
from alpha_umi.training.data.sheets.request import draw_need, list_told, make_answer, make_sheet_tool
from alpha_umi.training.data.sheets.tasks import World

OWN_TOOLS = '''
from typing import Literal, Optional
from pydantic import BaseModel
from alpha_umi.tools.convert import declare_effects

calls = []

class Place(BaseModel):
    room: Literal["hall", "garden"]
    number: int

@declare_effects("none")
def find_table(day: str, seats: int, kind: Optional[Literal["round", "long"]] = None) -> dict:
    """Find a free table.

    Args:
        day: YYYY-MM-DD.
        seats: How many people.
        kind: Its form.
    """
    calls.append(day)
    if seats > 90:
        raise ValueError("too many")
    return {"tables": [{"number": len(calls)}], "day": day}

def book_table(day: str, place: Place) -> str:
    """Book a table."""
    raise AssertionError("it must not be run")

TOOLS = [find_table, book_table]
'''
SHEET = """
domain: restaurant
tools:
- tool: OWN:TOOLS#find_table
  parameters:
    seats: {from: int 2..8, what: for how many}
    day: {from: date}
    kind: {say: {round: [a round one]}}
  ask: ["A table[ for {seats}] on {day}[, {kind}]."]
  cannot: find a table
  answer: "Table {reply.tables.0.number} is free on {day}."
- tool: OWN:book_table
  parameters:
    day: {from: date}
    place: {properties: {number: {from: int 1..9}}}
  ask: ["Book table {place.number} in the {place.room} for {day}."]
  cannot: book a table
  returns: {code: id T-###}
  reply: {code: "{code}", room: "{place.room}"}
  answer: Booked as {code}.
"""


@pytest.fixture
def sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    name = f"own_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(OWN_TOOLS)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "sheet.yaml"
    path.write_text(SHEET.replace("OWN", name))
    return path


def load(path: Path) -> dict[str, ToolSheet]:
    return {sheet.tool.name: sheet for sheet in load_sheets(path)}


def test_what_a_tool_is_comes_from_the_tool(sheet: Path) -> None:
    sheets = load(sheet)
    spec = sheets["find_table"].spec
    assert spec.description.startswith("Find a free table.")
    assert spec.parameters["properties"]["seats"] == {"type": "integer", "description": "How many people."}
    assert spec.effects == "none"
    assert sheets["book_table"].spec.effects == "once"
    assert list(sheets["find_table"].sources) == ["day", "seats", "kind"]
    assert sheets["find_table"].sources["kind"].optional
    rooms = [draw_need(sheets["book_table"], random.Random(i)).arguments["place"]["room"] for i in range(20)]
    assert set(rooms) == {"hall", "garden"}
    needs = [draw_need(sheets["find_table"], random.Random(i)) for i in range(60)]
    assert {need.arguments.get("kind") for need in needs} == {None, "round", "long"}
    assert all(("a round one" in need.text) == (need.arguments.get("kind") == "round") for need in needs)


def test_a_tool_without_effects_is_run_once_and_the_answer_tells_what_it_said(sheet: Path) -> None:
    find = load(sheet)["find_table"]
    need = draw_need(find, random.Random(1))
    observed = json.loads(Toolbox([make_sheet_tool(find)]).execute("find_table", need.arguments, "1").text)
    number = observed["tables"][0]["number"]
    assert make_answer(find, need.arguments) == f"Table {number} is free on {need.arguments['day']}."
    assert list_told(find, need.arguments) == [str(number)]
    assert len(sys.modules[f"own_{sheet.parent.name}"].calls) == 1


def test_a_failure_of_the_tool_is_what_is_observed(sheet: Path) -> None:
    find = load(sheet)["find_table"]
    message = Toolbox([make_sheet_tool(find)]).execute("find_table", {"day": "2027-01-01", "seats": 99}, "1")
    assert message.status == "error"
    assert message.text == "find_table failed: ValueError: too many"


def test_a_tool_with_effects_is_not_run(sheet: Path) -> None:
    book = load(sheet)["book_table"]
    arguments = {"day": "2027-01-01", "place": {"room": "hall", "number": 2}}
    message = Toolbox([make_sheet_tool(book)]).execute("book_table", arguments, "1")
    assert json.loads(message.text)["room"] == "hall"


def test_conversations_of_real_tools(sheet: Path) -> None:
    world = World(load_sheets(sheet))
    for i in range(40):
        made = world.make(random.Random(i))
        assert made == world.make(random.Random(i))


FAULTS: list[tuple[str, str, str]] = [
    ("OWN:book_table", "OWN:bok_table", r"line 12: .* has no 'bok_table'"),
    ("#find_table", "#find", r"line 4: OWN:TOOLS has no tool 'find'; .* It has find_table, book_table"),
    ("#find_table", "", r"line 4: OWN:TOOLS has 2 tools; name one of them"),
    (
        "day: {from: date}\n    kind",
        "date: {from: date}\n    kind",
        r"line 7: find_table: the tool has no parameter 'date'",
    ),
    (
        "    place: {properties: {number: {from: int 1..9}}}\n",
        "",
        r"book_table: place\.number: say where values come from",
    ),
    (
        "seats: {from: int 2..8",
        "seats: {from: [two, three]",
        r"line 6: find_table: seats: the tool refuses what is drawn",
    ),
    ("seats: {from", "seats: {type: integer, from", r"line 6: find_table: type comes from the tool; leave it out"),
    ("{round: [a round one]}", "{square: [a square one]}", r"line 8: find_table: kind: say: 'square' is not in enum"),
    ('  reply: {code: "{code}", room: "{place.room}"}\n', "", r"line 12: book_table: it has the effects 'once'"),
    ("{reply.tables.0.number}", "{replies}", r"\{replies\} is neither a parameter nor one of returns"),
    ('  answer: "Table {reply.tables.0.number} is free on {day}."\n', "", r"line 4: find_table: .* needs an answer"),
    (
        "  cannot: find a table",
        "  returns: {a: [x, y]}\n  cannot: find a table",
        r"line 10: find_table: .*nothing is made up",
    ),
]


@pytest.mark.parametrize(("old", "new", "problem"), FAULTS)
def test_faults_name_file_and_line(sheet: Path, old: str, new: str, problem: str) -> None:
    name = f"own_{sheet.parent.name}"
    assert old in SHEET
    sheet.write_text(SHEET.replace(old, new).replace("OWN", name))
    _, faults = check_sheets([sheet])
    assert len(faults) == 1
    with pytest.raises(ConfigError, match=problem.replace("OWN", name)) as error:
        load_sheets(sheet)
    assert str(error.value) == str(faults[0])


def test_what_the_wordings_leave_out_may_be_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = {"type": "object", "properties": {"x": {"type": "integer"}}}
    body = {"type": "object", "properties": {"to": target}, "required": ["to"]}
    operations = {
        "get": {"operationId": "getTable", "summary": "Show a table."},
        "put": {"operationId": "moveTable", "requestBody": {"content": {"application/json": {"schema": body}}}},
    }
    servers = [{"url": "https://api.example.org"}]
    document = {"openapi": "3.1.0", "servers": servers, "paths": {"/tables/{id}": operations}}
    (tmp_path / "api.json").write_text(json.dumps(document))
    (tmp_path / "a.yaml").write_text(
        "domain: d\ntools:\n"
        "- {tool: 'openapi:api.json#getTable', parameters: {id: {from: [a, b]}}, ask: ['Show {id}.'], cannot: x, "
        "reply: ok}\n"
        "- {tool: 'openapi:api.json#moveTable', parameters: {id: {from: [a, b]}}, ask: ['Move {id}.'], cannot: y, "
        "reply: ok}\n"
    )
    monkeypatch.chdir(tmp_path)
    sheets, faults = check_sheets([tmp_path])
    assert [(sheet.spec.name, sheet.spec.effects, sheet.spec.source) for sheet in sheets] == [
        ("getTable", "none", "openapi:api")
    ]
    assert [str(fault) for fault in faults] == [
        f"{tmp_path / 'a.yaml'}, line 4: moveTable: the tool refuses what the wordings say: "
        '"to" is a required property. Say in all of them what it needs.'
    ]


def test_a_tool_of_an_mcp_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "server.py").write_text(
        "from mcp.server.fastmcp import FastMCP\nfrom mcp.types import ToolAnnotations\n"
        "mcp = FastMCP('t')\n"
        "@mcp.tool(annotations=ToolAnnotations(readOnlyHint=True))\n"
        "def add(a: int, b: int) -> str:\n    'Add.'\n    return str(a + b)\nmcp.run()\n"
    )
    servers = {"mcpServers": {"t": {"command": sys.executable, "args": [str(tmp_path / "server.py")]}}}
    (tmp_path / "mcp.json").write_text(json.dumps(servers))
    (tmp_path / "a.yaml").write_text(
        "domain: d\ntools:\n- tool: mcp:mcp.json#add\n  parameters: {a: {from: int 1..9}, b: {from: int 1..9}}\n"
        "  ask: ['{a} plus {b}']\n  cannot: add\n  answer: 'It is {reply}.'\n"
    )
    monkeypatch.chdir(tmp_path)
    [add] = load_sheets(tmp_path / "a.yaml")
    assert make_answer(add, {"a": 2, "b": 3}) == "It is 5."


def test_an_answer_that_tells_a_part_which_is_not_there_says_so(sheet: Path) -> None:
    sheet.write_text(sheet.read_text().replace("{reply.tables.0.number}", "{reply.table}"))
    find = load(sheet)["find_table"]
    with pytest.raises(ConfigError, match=r"line 4: answer: \{reply.table\} is no part of what find_table returned"):
        make_answer(find, {"day": "2027-01-01", "seats": 2})
    [sample] = render_samples([find], 1)
    assert isinstance(sample, ConfigError)


def test_a_reply_that_is_no_json_has_no_parts() -> None:
    assert read_reply("[3 tables") == {"reply": "[3 tables"}
    assert read_reply('[{"n": null}]')["reply.0.n"] is None
