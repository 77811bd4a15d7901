import json
import random
import re
from collections import Counter
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.trajectory import Step
from alpha_umi.tools.toolbox import Toolbox
from alpha_umi.training.data.sheets.form import ToolSheet
from alpha_umi.training.data.sheets.load import load_sheets, load_world
from alpha_umi.training.data.sheets.request import (
    draw_chained,
    draw_coordinated,
    draw_follow_up,
    draw_incomplete,
    draw_need,
    list_wordings,
    make_answer,
    make_sheet_tool,
    tell_plainly,
)
from alpha_umi.training.data.sheets.tasks import SHARES, World
from alpha_umi.training.data.sheets.wording import parse_source, parse_wording

SHEET = """
domain: barber
values:
  barber: [Nadia, Old Pete, Kim]
tools:
- name: book
  description: Book a haircut.
  parameters:
    barber: {from: barber, what: which barber}
    day: {from: date, what: the day}
    time: {from: time, optional: true}
    beard: {type: boolean, optional: true, say: {true: with a beard trim}}
  effects: once
  ask:
  - "Book {barber}[ for {day}][ at {time}][ {beard}]."
  - "A haircut with {barber}[ on {day}], please."
  - "I want {barber}[ on {day}]."
  - "Get me in with {barber}[ on {day}]."
  again: ["And for {day}?"]
  cannot: book a haircut
  returns: {number: id HC-####}
  reply: {number: "{number}", barber: "{barber}"}
  answer: Booked with {barber}, number {number}.
  fails: ["{barber} is ill"]
- name: cancel
  description: Cancel a booking.
  parameters:
    number: {from: id HC-#### or book.number}
  ask: ["Cancel {number}."]
  then: {number: ["Cancel it again."]}
  cannot: cancel a booking
  reply: "{number} is cancelled."
- name: place
  description: Where to send a barber.
  parameters:
    address: {properties: {street: {from: street}, floor: {from: int 1..9, optional: true}}}
    tags: {items: {enum: [quick, kids_welcome]}, count: [1, 2]}
  ask: ["Send someone to {address.street}[, floor {address.floor}], who is {tags}."]
  cannot: send a barber
  reply: ok
  answer: Someone comes to {address.street}.
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "barber.yaml").write_text(SHEET)
    return tmp_path


@pytest.fixture
def sheets(folder: Path) -> dict[str, ToolSheet]:
    return {sheet.tool.name: sheet for sheet in load_sheets(folder)}


def test_values_of_every_kind_are_said_and_taken() -> None:
    rng = random.Random(1)
    drawn = {
        text: [parse_source(text, {})(rng) for _ in range(50)] for text in ("int 1..9", "date", "time", "id A-##@")
    }
    assert all(1 <= value.argument <= 9 for value in drawn["int 1..9"])
    assert {"three", "3"} <= {value.said for value in drawn["int 1..9"] if value.argument == 3} | {"three", "3"}
    assert all(len(value.argument) == 10 and value.argument[4] == "-" for value in drawn["date"])
    assert any(value.said != value.argument for value in drawn["date"])
    assert all(value.argument.startswith("A-") and value.said == value.argument for value in drawn["id A-##@"])


def test_a_source_that_is_none_lists_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"barbers.*lists here are barber"):
        parse_source("barbers", {"barber": ["Kim"]})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Book {who}.", "no parameter; there are barber, day"),
        ("Book {barber} and {barber}.", "said twice"),
        ("Book {barber", "not closed"),
        ("Book [{barber} [on {day}]].", "not closed"),
        ("Book {barber}[ soon].", "nothing says when"),
    ],
)
def test_a_wrong_wording_says_what_is_wrong(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        parse_wording(text, ["barber", "day"])


def test_brackets_go_with_their_slots() -> None:
    wording = parse_wording("book {barber}[ for {day}][, {beard}] .", ["barber", "day", "beard"])
    assert wording.fill({"barber": "Kim", "beard": "beard too"}) == "Book Kim, beard too."
    assert wording.fill({"barber": "Kim", "day": "2027-01-01"}) == "Book Kim for 2027-01-01."


def test_a_typing_error_spares_the_values() -> None:
    wording = parse_wording("Please book a haircut with {barber} tomorrow.", ["barber"])
    texts = {wording.fill({"barber": "Nadia"}, typo=random.Random(i)) for i in range(40)}
    assert len(texts) > 10
    assert all("Nadia" in text for text in texts)


def test_every_value_of_a_call_is_said(sheets: dict[str, ToolSheet]) -> None:
    rng = random.Random(2)
    for sheet in sheets.values():
        for _ in range(30):
            need = draw_need(sheet, rng)
            assert all(value.said.lower() in need.text.lower() for value in need.values.values())


def test_a_call_satisfies_the_schema_and_the_answer_says_the_reply(sheets: dict[str, ToolSheet]) -> None:
    toolbox = Toolbox([make_sheet_tool(sheet) for sheet in sheets.values()])
    rng = random.Random(3)
    for sheet in sheets.values():
        for _ in range(20):
            need = draw_need(sheet, rng)
            assert toolbox.execute(sheet.tool.name, need.arguments, "1").status == "success"
    booking = draw_need(sheets["book"], rng)
    reply = toolbox.execute("book", booking.arguments, "1").text
    assert make_answer(sheets["book"], booking.arguments).split("number ")[1].rstrip(".") in reply


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        ('{"claimNo": "CL12", "paid": true}', "Claim no: CL12, paid: yes."),
        ('{"waits_for": ["photos", "bill"], "at": {"door.no": 2.0}}', "Waits for: photos and bill, at door no: 2."),
        ('{"note": "All is well."}', "Note: All is well."),
        ('{"rows": [{"a": 1}]}', None),
        ("[1, 2]", None),
        ("{}", None),
        ("7.02", None),
        ("Order 5 is cancelled.", None),
    ],
)
def test_a_reply_is_told_field_by_field(reply: str, told: str | None) -> None:
    assert tell_plainly(reply) == told


def test_some_answers_tell_the_reply_field_by_field_and_others_in_the_words_of_the_sheet() -> None:
    world = World([sheet for sheet in load_world() if not sheet.held_out][:80])
    plain: Counter[bool] = Counter()
    for seed in range(60):
        (turn, *_) = world.make(random.Random(seed), n_requests=1).trajectory.turns
        replies = [call.observation.text for step in turn.steps for call in step.calls if call.observation]
        told = [tell_plainly(reply) for reply in replies]
        plain.update(each in (turn.steps[-1].answer or "") for each in told if each and turn.steps[-1].answer)
    assert min(plain[True], plain[False]) > 5


def test_nested_objects_and_lists_of_enums(sheets: dict[str, ToolSheet]) -> None:
    drawn = [draw_need(sheets["place"], random.Random(i)).arguments for i in range(30)]
    assert {frozenset(each["address"]) for each in drawn} == {frozenset({"street"}), frozenset({"street", "floor"})}
    assert all(
        set(each["tags"]) <= {"quick", "kids_welcome"} and len(set(each["tags"])) == len(each["tags"]) for each in drawn
    )


def test_a_bracket_with_a_required_value_is_always_said(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SHEET.replace("[ for {day}][ at {time}]", "[ for {day} at {time}]"))
    book = next(sheet for sheet in load_sheets(tmp_path) if sheet.tool.name == "book")
    assert all("day" in draw_need(book, random.Random(i)).values for i in range(80))


def test_an_incomplete_request_lacks_one_value_and_says_which(sheets: dict[str, ToolSheet]) -> None:
    need = draw_incomplete(sheets["book"], random.Random(4))
    assert need is not None
    assert need.missing == "day"
    assert "day" not in need.values
    assert draw_incomplete(sheets["cancel"], random.Random(4)) is None


def test_a_chain_takes_the_result(sheets: dict[str, ToolSheet]) -> None:
    first = draw_need(sheets["book"], random.Random(5))
    second = draw_chained(first, sheets["cancel"], random.Random(5))
    assert second is not None
    assert second.text == "Cancel it again."
    assert str(second.arguments["number"]) in make_answer(sheets["book"], first.arguments)


def test_a_follow_up_keeps_what_it_does_not_say(sheets: dict[str, ToolSheet]) -> None:
    need = draw_need(sheets["book"], random.Random(7))
    again = draw_follow_up(need, random.Random(8))
    assert again is not None or "day" not in need.values
    if again is not None:
        assert again.arguments["barber"] == need.arguments["barber"]
        assert again.text.startswith("And for ")


def test_held_out_wordings_are_others(folder: Path) -> None:
    for sheet in load_sheets(folder):
        train, held_out = (list_wordings(sheet, held_out=each) for each in (False, True))
        is_enough = len(sheet.wordings) >= 4
        assert bool(set(train) & set(held_out)) != is_enough
        assert len(held_out) == 1
        assert len(train) + len(held_out) == len(sheet.wordings) + (not is_enough)
    many = [each for sheet in load_world() for each in list_wordings(sheet, held_out=True)]
    assert len(many) > 5


ORDERS = """
domain: shop
tools:
- name: order
  description: Order things.
  parameters:
    lines:
      items:
        words: ["{amount} {item}[ in {colour}]", "about {amount} pieces of {item}"]
        properties: {item: {from: [pen, Ink]}, amount: {from: int 20..99}, colour: {from: [red, blue], optional: true}}
      count: [1, 3]
  effects: once
  ask: ["Order {lines}.", "Get {lines}.", "We need {lines}.", "{lines}, please"]
  cannot: order
  reply: Ordered.
