"""A short run of every target: the seeded inputs of ``make fuzz``, hypothesis, and what was found before."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz import runner
from fuzz.pieces import PIECES, FedRandom, make_json, make_text
from fuzz.targets import TARGETS, Target

N_EXECUTIONS = 20_000

FOUND = [
    ("messages", '[{"type": "human", "content": "?"}, {"type": "ai", "content": [{"x": 1}]}]'),
    ("messages", '[{"type": "human", "content": "?"}, {"type": "ai", "content": "", "tool_calls": [{"name": "a"}]}]'),
    ("messages", '[{"type": {"a": 1}, "content": "?"}]'),
    ("openapi", '{"openapi": "3.0.0", "paths": {"/x": {"get": {"parameters": [{"name": "a", "in": {}}]}}}}'),
    ("openapi", '{"openapi": "3.0.0", "paths": {"/x": {"get": {}}}, "servers": [{"url": "https://[a/"}]}'),
    ("openapi", '{"openapi": "3.0.0", "paths": {"/x": {"get": {}}}, "servers": [{"url": "https://0177.0.0.1/"}]}'),
    (
        "openapi",
        '{"openapi": "3.0.0", "paths": {"/x": {"get": {}}}, "servers": [{"url": "https://a.example/\\ud800"}]}',
    ),
    ("schema", '{"": {"$ref": {}}}'),
    ("schema", '{"properties": {"a": {"$ref": "#/properties/a"}}}'),
    ("data/complexfuncbench", '{"specs": []}\n{"input": "", "tools": [], "calls": []}'),
    ("data/toolalpaca", '{"Name": {}, "Documentation": "{}", "Function_Projection": {}}'),
    ("data/own", '{"a":' * 100_000),
    ("data/own", "[" + '{"a":' * 100_000),
    ("data/toolbench", '{"a":' * 100_000),
    ("data/own", '{"a": ' + "9" * 5000 + "}"),
    ("data/own", '[{"a": ' + "9" * 5000 + "}]"),
    ("data/gsm8k", json.dumps({"question": "?", "answer": "It is" + "\t" * 5000 + "\n#### 6"})),
]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Python warns of odd regular expressions, and readers of what they leave out."""
    warnings.simplefilter("ignore")
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", TARGETS)
def test_random_inputs_break_no_promise(name: str) -> None:
    count = runner.Count()
    wanted = N_EXECUTIONS // TARGETS[name].share
    for _ in runner.fuzz(name, count, wanted):
        assert count.crashes == []
    assert count.executions == wanted


@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if target.make is make_text])
@given(text=st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).map("".join))
def test_any_text_breaks_no_promise(name: str, text: str) -> None:
    TARGETS[name].run(text)


@pytest.mark.parametrize(("name", "text"), FOUND, ids=[f"{name}-{i}" for i, (name, _) in enumerate(FOUND)])
def test_input_that_broke_a_promise_once_does_so_no_more(name: str, text: str) -> None:
    assert runner.find_fault(name, text) == ""


def test_fault_is_found_counted_and_can_be_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(text: str) -> None:
        assert "caller" not in text

    monkeypatch.setitem(TARGETS, "plan", Target(fail, TARGETS["plan"].make))
    count = runner.Count()
    list(runner.fuzz("plan", count, N_EXECUTIONS))
    assert len(count.crashes) >= 10
    number = int(count.crashes[0].partition("input ")[2].partition(":")[0])
    assert "caller" in runner.make_input("plan", 0, number)


def test_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    first = runner._Session(tmp_path, 0, float("inf"), 700)
    first.run_random(["plan"])
    assert first.counts["plan random"].executions == 700
    second = runner._Session(tmp_path, 0, float("inf"), 1000)
    assert second.is_unfinished("plan random")
    second.run_random(["plan"])
    assert second.counts["plan random"].executions == 1000


def test_bytes_of_an_input_are_its_decisions() -> None:
    texts = {make_json(FedRandom(bytes([i]) * 40)) for i in range(200)}
    assert len(texts) > 50
    assert make_json(FedRandom(b"")) == make_json(FedRandom(b""))
