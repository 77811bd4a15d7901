import functools
from typing import Annotated, Any, Literal

import pytest
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import InjectedToolArg, InjectedToolCallId, StructuredTool, Tool, tool
from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field, field_validator, v1

from alpha_umi.errors import ConfigError
from alpha_umi.tools import Toolbox, ToolSpec, make_tool, spec_from_tool
from alpha_umi.tools.convert import runs_async, to_base_tool


class Point(BaseModel):
    """A place on the map."""

    x: int
    title: str = "here"


def weather(city: str, config: RunnableConfig, at: Point | None = None, unit: Literal["C", "F"] = "C") -> str:
    """Look up the weather.

    Args:
        city: Name of the city.
        at: Where in the city.

    Returns:
        The weather.
    """
    return city


async def later(seconds: float) -> str:
    """Wait."""
    return str(seconds)


def test_function_becomes_a_spec_without_noise() -> None:
    spec = spec_from_tool(to_base_tool(weather))
    assert spec == ToolSpec(
        "weather",
        "Look up the weather.",
        {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Name of the city."},
                "at": {
                    "anyOf": [{"$ref": "#/$defs/Point"}, {"type": "null"}],
                    "default": None,
                    "description": "Where in the city.",
                },
                "unit": {"type": "string", "enum": ["C", "F"], "default": "C"},
            },
            "required": ["city"],
            "additionalProperties": False,
            "$defs": {
                "Point": {
                    "type": "object",
                    "description": "A place on the map.",
                    "properties": {"x": {"type": "integer"}, "title": {"type": "string", "default": "here"}},
                    "required": ["x"],
                }
            },
        },
    )


def test_method_and_cached_function_become_tools() -> None:
    class Shop:
        def price(self, item: str) -> str:
            """Tell the price."""
            return item

    assert set(spec_from_tool(to_base_tool(Shop().price)).parameters["properties"]) == {"item"}
    assert to_base_tool(functools.cache(weather)).name == "weather"


def test_coroutine_function_becomes_a_coroutine_tool() -> None:
    assert runs_async(to_base_tool(later), on_loop=True)
    assert runs_async(to_base_tool(later), on_loop=False)
    assert not runs_async(to_base_tool(weather), on_loop=True)


def test_tool_with_both_ways_runs_the_way_its_caller_waits() -> None:
    both = StructuredTool.from_function(weather, later, name="both", description="Both.")
    assert runs_async(both, on_loop=True)
    assert not runs_async(both, on_loop=False)


def takes_several(*names: str) -> str:
    """Greet people."""
    return ", ".join(names)


def takes_in_order(a: int, /, b: int) -> int:
    """Add."""
    return a + b


class Opaque: ...


