from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.tools.spec.arguments import render_violations
from alpha_umi.training.data.clean import describe_calls
from alpha_umi.training.data.vary_names import vary_names

NAMES = st.sampled_from(["city", "order_id", "maxPrice", "a", "properties", "required", "_", "größe", "list-of-ids"])
TOOL_NAMES = st.sampled_from(["search", "get_weather", "shop.orders.create", "X-lookup", "getX", "天气", "a1"])
SEEDS = range(40)


def schemas_with_values(depth: int = 2) -> st.SearchStrategy[tuple[dict[str, Any], Any]]:
    """Return schemas with a value that fits each: texts, lists, alternatives, references, objects, some free-form."""
    text = st.tuples(st.sampled_from([{"type": "string"}, {"type": "string", "description": "Which order_id."}]), NAMES)
    if not depth:
        return text
    inner = schemas_with_values(depth - 1)
    lists = inner.map(lambda pair: ({"type": "array", "items": pair[0]}, [pair[1]]))
    either = st.tuples(inner, inner).map(lambda two: ({"anyOf": [two[0][0], two[1][0]]}, two[1][1]))
    free = st.dictionaries(NAMES, inner.map(lambda pair: pair[1])).map(lambda value: ({"type": "object"}, value))
    return st.one_of(text, lists, either, free, objects_with_values(inner), st.just(({"$ref": "#/$defs/city"}, "a")))


@st.composite
def objects_with_values(draw: st.DrawFn, inner: st.SearchStrategy[tuple[dict[str, Any], Any]]) -> Any:
    parts = draw(st.dictionaries(NAMES, inner, max_size=4))
    said = [name for name in parts if draw(st.booleans())]
    closed: dict[str, Any] = draw(
        st.sampled_from([{}, {"additionalProperties": False}, {"patternProperties": {"^zz": {}}}])
    )
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: part for name, (part, _) in parts.items()},
        "required": said,
    }
    more = {} if closed else {name: "x" for name in draw(st.lists(NAMES, max_size=2)) if name not in parts}
    return schema | closed, {name: parts[name][1] for name in said} | more


@st.composite
def trajectories(draw: st.DrawFn) -> Trajectory:
    names = draw(st.lists(TOOL_NAMES, min_size=1, unique=True))
    tools, calls = [], []
    for number, name in enumerate(names):
        schema, arguments = draw(objects_with_values(schemas_with_values()))
        defs = {"$defs": {"city": {"type": "string"}}}
        tools.append(ToolSpec(name, draw(st.sampled_from(["", "Does it.", "See get_weather."])), schema | defs))
        calls.append(Call(f"c{number}", name, arguments, Observation(draw(st.sampled_from(["ok", "see a1"])))))
    steps = (Step(describe_calls(calls), "caller", tuple(calls)), Step("Done.", "conclusion", answer="Yes."))
    return Trajectory(tuple(tools), (Turn("Search the city.", steps),))


def call_pairs(one: Trajectory, two: Trajectory) -> Iterator[tuple[Call, Call]]:
    for before, after in zip(one.turns[0].steps, two.turns[0].steps, strict=True):
        yield from zip(before.calls, after.calls, strict=True)


def values_in(value: Any) -> list[Any]:
    """Return the values of arguments in order, without the names."""
    if isinstance(value, dict):
        return [values_in(part) for part in value.values()]
    return [values_in(part) for part in value] if isinstance(value, list) else value


@given(trajectories(), st.integers(0, 99))
def test_calls_fit_their_schemas_as_before(trajectory: Trajectory, seed: int) -> None:
    varied = vary_names(trajectory, random.Random(seed))
    assert Trajectory.from_row(varied.to_row()) == varied
    specs = {tool.name: tool for tool in varied.tools}
    assert len(specs) == len(trajectory.tools)
    for before, after in call_pairs(trajectory, varied):
        assert specs[after.name].make_validator().is_valid(after.arguments)
        assert values_in(after.arguments) == values_in(before.arguments)
    caller = varied.turns[0].steps[0]
    assert caller.rationale == describe_calls(caller.calls)
    assert vary_names(trajectory, random.Random(seed)) == varied


def make_one(*, rationale: str = "", observation: Observation | None = None, instruction: str = "Wie?") -> Trajectory:
    properties = {"order_id": {"type": "string", "description": "Number."}, "note": {"type": "string"}}
    shop = ToolSpec("get_order", "Looks it up.", {"type": "object", "properties": properties, "required": ["order_id"]})
    search = ToolSpec("search", "Searches; then get_order takes its order_id.")
    call = Call("1", "get_order", {"order_id": "17"}, observation or Observation("sent"))
    step = Step(f"{rationale}{describe_calls([call])}", "caller", (call,))
    return Trajectory((shop, search), (Turn(instruction, (step, Step("Done.", "conclusion", answer="It is sent."))),))


def vary_often(trajectory: Trajectory) -> list[Trajectory]:
    return [vary_names(trajectory, random.Random(seed)) for seed in SEEDS]


def test_names_get_styles_and_masks() -> None:
    varied = vary_often(make_one())
    names = {trajectory.tools[0].name for trajectory in varied}
    assert {"getOrder", "order.get", "get-order", "gt_ordr"} & names
    assert any(name.startswith("func") for name in names)
    assert len(names) > 8


def test_only_what_is_described_is_masked() -> None:
    arguments = [list(trajectory.tools[0].parameters["properties"]) for trajectory in vary_often(make_one())]
    assert any(first.startswith("arg") for first, _ in arguments)
    assert not any(second.startswith("a") for _, second in arguments)