"""


def test_objects_in_lists_are_said_in_words_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(ORDERS)
    (sheet,) = load_sheets(tmp_path)
    needs = [draw_need(sheet, random.Random(i)) for i in range(40)]
    for need in needs:
        lines = need.arguments["lines"]
        assert 1 <= len(lines) <= 3
        for line in lines:
            words = [f"{line['amount']} {line['item']}", f"about {line['amount']} pieces of {line['item']}"]
            assert any(each in need.text for each in words)
            assert line.get("colour", "") in need.text
    assert any("colour" in line for need in needs for line in need.arguments["lines"])
    for wrong, said in [
        ('words: ["{amount} {item}[ in {colour}]", "about {amount} pieces of {item}"]', "say how one of the list is"),
        ("[ in {colour}]", "is no parameter"),
        ("about {amount} pieces of {item}", "does not say {amount}"),
    ]:
        changed = {"[ in {colour}]": "[ in {color}]", "about {amount} pieces of {item}": "a few of {item}"}
        (tmp_path / "shop.yaml").write_text(ORDERS.replace(wrong, changed.get(wrong, "words: []")))
        with pytest.raises(ConfigError, match=rf"shop\.yaml, line \d+: .*{re.escape(said)}"):
            load_sheets(tmp_path)


def test_a_tool_is_asked_for_twice_in_the_same_words(folder: Path) -> None:
    made = [World(load_sheets(folder)).make(random.Random(i), n_requests=1) for i in range(600)]
    asked = [each.trajectory.turns[0].instruction.lower() for each in made if each.kinds[0] == "same tool"]
    assert any(text.count("get me in with") > 1 for text in asked)


def test_two_values_in_one_sentence_are_two_calls(folder: Path) -> None:
    book = load_sheets(folder)[0]
    drawn = [each for each in (draw_coordinated(book, random.Random(i)) for i in range(60)) if each]
    assert len(drawn) > 30
    for (first, second), text, quotes in drawn:
        differ = [path for path in first.values if first.values[path] != second.values[path]]
        assert len(differ) == 1
        assert text.startswith(quotes[0])
        assert text.endswith(quotes[1])
        assert quotes[0].lower().endswith(first.values[differ[0]].said.lower())
        assert quotes[1].lower().startswith(second.values[differ[0]].said.lower())
    made = [World(load_sheets(folder)).make(random.Random(i), n_requests=1) for i in range(300)]
    steps = [each.trajectory.turns[0].steps for each in made if each.kinds[0] == "same tool"]
    assert any(step.rationale.startswith("Part 2 (Old Pete") for all_steps in steps for step in all_steps)


def test_conversations_are_right_and_repeatable(folder: Path) -> None:
    world = World(load_sheets(folder))
    kinds = set()
    for i in range(150):
        made = world.make(random.Random(i))
        kinds |= set(made.kinds)
        offered = {tool.name for tool in made.trajectory.tools}
        for turn in made.trajectory.turns:
            assert turn.steps[-1].decision in ("conclusion", "give up")
            for step in turn.steps:
                assert {call.name for call in step.calls} <= offered
        assert made == world.make(random.Random(i))
    assert kinds == set(SHARES)


def test_what_no_tool_can_do_has_no_tool_for_it(folder: Path) -> None:
    world = World(load_sheets(folder))
    refused = 0
    for i in range(200):
        made = world.make(random.Random(i))
        for kind, turn in zip(made.kinds, made.trajectory.turns, strict=True):
            if kind == "no tool":
                refused += 1
                (step,) = turn.steps
                assert step.decision == "give up"
                said = re.fullmatch(r"Part 1 \((.+)\): no tool can (.+)\.", step.rationale)
                assert said is not None
                assert said[1] in turn.instruction
                offered = {tool.name for tool in made.trajectory.tools}
                names = {"book a haircut": "book", "cancel a booking": "cancel", "send a barber": "place"}
                assert names[said[2]] not in offered
    assert refused > 10


@pytest.mark.parametrize("cannot", ["send a barber", "cancel a booking"])
def test_requests_in_vain_leave_a_tool_on_offer(folder: Path, cannot: str) -> None:
    (folder / "barber.yaml").write_text(SHEET.replace("cannot: send a barber", f"cannot: {cannot}"))
    world, refused = World(load_sheets(folder)), Counter[int]()
    for i in range(400):
        made = world.make(random.Random(i), n_requests=4)
        assert made.trajectory.tools
        refused[made.kinds.count("no tool")] += 1
    assert refused[2 if cannot == "send a barber" else 1] > 10


def test_a_request_in_vain_leaves_a_tool_among_many_that_could_do_it(folder: Path) -> None:
    place = SHEET[SHEET.index("- name: place") :]
    (folder / "barber.yaml").write_text(SHEET + "".join(place.replace("place", f"place{i}") for i in range(9)))
    world = World(load_sheets(folder))
    made = [world.make(random.Random(i), n_requests=1) for i in range(500)]
    assert all(each.trajectory.tools for each in made)
    # where only tools that could do it are drawn
    assert sum(each.kinds == ("no tool",) and len(each.trajectory.tools) == 1 for each in made) > 2


def test_what_is_not_said_is_left_out_of_the_call(folder: Path) -> None:
    world, n_missing = World(load_sheets(folder)), 0
    for i in range(200):
        made = world.make(random.Random(i))
        for kind, turn in zip(made.kinds, made.trajectory.turns, strict=True):
            if kind == "missing":
                n_missing += 1
                step, end = turn.steps
                (call,) = step.calls
                assert re.fullmatch(rf"Part 1 \((.+)\): I call {call.name}\.", step.rationale)
                assert isinstance(call.arguments, dict)
                assert "barber" in call.arguments
                assert "day" not in call.arguments
                assert call.observation is not None
                assert call.observation.is_error
                assert "day: missing" in call.observation.text
                assert end == Step("The request does not say the day.", "give up")
    assert n_missing > 10


def test_a_tool_may_have_the_user_asked_for_what_is_missing(folder: Path) -> None:
    (folder / "barber.yaml").write_text(SHEET.replace("  effects: once\n", "  effects: once\n  missing: ask\n"))
    world, n_asked = World(load_sheets(folder)), 0
    for i in range(60):
        made = world.make(random.Random(i), n_requests=1)
        if made.kinds == ("missing",):
            n_asked += 1
            step, end = made.trajectory.turns[0].steps
            assert step.calls[0].observation is not None
            assert step.calls[0].observation.is_error
            reason, answer = "The request does not say the day.", "Please tell me the day."
            assert end == Step(reason, "conclusion", answer=answer)
            assert made.expected == ()
    assert n_asked > 2


def test_a_chained_call_says_which_result_it_goes_on_with(folder: Path) -> None:
    world, n_chained = World(load_sheets(folder)), 0
    for i in range(200):
        made = world.make(random.Random(i))
        for kind, turn in zip(made.kinds, made.trajectory.turns, strict=True):
            if kind == "chain":
                n_chained += 1
                first, second, _ = turn.steps
                assert first.calls[0].observation is not None
                number = json.loads(first.calls[0].observation.text)["number"]
                assert second.calls[0].arguments == {"number": number}
                assert re.fullmatch(rf"Part 2 \(.+\) with {number}: I call cancel\.", second.rationale)
                assert number not in turn.instruction
            else:
                assert not any(re.search(r"\) with .+: I call", step.rationale) for step in turn.steps)
    assert n_chained > 10


def test_no_rationale_repeats_an_argument(folder: Path) -> None:
    world = World(load_sheets(folder))
    for i in range(100):
        steps = [step for turn in world.make(random.Random(i)).trajectory.turns for step in turn.steps]
        for step in (step for step in steps if step.calls):
            assert step.rationale.endswith(f": I call {step.calls[0].name}.")


FAULTS: list[tuple[str, str, str]] = [
    ('  - "I want {barber}[ on {day}]."', '  - "I want {barber}."', r"line \d+: book: .*does not say \{day\}"),
    ("[ at {time}]", " at {time}", r"put \{time\} in brackets; it is optional"),
    ("from: barber,", "from: barbers,", "names no list"),
    ("or book.number", "or book.id", r"'book.id' is no TOOL.VALUE of this file; there are book.number"),
    ("then: {number:", "then: {nr:", "nr is no parameter"),
    ("  answer: Booked with {barber}, number {number}.\n", "", "a reply that is no text needs an answer"),
    ('reply: "{number} is cancelled."', 'reply: "{nummer} is cancelled."', r"\{nummer\} is neither"),
    ("- name: cancel", "- name: book", "there is a tool 'book' already"),
    ("effects: once", "effects: twice", r"line \d+: tools.0.effects: Input should be"),
    ("cannot: cancel a booking\n", "canot: cancel a booking\n", "line .*canot: Extra inputs"),
]


@pytest.mark.parametrize(("old", "new", "problem"), FAULTS)
def test_faults_name_file_and_line(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert old in SHEET
    (tmp_path / "barber.yaml").write_text(SHEET.replace(old, new))
    with pytest.raises(ConfigError, match=problem) as error:
        load_sheets(tmp_path)
    assert "barber.yaml, line " in str(error.value)


def test_an_empty_folder_and_a_broken_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no \.yaml file"):
        load_sheets(tmp_path)
    (tmp_path / "a.yaml").write_text(dedent("domain: [\n"))
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_sheets(tmp_path)


def test_words_that_yaml_1_1_takes_for_something_else_stay_words(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SHEET.replace("[Nadia, Old Pete, Kim]", "[on, no, 12:30, 2027-01-01]"))
    values: Any = next(iter(load_sheets(tmp_path))).lists["barber"]
    assert values == ["on", "no", "12:30", "2027-01-01"]


def test_the_world_that_ships_can_be_read() -> None:
    sheets = load_world()
    assert len(sheets) >= 1000
    assert len({sheet.domain for sheet in sheets}) >= 120
    assert len({sheet.domain for sheet in sheets if sheet.held_out}) == 12
    for i in range(20):
        assert World(sheets).make(random.Random(i)).trajectory.turns