def takes_an_object(x: Opaque) -> None:
    """Take what JSON Schema cannot say."""


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (lambda x: x, "write a def"),
        (takes_several, r"'\*names' cannot be given by its name.*a list"),
        (takes_in_order, "'a' cannot be given by its name"),
        (len, "wrap anything else"),
        (int, "wrap anything else"),
        (functools.partial(weather, "Köln"), "wrap anything else"),
        ({"type": "web_search"}, "wrap anything else"),
        (None, "wrap anything else"),
    ],
)
def test_thing_that_is_no_tool_is_refused(thing: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        to_base_tool(thing)


def test_function_without_a_docstring_is_described_by_its_name(caplog: pytest.LogCaptureFixture) -> None:
    def find_openShops(city: str) -> str:
        return city

    spec = spec_from_tool(to_base_tool(find_openShops))
    assert (spec.name, spec.description) == ("find_openShops", "Find open shops.")
    assert [*spec.parameters["properties"]] == ["city"]
    assert "find_openShops has no docstring" in caplog.text


def test_arguments_without_json_schema_are_refused() -> None:
    with pytest.raises(ConfigError, match="have no JSON Schema"):
        spec_from_tool(to_base_tool(takes_an_object))


def with_optional_secret(x: int, user: Annotated[str, InjectedToolArg] = "guest") -> str:
    """Read a secret."""
    return user


def test_injected_argument_with_a_default_is_left_at_it() -> None:
    tool = to_base_tool(with_optional_secret)
    assert set(spec_from_tool(tool).parameters["properties"]) == {"x"}
    assert tool.invoke({"x": 1}) == "guest"


def with_call_id(x: int, call_id: Annotated[str, InjectedToolCallId]) -> str:
    """Read the call's id."""
    return call_id


def test_injected_call_id_is_not_shown_to_the_model() -> None:
    assert set(spec_from_tool(to_base_tool(with_call_id)).parameters["properties"]) == {"x"}


def with_own_config(query: str, config: str) -> None:
    """Search."""


def with_optional_config(query: str, config: RunnableConfig | None = None) -> None:
    """Search."""


@pytest.mark.parametrize("tool", [with_own_config, with_optional_config])
def test_argument_name_that_langchain_would_swallow_is_refused(tool: Any) -> None:
    with pytest.raises(ConfigError, match="keeps the argument name 'config'"):
        spec_from_tool(to_base_tool(tool))


class Inner(BaseModel):
    n_days: int = Field(alias="nDays")


class Mail(BaseModel):
    """A mail."""

    model_config = ConfigDict(alias_generator=str.upper, extra="forbid")

    sender: str = Field(alias="from", min_length=2, description="Who.")
    to: str = Field(validation_alias=AliasChoices("rcpt", "to"))
    first: int = Field(3, validation_alias=AliasPath("numbers", 0))
    plan: Inner
    cc: str | None = None

    @field_validator("sender")
    @classmethod
    def mark(cls, value: str) -> str:
        return f"{value}!"


@tool(args_schema=Mail)
def mail(sender: str, to: str, plan: Inner, first: int = 0, cc: str | None = None) -> str:
    """Send a mail."""
    return f"{sender} {to} {plan.n_days} {first} {cc}"


def test_arguments_with_aliases_go_by_the_names_of_their_fields() -> None:
    parameters = spec_from_tool(mail).parameters
    assert list(parameters["properties"]) == ["sender", "to", "first", "plan", "cc"]
    assert parameters["properties"]["sender"] == {"type": "string", "minLength": 2, "description": "Who."}
    assert parameters["required"] == ["sender", "to", "plan"]
    box = Toolbox([mail])
    assert box.specs[0].parameters == parameters
    given = {"sender": "ann", "to": "bob", "plan": {"nDays": 2}}
    assert box.execute("mail", given, "1").content == "ann! bob 2 3 None"
    assert box.execute("mail", {**given, "first": 7, "cc": "eve"}, "1").content == "ann! bob 2 7 eve"
    assert "from: there is no such argument" in box.execute("mail", {**given, "from": "ann"}, "1").content


def test_aliases_of_pydantic_1_are_named_by_their_fields_too() -> None:
    class Old(v1.BaseModel):
        sender: str = v1.Field(alias="from")
        n: int = 3

    tool = StructuredTool.from_function(
        lambda sender, n=3: f"{sender} {n}", name="mail", description="Mail.", args_schema=Old
    )
    box = Toolbox([tool])
    assert list(box.specs[0].parameters["properties"]) == ["sender", "n"]
    assert box.execute("mail", {"sender": "ann"}, "1").content == "ann 3"
    assert Old.__fields__["sender"].alias == "from"


def test_function_with_an_alias_is_called_by_its_own_name() -> None:
    def greet(name: Annotated[str, Field(alias="class")]) -> str:
        """Greet."""
        return f"hello {name}"

    assert Toolbox([greet]).execute("greet", {"name": "ann"}, "1").content == "hello ann"


def test_single_input_tool_takes_one_string() -> None:
    spec = spec_from_tool(Tool("echo", lambda text: text, "Repeat."))
    assert spec.parameters == {
        "type": "object",
        "properties": {"tool_input": {"type": "string"}},
        "required": ["tool_input"],
    }


def test_made_tool_has_its_spec_and_passes_every_name() -> None:
    text = {"type": "string"}
    properties = {"config": text, "run_manager": text, "self": text, "from": text, "X-Key": text}
    spec = ToolSpec("call", "Call.", {"type": "object", "properties": properties})
    tool = make_tool(spec, lambda **arguments: arguments)
    assert spec_from_tool(tool) == spec
    assert tool.invoke(dict.fromkeys(properties, "v")) == dict.fromkeys(properties, "v")


def test_made_tool_runs_in_a_toolbox() -> None:
    spec = ToolSpec("call", "Call.", {"type": "object", "properties": {"config": {"type": "string"}}})
    toolbox = Toolbox([make_tool(spec, lambda **arguments: arguments)])
    assert toolbox.execute("call", {"config": "v"}, "1").content == '{"config":"v"}'


async def test_made_tool_runs_a_coroutine() -> None:
    async def call(**arguments: Any) -> Any:
        return arguments

    tool = make_tool(ToolSpec("call", "Call."), call)
    assert await tool.ainvoke({"config": "v"}) == {"config": "v"}
    assert runs_async(tool, on_loop=False)


async def test_make_tool_sync_function_works_when_awaited() -> None:
    tool = make_tool(ToolSpec("double", "", {"properties": {"n": {"type": "integer"}}}), lambda n: 2 * n)
    assert await tool.ainvoke({"n": 4}) == 8
