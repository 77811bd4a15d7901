"""What a model and a stranger chose together is checked in bounded work, off the event loop and within the limit."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpha_umi.tools.convert import make_tool
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.tools.toolbox import NOT_BEGUN, Toolbox

_MAX_CPU_S = 5.0  # what is not bounded takes minutes
_MAX_CHARS = 100_000


def nest(schema: Any, depth: int) -> Any:
    for _ in range(depth):
        schema = {"contains": schema, "items": schema, "anyOf": [schema, {"contains": schema}]}
    return schema


PARTS = st.sampled_from(
    [
        {"uniqueItems": True},
        {"enum": [{"a": i} for i in range(2000)]},
        {"items": {"enum": [[i] * 50 for i in range(2000)]}},
        {"const": {"a": [1] * 5000}},
        {"patternProperties": {f"a{i}$": {} for i in range(300)}},
        {"propertyNames": {"pattern": "(a|aa|aaa){1,200}$"}},
        {"items": {"pattern": "^([a-z]{0,90}[0-9]?){0,90}$"}},
        {"contains": {"contains": {"contains": {"const": 5}}}},
        {"not": {"items": {"type": "string"}}},
        {"type": "string"},
        nest({"type": "string"}, 4),
    ]
)
VALUES = st.sampled_from(
    [
        lambda n: [{"a": i} for i in range(n)],
        lambda n: [10**30 + i for i in range(n)],
        lambda n: [[7] * 50 for i in range(n // 50)],
        lambda n: [[[1] * 30] * 30] * (n // 900),
        lambda n: {f"a{i}": 1 for i in range(n)},
        lambda n: ["a" * 900 + "!" for i in range(n)],
        lambda n: "a" * n * 500,
    ]
)


@given(
    st.lists(PARTS, min_size=1, max_size=4),
    st.sampled_from(["allOf", "anyOf", "oneOf"]),
    VALUES,
    st.integers(0, 40_000),
)
def test_check_of_hostile_arguments_ends_soon_in_few_words(parts: list[Any], key: str, make: Any, n: int) -> None:
    box = Toolbox(
        [make_tool(ToolSpec("t", "", {"properties": {"x": {key: parts}}, "required": ["y"]}), lambda x, y: "")]
    )
    arguments = {"x": make(n)}
    before = time.thread_time()
    fault = box.find_fault("t", arguments)
    assert fault
    assert time.thread_time() - before < _MAX_CPU_S
    assert len(fault) < _MAX_CHARS


class WaitingToolbox(Toolbox):
    """Checks arguments for as long as the test wants."""

    goes_on = threading.Event()

    def find_fault(self, *args: Any, **kwargs: Any) -> str:
        assert self.goes_on.wait(30)
        return super().find_fault(*args, **kwargs)


@pytest.fixture
def box() -> Toolbox:
    ran: list[str] = []

    async def note(x: str) -> str:
        ran.append(x)
        return "noted"

    made = WaitingToolbox([make_tool(ToolSpec("note", "", {"properties": {"x": {}}}), note)], timeout_s=30)
    made.goes_on, made.ran = threading.Event(), ran  # type: ignore[attr-defined]
    return made


async def test_event_loop_turns_while_arguments_are_checked(box: Any) -> None:
    asyncio.get_running_loop().call_soon(box.goes_on.set)
    assert (await box.aexecute("note", {"x": "a"}, "1")).content == "noted"


@pytest.mark.parametrize("is_async", [True, False])
def test_check_that_passes_the_limit_is_left_and_the_tool_never_begins(box: Any, is_async: bool) -> None:
    box._timeout_s = 0.05
    message = asyncio.run(box.aexecute("note", {"x": "a"}, "1")) if is_async else box.execute("note", {"x": "a"}, "1")
    assert message.text.startswith("note could not begin within 0.05 s and will not")
    assert message.additional_kwargs == {NOT_BEGUN: True}
    box.goes_on.set()
    box._timeout_s = 30
    assert box.execute("note", {"x": "b"}, "2").content == "noted"
    assert box.ran == ["b"]