def test_names_change_in_rationales_and_descriptions() -> None:
    for varied in vary_often(
        make_one(rationale="The search is over. Not search (it lacks order_id=), but get_order. ")
    ):
        (order, search), step = varied.tools, varied.turns[0].steps[0]
        name = next(iter(order.parameters["properties"]))
        said = f"The search is over. Not search (it lacks {name}=), but {order.name}. "
        assert step.rationale == said + describe_calls(step.calls)
        assert search.description == f"Searches; then {order.name} takes its {name}."
        assert step.calls[0].arguments == {name: "17"}


@pytest.mark.parametrize("instruction", ["Call get_order for 17.", "I want get_order(17)"])
def test_a_tool_that_the_user_names_keeps_its_name(instruction: str) -> None:
    assert {varied.tools[0].name for varied in vary_often(make_one(instruction=instruction))} == {"get_order"}


def test_a_result_that_names_a_tool_is_not_contradicted() -> None:
    varied = vary_often(make_one(observation=Observation("get_order is deprecated")))
    assert {trajectory.tools[0].name for trajectory in varied} == {"get_order"}


def test_errors_of_the_toolbox_say_the_new_names() -> None:
    trajectory = make_one()
    tool, step = trajectory.tools[0], trajectory.turns[0].steps[0]
    wrong: dict[str, Any] = {"order_id": 17}
    text = render_violations(tool, tool.make_validator(), wrong)
    calls = [
        Call("1", "get_order", wrong, Observation(text, is_error=True)),
        Call("2", "get_order", {"order_id": "1"}, Observation("get_order failed: no answer", is_error=True)),
    ]
    turn = Turn("Wie?", (Step("I call.", "caller", tuple(calls)), *trajectory.turns[0].steps[1:]))
    for varied in vary_often(Trajectory(trajectory.tools, (turn,))):
        new, (first, second) = varied.tools[0], varied.turns[0].steps[0].calls
        assert isinstance(first.arguments, dict)
        assert first.observation == Observation(render_violations(new, new.make_validator(), first.arguments), True)
        assert second.observation == Observation(f"{new.name} failed: no answer", True)
    assert step.calls[0].observation == Observation("sent")


def test_keys_that_no_schema_declares_are_data() -> None:
    schema = {"type": "object", "properties": {"order_id": {"type": "string"}, "labels": {"type": "object"}}}
    call = Call("1", "put", {"order_id": "1", "labels": {"order_id": "x"}}, Observation("ok"))
    trajectory = Trajectory((ToolSpec("put", "", schema),), (Turn("Put it.", (Step("", "caller", (call,)),)),))
    arguments = [varied.turns[0].steps[0].calls[0].arguments for varied in vary_often(trajectory)]
    assert all(list(each.values()) == ["1", {"order_id": "x"}] for each in arguments if isinstance(each, dict))
    assert len({str(each) for each in arguments}) > 3


@pytest.mark.parametrize(
    ("schema", "arguments"),
    [
        ({"properties": {"a_b": {}}, "patternProperties": {"^a_": {}}, "additionalProperties": False}, {"a_b": 1}),
        ({"properties": {"a_b": {}, "c": {}}, "dependentRequired": {"a_b": ["c"]}}, {"a_b": 1, "c": 2}),
        ({"properties": {"a_b": {"properties": {"c": {}}, "const": {"c": 1}}}}, {"a_b": {"c": 1}}),
        ({"properties": {"a_b": {"type": "string"}, "c": {"$ref": "#/properties/a_b"}}}, {"a_b": "x", "c": "y"}),
        ({"properties": {"a_b": {}}, "anyOf": [{"required": ["a_b"]}, {"required": ["c_d"]}]}, {"c_d": 1}),
        ({"allOf": [{"properties": {"a_b": {}}, "required": ["a_b"]}], "unevaluatedProperties": False}, {"a_b": 1}),
        ({"$ref": "#/$defs/x", "$defs": {"x": {"properties": {"a_b": {}}, "required": ["a_b"]}}}, {"a_b": 1}),
        ({"properties": {"a_b": {"$ref": "#"}}, "additionalProperties": False}, {"a_b": {"a_b": {}}}),
        ({"properties": {"a_b": {"type": "integer"}}}, {"a_b": 1, **dict.fromkeys(["aB", "AB", "a-b", "p_a_b"], "x")}),
        ({"properties": {"a_b": {"type": "integer"}, "aB": {}, "AB": {}}, "required": ["a_b"]}, {"a_b": 1, "AB": ""}),
    ],
)
def test_schemas_that_say_more_about_names(schema: dict[str, Any], arguments: dict[str, Any]) -> None:
    tool = ToolSpec("put_it", "", {"type": "object", **schema})
    assert tool.make_validator().is_valid(arguments)
    trajectory = Trajectory((tool,), (Turn("Put it.", (Step("", "caller", (Call("1", "put_it", arguments),)),)),))
    for varied in vary_often(trajectory):
        renamed = varied.turns[0].steps[0].calls[0].arguments
        assert varied.tools[0].make_validator().is_valid(renamed)
        assert values_in(renamed) == values_in(arguments)


def test_no_two_tools_get_one_name() -> None:
    tools = tuple(map(ToolSpec, ["get_it", "getIt", "GetIt", "get-it", "it.get", "api_get_it", "x"]))
    for varied in vary_often(Trajectory(tools, (Turn("Go."),))):
        assert len({tool.name for tool in varied.tools}) == len(tools)
