"""What drafts say of results: told by schemas, and taken by the next tool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from alpha_umi.training.data.dataset import Tally
from alpha_umi.training.data.sheets.draft.write import write_sheets
from alpha_umi.training.data.sheets.load import PlainLoader, check_sheets
from alpha_umi.training.data.sources.world import read

SHOP = """
openapi: 3.0.3
info: {title: Shop, version: "1"}
servers: [{url: "https://shop.example/v1"}]
paths:
  /orders:
    post:
      operationId: createOrder
      summary: Create an order.
      requestBody:
        content: {application/json: {schema: {type: object, required: [item], properties: {item: {type: string}}}}}
      responses: {"400": {description: wrong}, "201": {$ref: "#/components/responses/Order"}}
  /orders/{orderId}:
    parameters: [{name: orderId, in: path, required: true, schema: {type: string}}]
    get:
      operationId: getOrder
      summary: Get an order.
      responses: {"200": {$ref: "#/components/responses/Order"}}
    delete:
      operationId: cancelOrder
      summary: Cancel an order.
      responses: {"204": {description: gone}}
components:
  responses:
    Order: {description: ok, content: {application/json: {schema: {allOf: [{$ref: "#/components/schemas/Order"}]}}}}
  schemas:
    Order:
      type: object
      properties:
        id: {type: string, readOnly: true}
        state: {type: string, enum: [open, shipped]}
        secret: {type: string, writeOnly: true}
"""
STAFF = """
from dataclasses import dataclass

from alpha_umi import declare_effects


@dataclass
class Person:
    id: str
    name: str


@declare_effects("none")
def find_employee(name: str) -> Person:
    '''Find an employee by name.'''
    return Person(f"P-{len(name):04}", name)


@declare_effects("none")
def list_rooms(city: str) -> dict:
    '''List meeting rooms in a city.'''
    return {"rooms": [{"id": 12, "seats": 4}]}


def pay_bonus(employee_id: str, amount: int) -> str:
    '''Pay a bonus to an employee.'''
    return ""


def clean_room(room_id: int) -> str:
    '''Clean a room.'''
    return ""


def clean_desk(desk_id: int) -> str:
    '''Clean a desk.'''
    return ""


def open_door(room_id: int = 1) -> str:
    '''Open the door of a room.'''
    return ""


TOOLS = [find_employee, list_rooms, pay_bonus, clean_room, clean_desk, open_door]
"""


def load(path: Path) -> dict[str, dict[str, Any]]:
    tools = yaml.load(path.read_text("utf-8"), Loader=PlainLoader)["tools"]
    return {item["tool"].partition("#")[2]: item for item in tools}


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("shop.yaml").write_text(SHOP)
    return write_sheets("openapi:shop.yaml", tmp_path / "sheets").path


@pytest.fixture
def staff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    name = f"staff_{tmp_path.name}"
    Path(f"{name}.py").write_text(STAFF)
    return write_sheets(f"{name}:TOOLS", tmp_path / "sheets").path


def test_a_reply_is_what_the_response_of_an_operation_is_described_as(shop: Path) -> None:
    sheets = load(shop)
    assert sheets["createOrder"]["returns"]["state"] == ["open", "shipped"]
    assert sheets["createOrder"]["reply"] == {"id": "{id}", "state": "{state}"}
    assert sheets["createOrder"]["answer"].endswith("id {id}, state {state}.")
    assert sheets["getOrder"]["reply"] == {"id": "{orderId}", "state": "{state}"}
    assert sheets["getOrder"]["answer"] == "Order {orderId}: state: {state}."
    assert sheets["cancelOrder"]["reply"] == {"status": "cancelled"}


def test_an_id_that_is_made_up_is_taken_by_the_tools_that_need_one(shop: Path) -> None:
    sheets = load(shop)
    source = sheets["cancelOrder"]["parameters"]["orderId"]["from"]
    assert source == f"{sheets['createOrder']['returns']['id']} or createOrder.id"
    assert "Cancel that order." in sheets["cancelOrder"]["then"]["orderId"]
    assert "{orderId}" not in str(sheets["cancelOrder"]["then"])
    assert not check_sheets([shop])[1]


def test_a_part_of_a_real_reply_is_taken_where_name_and_type_agree(staff: Path) -> None:
    sheets = load(staff)
    assert sheets["pay_bonus"]["parameters"]["employee_id"]["from"].endswith(" or find_employee.reply.id")
    assert sheets["clean_room"]["parameters"]["room_id"]["from"].endswith(" or list_rooms.reply.rooms.0.id")
    assert "then" not in sheets["clean_desk"]
    assert "then" not in sheets["open_door"]
    assert not check_sheets([staff])[1]


def test_chains_of_drafts_are_trained_with_what_the_first_tool_returned(staff: Path) -> None:
    steps = [
        [call for step in turn.steps for call in step.calls]
        for row in read(f"{staff},200", Tally(), seed=0)
        for turn in row.trajectory.turns
        if "that employee" in turn.instruction
    ]
    chained = [
        (first.arguments["name"], second.arguments["employee_id"])
        for first, second in (calls[:2] for calls in steps if len(calls) > 1)
        if (first.name, second.name) == ("find_employee", "pay_bonus")
        and isinstance(first.arguments, dict)
        and isinstance(second.arguments, dict)
    ]
    assert chained
    assert all(employee == f"P-{len(name):04}" for name, employee in chained)


@pytest.mark.parametrize(
    ("result", "fault"),
    [
        ("find_employee.reply.id", ""),
        ("find_employee.id", "'find_employee.id' is no TOOL.VALUE"),
        ("pay_bonus.reply.id", "'pay_bonus.reply.id' is no TOOL.VALUE"),
    ],
)
def test_a_part_of_a_reply_is_only_one_of_a_tool_that_is_run(staff: Path, result: str, fault: str) -> None:
    staff.write_text(staff.read_text("utf-8").replace("find_employee.reply.id", result), "utf-8")
    told = " ".join(str(each) for each in check_sheets([staff])[1])
    assert fault in told
    assert bool(fault) == bool(told)
