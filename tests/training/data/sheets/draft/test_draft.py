"""First drafts of sheets, from what tools say of themselves."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from alpha_umi.errors import ConfigError
from alpha_umi.tools import ToolSpec, make_tool
from alpha_umi.tools.spec import Effects
from alpha_umi.training.data.dataset import Tally
from alpha_umi.training.data.sheets.draft.draft import CannotDraft, SheetDraft, TakenWords, draft_sheet
from alpha_umi.training.data.sheets.draft.english import find_base, make_gerund, make_participle, plural, singular
from alpha_umi.training.data.sheets.draft.guess import guess_value
from alpha_umi.training.data.sheets.draft.sentences.phrase import read_phrase
from alpha_umi.training.data.sheets.draft.sheet_file import add_items, add_wordings, load_items, render_value
from alpha_umi.training.data.sheets.draft.slots import read_slots
from alpha_umi.training.data.sheets.draft.write import name_file, write_sheets
from alpha_umi.training.data.sheets.lint import find_warnings
from alpha_umi.training.data.sheets.load import PlainLoader, check_sheets, load_sheets
from alpha_umi.training.data.sheets.request import draw_need
from alpha_umi.training.data.sources.world import read

TOOLS = '''
from datetime import datetime
from enum import Enum
from typing import Literal

from pydantic import BaseModel

from alpha_umi.tools import ToolSpec, declare_effects, make_tool

ran = []


class Part(Enum):
    CHAIN = "chain"
    BRAKE_PADS = "brake_pads"


class Address(BaseModel):
    street: str
    city: str
    note: str | None = None


@declare_effects("none")
def find_bike(kind: Literal["city", "road"], max_price: float | None = None, electric: bool = False) -> list[str]:
    """Find bikes that we sell.

    Args:
        kind: Kind of bike.
        max_price: Highest price in EUR.
        electric: Only electric bikes.
    """
    return [f"{kind} one", f"{kind} two"]


@declare_effects("once")
def book_repair(customer: str, bike_id: str, day: str, parts: list[Part] | None = None) -> dict:
    """Book a repair in the workshop.

    Args:
        customer: Name of the customer.
        bike_id: Our number of the bike, e.g. BK-1042.
        day: Day of the repair, YYYY-MM-DD.
        parts: Parts to replace.
    """
    ran.append("book_repair")
    return {}


@declare_effects("none")
def repair_status(repair_number: str) -> dict:
    """Tells how far a repair is.

    Args:
        repair_number: Number of the repair.
    """
    return {"number": repair_number, "state": "waiting"}


@declare_effects("none")
def stock_report(part: Part) -> str:
    """Returns the stock report for a part."""
    raise RuntimeError("no database")


def send_bill(customer: str, address: Address | None = None, send_at: datetime | None = None) -> str:
    """Sends a bill to a customer."""
    ran.append("send_bill")
    return ""


def termin_buchen(kunde: str, datum: str) -> str:
    """Bucht einen Termin in der Werkstatt."""
    return ""


def order_parts(lines: list[list[str]]) -> str:
    """Order parts."""
    return ""


fields = {f"field_{i}": {"type": "string" if i % 2 else "integer"} for i in range(40)}
register_bike = make_tool(
    ToolSpec("register_bike", "Register a bike.", {"type": "object", "properties": fields, "required": [*fields]}),
    lambda **_: "",
)
TOOLS = [
    find_bike, book_repair, repair_status, stock_report, send_bill, termin_buchen, order_parts, register_bike
]
'''


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"shop_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(TOOLS)
    monkeypatch.chdir(tmp_path)
    return f"{name}:TOOLS"


def draft(
    name: str,
    description: str,
    properties: Mapping[str, Any],
    required: list[str] | None = None,
    *,
    effects: Effects = "once",
    run: Callable[..., Any] = lambda **_: "ok",
) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": required or [*properties]}
    tool = make_tool(ToolSpec(name, description, parameters, effects), run)
    return draft_sheet(tool, f"m:TOOLS#{name}", TakenWords()).item


def test_the_sheets_of_a_module_pass_the_checker_and_make_tasks(source: str, tmp_path: Path) -> None:
    written = write_sheets(source, tmp_path / "sheets")
    assert written.left_out == {
        "order_parts": "it needs lines: a list of lists, or of objects without named parts, "
        "cannot be said in a sentence"
    }
    assert [*written.guesses] == ["register_bike"]
    sheets, faults = check_sheets([written.path])
    assert [sheet.spec.name for sheet in sheets] == written.written
    assert not faults
    told = [str(warning) for warning in find_warnings(sheets)]
    assert not [text for text in told if not re.search("the tool does not describe|is near it", text)]
    rows = list(read(f"{tmp_path / 'sheets'},120", Tally(), seed=0))
    assert len(rows) >= 120
    assert {
        call.name for row in rows for turn in row.trajectory.turns for step in turn.steps for call in step.calls
    } >= {
        "find_bike",
        "book_repair",
        "send_bill",
    }


def test_what_changes_something_is_not_run_and_what_does_not_tells_its_own_reply(source: str, tmp_path: Path) -> None:
    written = write_sheets(source, tmp_path)
    module = __import__(source.partition(":")[0])
    assert module.ran == []
    items = {str(item["tool"]).partition("#")[2]: item for item in load_items(written.path)}
    assert "reply" not in items["repair_status"]
    assert "{reply.state}" in items["repair_status"]["answer"]
    assert items["find_bike"]["answer"] == "{reply}"
    assert items["stock_report"]["reply"]  # it fails, so its reply is made up
    assert "It was tried and failed (RuntimeError: no database)" in written.path.read_text()
    assert items["book_repair"]["reply"]["status"] == "booked"


def test_a_file_is_added_to_and_what_people_corrected_stays(source: str, tmp_path: Path) -> None:
    path = write_sheets(source, tmp_path / "sheets").path
    items = path.read_text().partition("- tool: ")
    first = items[1] + items[2].partition("\n- tool: ")[0].replace("Find ", "Show me all ") + "  # mine\n"
    path.write_text(items[0] + first)
    written = write_sheets(source, tmp_path / "sheets")
    assert written.kept == ["find_bike"]
    assert "book_repair" in written.written
    assert path.read_text().startswith(items[0] + first)
    assert not check_sheets([path])[1]
    again = write_sheets(source, tmp_path / "sheets")
    assert again.written == []


def test_a_file_that_cannot_be_added_to_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    text = "domain: d\ntools: [{tool: 'm:a', ask: [x], cannot: y}]\nheld_out: true\n"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"a\.yaml cannot be added to; let 'tools:' be its last key"):
        add_items(path, "d", [SheetDraft({"tool": "m:b", "ask": ["z"]})])
    path.write_text("tools: [")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_items(path)


@pytest.mark.parametrize(
    "text",
    [
        "domain: d\ntools:\n- tool: m:a\n  ask:\n  - 'One {x}.'  # keep\n  - Two {x}\n  cannot: y # end\n"
        "- tool: m:b\n  ask: [q]\n",
        "domain: d\ntools:\n- {tool: m:a, ask: ['One {x}.', \"Two {x}\"], cannot: y}\n- tool: m:b\n  ask: [q]\n",
    ],
)
def test_wordings_are_added_behind_those_of_their_tool(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    add_wordings(path, "m:a", ['Say "{x}": now.', "Three {x}"])
    one, two = load_items(path)
    assert one["ask"] == ["One {x}.", "Two {x}", 'Say "{x}": now.', "Three {x}"]
    assert two["ask"] == ["q"]
    added = {line for line in path.read_text().splitlines()} - {*text.splitlines()}
    assert len(added) <= 2
    assert "# end" in path.read_text() or "# end" not in text
    with pytest.raises(ConfigError, match="no wordings of 'm:c'"):
        add_wordings(path, "m:c", ["x"])


def test_values_read_back_as_they_were_written() -> None:
    for value in (
        "NO",
        "no",
        "7",
        "a: b",
        "é {x}",
        "[x",
        True,
        1.5,
        None,
        {"true": ["on", 3]},
        "2027-01-01",
        "- x",
        " a",
    ):
        text = f"v: {render_value(value)}\n"
        assert yaml.load(text, PlainLoader)["v"] == value, text


SENTENCES = [
    ("cancel_order", "Cancels an existing order by its number.", {"order_id": "string"}, "Cancel order {order_id}."),
    (
        "get_weather",
        "Get the current weather in a given city.",
        {"city": "string"},
        "What is the current weather in {city}?",
    ),
    ("x9", "This tool lets you delete a user.", {"id": "string"}, "Delete user {id}."),
    ("listDroplets", "List All Droplets", {}, "Show me all droplets."),
    ("orders_list", "", {}, "Show me orders."),
    ("check_domain", "Check if a domain is available.", {"domain": "string"}, "Check whether {domain} is available."),
    (
        "convert",
        "Convert an amount from one currency to another.",
        {"amount": "number", "from_currency": "string", "to_currency": "string"},
        "Convert {amount} {from_currency} to {to_currency}.",
    ),
    (
        "transfer",
        "Transfer money between accounts.",
        {"from_account": "string", "to_account": "string", "amount": "number"},
        "Transfer {amount} from {from_account} to {to_account}.",
    ),
    (
        "order",
        "Order an item.",
        {"product": "string", "quantity": "integer"},
        "Order {quantity} {product}.",
    ),
    (
        "setTemp",
        "Set the temperature of a room.",
        {"room": "string", "celsius": "integer"},
        "Set the temperature of the {room} to {celsius} degrees.",
    ),
    (
        "send_message",
        "Sends a message to a person.",
        {"recipient": "string", "text": "string"},
        'Send a message to {recipient} saying "{text}".',
    ),
    ("turn_on_lamp", "Turns on a lamp.", {"lamp": "string"}, "Turn on the {lamp}."),
    ("ping", "Ping.", {}, "Ping."),
]


@pytest.mark.parametrize(("name", "description", "types", "sentence"), SENTENCES)
def test_a_wording_that_a_person_would_say(name: str, description: str, types: dict[str, str], sentence: str) -> None:
    item = draft(name, description, {key: {"type": kind} for key, kind in types.items()})
    assert sentence in item["ask"]


def test_every_wording_says_what_is_needed_and_some_can_lack_a_value() -> None:
    properties = {
        "patient": {"type": "string"},
        "day": {"type": "string", "format": "date"},
        "urgent": {"type": "boolean"},
    }
    asks = draft("book_visit", "Book a visit.", properties, ["patient", "day"])["ask"]
    assert len(asks) >= 6
    assert all("{patient}" in text and "{day}" in text for text in asks)
    assert any(re.search(r"\[[^\]]*\{(?:patient|day)\}[^\]]*\]", text) for text in asks)
    assert any("{urgent}" in text for text in asks)
    assert not any("{urgent}" in re.sub(r"\[[^\]]*\]", "", text) for text in asks)


def test_parts_of_an_optional_object_are_said_together_or_not_at_all(source: str, tmp_path: Path) -> None:
    [sheet] = [each for each in load_sheets(write_sheets(source, tmp_path).path) if each.spec.name == "send_bill"]
    assert [*sheet.sources] == ["customer", "address.street", "address.city", "send_at"]
    needs = [draw_need(sheet, random.Random(i)) for i in range(40)]
    objects = [need.arguments["address"] for need in needs if "address" in need.arguments]
    assert objects
    assert all({*each} == {"street", "city"} for each in objects)


VALUES: list[tuple[str, dict[str, Any], Any]] = [
    ("day", {"type": "string"}, "date"),
    ("x", {"type": "string", "description": "Start, YYYY-MM-DD."}, "date"),
    ("expectedClose", {"type": "string", "format": "date"}, "date"),
    ("start", {"type": "string", "format": "date-time"}, "datetime"),
    ("customer_name", {"type": "string"}, "person"),
    ("cityName", {"type": "string"}, "city"),
    ("order_id", {"type": "string"}, "id OR-####"),
    ("order_id", {"type": "integer"}, "int 100..9999"),
    ("order_id", {"type": "string", "description": "Number, e.g. A-1042."}, "id A-####"),
    ("sid", {"type": "string", "pattern": "^(SM|MM)[0-9a-f]{4}$"}, "id SM%%%%"),
    ("seats", {"type": "integer", "minimum": 1, "maximum": 4}, "int 2..4"),
    ("level", {"type": "integer", "description": "From 0 to 100."}, "int 1..5"),
    ("speed", {"type": "number", "exclusiveMinimum": 200, "exclusiveMaximum": 300}, "int 201..299 step 10"),
    ("crop", {"type": "string", "description": "One of: wheat, rye or oats."}, ["wheat", "rye", "oats"]),
    ("country", {"type": "string", "maxLength": 5}, ["Italy", "Spain", "Japan", "Kenya", "India", "Egypt", "Peru"]),
    ("foo", {"type": "string", "examples": ["bar", "baz"]}, ["bar", "baz"]),
    ("foo", {"type": "string", "pattern": "^(?!x)y$"}, None),
]


@pytest.mark.parametrize(("name", "schema", "source"), VALUES)
def test_values_are_guessed_from_names_types_and_examples(name: str, schema: dict[str, Any], source: Any) -> None:
    spec = ToolSpec("t", "", {"type": "object", "properties": {name: schema}, "required": [name]})
    read = read_slots(spec)
    found = read.said[0].values["from"] if read.said else None
    if isinstance(source, list) and name == "country":
        assert found
        assert set(found) == set(source)
    else:
        assert found == source


def test_what_is_not_known_is_told() -> None:
    guess = guess_value(["flange"], {"type": "string"}, set())
    assert guess
    assert guess.is_clueless


def test_a_description_in_another_language_is_told(source: str, tmp_path: Path) -> None:
    written = write_sheets(source, tmp_path)
    assert written.path.read_text().count("# Its description is not in English") == 1


def test_tools_that_say_the_same_are_told_apart() -> None:
    taken = TakenWords()
    wordings: list[str] = []
    for name in ("fetch_orders", "list_orders_v2", "orders"):
        tool = make_tool(ToolSpec(name, "List the orders."), lambda: "ok")
        item = draft_sheet(tool, name, taken).item
        taken.add(item)
        wordings += item["ask"]
    assert len({text.lower() for text in wordings}) == len(wordings)
    assert len(taken.cannot) == 3


def test_a_tool_that_ends_the_process_is_no_harm() -> None:
    def leave() -> str:
        raise SystemExit(3)

    item = draft("fetch_news", "Fetch the news.", {}, effects="none", run=leave)
    assert item["reply"]


def test_a_schema_that_nothing_fits_is_left_out() -> None:
    with pytest.raises(CannotDraft, match="it needs rules: a list of lists, or of objects without named parts"):
        draft("a", "Add rules.", {"rules": {"type": "array", "items": {"type": "object"}}})
    with pytest.raises(CannotDraft, match="it needs extra: an object without named parts"):
        draft("a", "Add it.", {"extra": {"type": "object"}})


def test_forms_of_words() -> None:
    assert [find_base(word) for word in ("Books", "applies", "searches", "creating", "moves", "house")] == [
        *("book", "apply", "search", "create", "move", None)
    ]
    assert [make_participle(verb) for verb in ("book", "send", "turn on", "apply", "cancel")] == [
        *("booked", "sent", "turned on", "applied", "cancelled")
    ]
    assert [make_gerund(verb) for verb in ("book", "set up", "make", "cancel", "put")] == [
        *("booking", "setting up", "making", "cancelling", "putting")
    ]
    assert [singular(word) for word in ("orders", "boxes", "cities", "people", "status", "addresses")] == [
        *("order", "box", "city", "person", "status", "address")
    ]
    assert [plural(word) for word in ("order", "box", "city", "person", "weather")] == [
        *("orders", "boxes", "cities", "people", "weather")
    ]


def test_the_name_of_a_file() -> None:
    sources = [
        "my_tools:TOOLS",
        "a.b:book",
        "openapi:docs/shop.yaml",
        "openapi:https://api.example.org/v1",
        "builtin:*",
    ]
    assert [name_file(each) for each in sources] == ["my_tools", "a_b_book", "shop", "api_example_org", "builtin"]


def test_a_phrase_says_what_people_say_even_where_a_first_word_is_a_noun() -> None:
    spec = ToolSpec("find_by_author", "Books of an author in our catalogue.", effects="none")
    phrase = read_phrase(spec, [])
    assert (phrase.verb, phrase.thing + phrase.fixed) == ("find", "books of an author in our catalogue")


def test_odd_schemas_never_raise() -> None:
    odd: list[Any] = [
        {"x": {"$ref": "#/$defs/Loop"}},
        {"x": {"anyOf": [{"type": "null"}, {"type": "integer", "minimum": 3, "maximum": 3}]}},
        {"x": {"type": ["string", "null"], "enum": ["a", None]}},
        {"x": {"const": 3}},
        {"x-y z": {"type": "string"}},
        {"": {"type": "string"}},
        {"x": True},
        {"x": {"type": "string", "minLength": 500}},
        {"x": {"type": "string", "maxLength": 1}},
        {"x": {"type": "number", "minimum": -1, "maximum": 0.5, "multipleOf": 0.25}},
        {"x": {"type": "array", "items": {}, "minItems": 9}},
    ]
    for properties in odd:
        parameters = {"type": "object", "properties": properties, "$defs": {"Loop": {"$ref": "#/$defs/Loop"}}}
        try:
            tool = make_tool(ToolSpec("t", "Do it.", {**parameters, "required": [*properties]}), lambda **_: "ok")
            item = draft_sheet(tool, "t", TakenWords()).item
        except (CannotDraft, ConfigError):
            continue
        assert json.dumps(item)


HIVES = '''
from typing import Literal

from alpha_umi import declare_effects


@declare_effects("once")
def feed_hive(hive: int, kilograms: float) -> str:
    """Feed a hive."""
    return ""


@declare_effects("none")
def weigh_hive(hive: int) -> str:
    """Tell how heavy a hive is."""
    if hive not in (3, 4, 9):
        raise ValueError("there is no such hive")
    return f"Hive {hive} has 30 kg."


TOOLS = [feed_hive, weigh_hive]
'''


def test_values_that_a_tool_takes_are_found_by_trying_and_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"hives_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(HIVES)
    monkeypatch.chdir(tmp_path)
    feed, weigh = load_items(write_sheets(f"{name}:TOOLS", tmp_path).path)
    assert feed["parameters"]["hive"]["from"] == weigh["parameters"]["hive"]["from"] == [3, 4, 9]
    assert weigh["answer"] == "{reply}"
    assert "Check how heavy hive {hive} is." in weigh["ask"]
    assert "Feed hive {hive} with {kilograms} kilograms." in feed["ask"]


MORE_SENTENCES = [
    (
        "read_scale",
        "Read the weight of a hive from its scale.",
        {"hive": "integer"},
        "What is the weight of hive {hive}?",
    ),
    (
        "get_pupil",
        "Return a pupil's licence class and the number of lessons taken.",
        {"name": "string"},
        "Show me {name}'s licence class and the number of lessons taken.",
    ),
    (
        "log_find",
        "Add a new find to the catalogue.",
        {"trench": "string", "depth_cm": "integer"},
        "Add a new find to the catalogue with trench {trench} and depth {depth_cm} cm.",
    ),
    (
        "date_layer",
        "Tell from which period a layer of soil is.",
        {"layer": "integer"},
        "Do you know from which period layer {layer} of soil is?",
    ),
    (
        "describe_hive",
        "Give the place, the queen and the frames of a hive.",
        {"hive": "integer"},
        "What are the place and the queen and the frames of hive {hive}?",
    ),
    ("treat_mites", "Note that a hive was treated.", {"hive": "integer"}, "Note that hive {hive} was treated."),
    ("find_bike", "Find bikes that we sell.", {"kind": "string"}, "I'm looking for {kind} bikes."),
]


@pytest.mark.parametrize(("name", "description", "types", "sentence"), MORE_SENTENCES)
def test_another_wording_that_a_person_would_say(
    name: str, description: str, types: dict[str, str], sentence: str
) -> None:
    item = draft(name, description, {key: {"type": kind} for key, kind in types.items()})
    assert sentence in item["ask"]


def test_a_list_of_objects_is_said_one_by_one() -> None:
    line = {"type": "object", "properties": {"product": {"type": "string"}, "quantity": {"type": "integer"}}}
    lines = {"type": "array", "items": {**line, "required": ["product", "quantity"]}}
    item = draft("place_order", "Place an order.", {"lines": lines})
    assert item["parameters"]["lines"]["items"]["words"] == ["{quantity} {product}"]
    assert item["parameters"]["lines"]["items"]["properties"]["quantity"] == {"from": "int 2..12"}
