import gzip
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.tools import BaseTool

from alpha_umi.errors import ConfigError
from alpha_umi.tools import Toolbox, ToolSpec, load_tools
from alpha_umi.tools.replay import Recording, ReplayTask, load_task, make_key
from alpha_umi.tools.replay.complexfuncbench import load_complexfuncbench, parse_response, read_complexfuncbench

SHARED = Path(__file__).parents[3] / "shared" / "data" / "complexfuncbench_train.jsonl.gz"


def run(tools: list[BaseTool], name: str, /, **arguments: Any) -> tuple[str, str]:
    message = Toolbox(tools).execute(name, arguments, "1")
    return message.status, str(message.content)


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """Write a file of recordings of two tasks."""
    path = tmp_path / "runs.sqlite"
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(
            """
            CREATE TABLE tasks (id TEXT PRIMARY KEY, query TEXT NOT NULL);
            CREATE TABLE specs (
                task TEXT NOT NULL, name TEXT NOT NULL, description TEXT NOT NULL, parameters TEXT NOT NULL,
                PRIMARY KEY (task, name)
            );
            CREATE TABLE recordings (
                id INTEGER PRIMARY KEY, task TEXT NOT NULL, tool TEXT NOT NULL, arguments TEXT NOT NULL,
                text TEXT NOT NULL, is_error INTEGER NOT NULL, step INTEGER NOT NULL
            );
            INSERT INTO tasks VALUES ('task/1 #2', 'Go!'), ('t', '?');
            INSERT INTO specs VALUES ('t', 'f', 'Ä.', '{"type": "object", "properties": {"b": {}, "a": {}}}'),
                ('t', 'a', '', '{"type": "object", "properties": {}}');
            INSERT INTO recordings (task, tool, arguments, text, is_error, step) VALUES
                ('t', 'f', '{"a": [1, null]}', 'x', 1, 0), ('t', 'f', '{}', 'y', 0, 0);
            """
        )
    return path


def test_recorded_task_comes_back_whole(recorded: Path) -> None:
    spec = ToolSpec("f", "Ä.", {"type": "object", "properties": {"b": {}, "a": {}}})
    recordings = (Recording("f", {"a": [1, None]}, "x", True), Recording("f", {}, "y"))
    task = load_task(recorded, "t")
    assert task == ReplayTask("t", "?", (spec, ToolSpec("a")), recordings)
    assert run(task.make_tools(), "f", a=[1.0, None]) == ("error", "f failed: x")
    assert run(task.make_tools(), "f") == ("success", "y")
    assert load_task(recorded, "task/1 #2") == ReplayTask("task/1 #2", "Go!", (), ())


def test_answers_to_one_call_come_in_order_and_the_last_is_repeated() -> None:
    recordings = tuple(Recording("f", {"a": 1}, text, step=i) for i, text in enumerate("xyz"))
    task = ReplayTask("t", "", (ToolSpec("f"),), recordings)
    tools = task.make_tools()
    assert [run(tools, "f", a=1)[1] for _ in range(5)] == ["x", "y", "z", "z", "z"]
    assert run(task.make_tools(), "f", a=1)[1] == "x", "a new run starts anew"


def test_new_call_is_refused_without_telling_the_recorded_ones() -> None:
    task = ReplayTask("t", "", (ToolSpec("f"),), (Recording("f", {"secret_id": 17}, "x"),))
    status, text = run(task.make_tools(), "f", secret_id=18)
    assert status == "error"
    assert text == "f failed: this call was not recorded, so it cannot be replayed. Try other arguments."


def test_configuration_names_a_recorded_task(recorded: Path, tmp_path: Path) -> None:
    tool = load_tools([f"replay:{recorded}#t"])[0]
    assert tool.invoke({}) == "y"
    with pytest.raises(ConfigError, match=r"no recordings of task 'u'; it has task/1 #2, t\."):
        load_tools([f"replay:{recorded}#u"])
    with pytest.raises(ConfigError, match="write 'replay:FILE#TASK'"):
        load_tools([f"replay:{recorded}"])
    with pytest.raises(ConfigError, match=r"no recordings in '.*none'; correct the path"):
        load_tools([f"replay:{tmp_path}/none#t"])


def test_file_that_holds_something_else_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("no database at all, but long enough to be looked at" * 50)
    with pytest.raises(ConfigError, match=r"cannot be used: file is not a database. Name a file"):
        load_task(tmp_path / "x", "t")


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text(max_size=2), plain, max_size=4))
def test_key_depends_on_what_a_call_says_not_on_how_it_is_written(arguments: dict[str, Any]) -> None:
    def rewrite(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: rewrite(value[key]) for key in reversed(value)}
        if isinstance(value, list):
            return [rewrite(part) for part in value]
        is_small = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53
        return float(value) if is_small else value

    assert make_key("f", arguments) == make_key("f", rewrite(arguments))
    assert make_key("f", arguments) != make_key("g", arguments)
    assert make_key("f", arguments) != make_key("f", {**arguments, "more": 1})


SPECS = [
    {
        "name": "Find(Place)",
        "description": "Find.",
        "parameters": {
            "query": {"type": "string", "description": "What.", "required": True},
            "kind": {"type": "string", "required": False, "enum": ["a", "b"]},
        },
    },
    {
        "name": "Ride",
        "description": "Ride.",
        "parameters": {
            "lat": {"type": "number", "required": True},
            "id": {"type": "string", "required": False},
            "key": {"type": "string", "required": False},
        },
    },
]


def make_line(number: int, calls: list[tuple[str, dict[str, Any], Any]]) -> dict[str, Any]:
    rows = [
        {"name": name, "arguments": arguments, "label": f"var{i}", "response": response}
        for i, (name, arguments, response) in enumerate(calls, 1)
    ]
    return {"id": number, "input": " Go! ", "tools": ["Find(Place)", "Ride"], "calls": rows}


PLACES = [{"at": {"lat": "48.50", "lon": 1}, "id": 7}, {"at": {"lat": 49}, "id": 8}, {"note": "elsewhere"}]
CUT = '{"more": [{"vehicle": {"id": "v1"}}, {"vehicle": {"id": "v2"}}], "search": {"key": "abc", "lat": 1234'
LINES = [
    {"specs": SPECS},
    make_line(
        10,
        [
            ("Find(Place)", {"query": "x"}, PLACES),
            ("Ride", {"lat": "$var1.at.lat$", "id": "$var1.id$"}, {"price": 3}),
        ],
    ),
    make_line(11, [("Find(Place)", {"query": "x"}, CUT), ("Ride", {"lat": 1, "id": "$var1.vehicle.id$"}, "ok")]),
    make_line(
        12,
        [
            ("Find(Place)", {"query": "x"}, CUT),
            ("Ride", {"lat": 1, "id": "$var1.vehicle.id$", "key": "$var1.search.key$"}, "ok"),
        ],
    ),
    make_line(13, [("Find(Place)", {"query": "x"}, CUT), ("Ride", {"lat": "$var1.search.lat$"}, "ok")]),
    make_line(14, [("Find(Place)", {"query": "x", "kind": "c"}, "ok")]),
    make_line(15, [("Walk", {}, "ok")]),
    {"id": 16},
    [],
]


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "suite.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, LINES)).encode() + b'\n{"id": 17'))
    return path


def test_suite_resolves_references_to_every_item_that_fits(suite: Path) -> None:
    tasks = {task.id: task for task in load_complexfuncbench(suite)}
    assert list(tasks) == ["10", "11", "12"]
    assert tasks["10"].query == "Go!"
    assert [spec.name for spec in tasks["10"].specs] == ["Find_Place", "Ride"]
    ways = {id: [dict(r.arguments) for r in task.recordings if r.step == 1] for id, task in tasks.items()}
    assert ways == {
        "10": [{"lat": 48.5, "id": "7"}, {"lat": 49, "id": "8"}],
        "11": [{"lat": 1, "id": "v1"}, {"lat": 1, "id": "v2"}],
        "12": [{"lat": 1, "id": "v1", "key": "abc"}, {"lat": 1, "id": "v2", "key": "abc"}],
    }


def test_suite_is_replayed_and_checked(suite: Path) -> None:
    task = load_complexfuncbench(suite)[0]
    tools = task.make_tools()
    assert json.loads(run(tools, "Find_Place", query="x")[1]) == PLACES
    assert run(tools, "Ride", lat=49.0, id="8") == ("success", '{"price": 3}')
    assert run(tools, "Ride", lat=49.0, id="7")[0] == "error"
    assert "id: got 8" in run(tools, "Ride", lat=49, id=8)[1]
    assert task.sources == {0: frozenset(), 1: frozenset({0})}


def test_unsolvable_and_broken_tasks_are_reported(suite: Path) -> None:
    _, left_out = read_complexfuncbench(suite)
    assert [note.partition(":")[0] for note in left_out] == [
        "line 5",
        "line 6",
        *(f"line {n} cannot be read" for n in (7, 8, 9, 10)),
    ]
    assert "what var1 refers to was cut away" in left_out[0]
    assert "arguments that Find_Place does not allow" in left_out[1]


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"specs": [1]}', b"\xff\xfe"])
def test_wrong_suite_file_says_what_it_must_be(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.jsonl").write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read as ComplexFuncBench"):
        load_complexfuncbench(tmp_path / "x.jsonl")
    (tmp_path / "x.jsonl.gz").write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read as ComplexFuncBench"):
        load_complexfuncbench(tmp_path / "x.jsonl.gz")


@pytest.mark.skipif(not SHARED.exists(), reason="ComplexFuncBench is not here; it is the user's own copy")
def test_real_suite_can_be_solved_through_its_own_tools() -> None:
    tasks, left_out = read_complexfuncbench(SHARED)
    assert (len(tasks), len(left_out)) == (692, 92)
    for task in tasks[::10]:
        tools = Toolbox(task.make_tools())
        gold = {recording.step: recording for recording in reversed(task.recordings)}
        for recording in gold.values():
            assert tools.execute(recording.tool, recording.arguments, "1").status == "success"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
)


@given(VALUES, st.floats(0, 1))
def test_parse_response_reads_any_beginning(value: Any, share: float) -> None:
    text = json.dumps(value)
    assert parse_response(text) == value
    cut = parse_response(text[: int(len(text) * share)])
    assert cut is None or isinstance(cut, type(value)) or isinstance(value, float)


@given(st.text(max_size=60))
def test_parse_response_is_total(text: str) -> None:
    json.dumps(parse_response(text))
