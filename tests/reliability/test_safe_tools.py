"""What models, files and schemas can do to the tools: leave a folder, write, or take for ever."""

from __future__ import annotations

import os
import pkgutil
import re
import sqlite3
import time
from contextlib import closing, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import ToolException

import alpha_umi
from alpha_umi import Toolbox
from alpha_umi.documents import parse_yaml
from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.tool_docs import render_tool
from alpha_umi.tools.builtin.search_files import make_search_files
from alpha_umi.tools.builtin.sql_query import make_sql_query
from alpha_umi.tools.convert import make_tool
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.tools.spec.schema import Undecided


def list_patterns() -> dict[str, re.Pattern[str]]:
    """Return every regular expression that a module of the product holds."""
    found: dict[str, re.Pattern[str]] = {}
    for info in pkgutil.walk_packages(alpha_umi.__path__, "alpha_umi."):
        if not info.name.startswith("alpha_umi.cli"):
            module = vars(import_module(info.name))
            found |= {f"{info.name}.{key}": value for key, value in module.items() if isinstance(value, re.Pattern)}
    return found


def list_pumps(pattern: re.Pattern[str]) -> set[str]:
    """Return what an expression may be slow on when it is repeated: pieces of itself, and one of each kind."""
    plain = re.sub(r"\\(.)", r"\1", pattern.pattern)
    literals = re.findall(r"[A-Za-z_<>/=:'\"`*(\[{$.,;-]+", plain)
    return {*" a0\n\t-.{[\"'\\<_é", "a ", "a.", "1,", *literals, *(literal[:1] for literal in literals)}


def test_no_regular_expression_of_the_product_backtracks_for_long() -> None:
    patterns = list_patterns()
    assert len(patterns) > 40
    quadratic_s = measure(re.compile(r"(\w+)\["), "a")
    for name, pattern in patterns.items():
        for pump in list_pumps(pattern):
            assert measure(pattern, pump) < 20 * quadratic_s, (name, pump)


def measure(pattern: re.Pattern[str], pump: str) -> float:
    """Return the CPU seconds of an expression for a thousand characters."""
    text = pump * (1000 // len(pump))
    start = time.process_time()
    for attempt in (text, f"{text}!"):
        pattern.search(attempt)
        pattern.fullmatch(attempt)
    return time.process_time() - start


CATASTROPHIC = (r"^(a+)+$", r"(x+x+)+y", r"^(\w|a)*$", r"(.*)*=", r"^(([a-z])+.)+[A-Z]([a-z])+$", r"(a?){60}a{60}")


@pytest.mark.parametrize("pattern", CATASTROPHIC)
@pytest.mark.parametrize("keyword", ["pattern", "patternProperties", "propertyNames"])
def test_catastrophic_pattern_of_a_tool_is_matched_quickly(pattern: str, keyword: str) -> None:
    text = "a" * 60 + "!"
    part: dict[str, Any] = {"type": "string", "pattern": pattern}
    if keyword != "pattern":
        part = {keyword: {pattern: {"type": "null"}} if keyword == "patternProperties" else part}
        part |= {"type": "object", "additionalProperties": False}
    value: Any = text if keyword == "pattern" else {text: 1}
    tool = make_tool(ToolSpec("x", "", {"type": "object", "properties": {"a": part}}), lambda a: "ran")
    text = Toolbox([tool]).execute("x", {"a": value}, "1").text  # takes for ever, if it backtracks
    is_right = (keyword, pattern) == ("pattern", CATASTROPHIC[-1])
    assert text.startswith("ran" if is_right else "The arguments of x are wrong")


@pytest.mark.parametrize("root", [{}, {"$schema": "http://json-schema.org/draft-07/schema#"}])
def test_part_that_names_a_draft_is_matched_quickly_too(root: dict[str, Any]) -> None:
    draft = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    part = draft | {"pattern": "^(a+)+$", "additionalProperties": {"$ref": "#"}}
    spec = ToolSpec("x", "", {"type": "object", "properties": {"a": part}, **root})
    validator = spec.make_validator()
    assert not validator.is_valid({"a": "a" * 60 + "!"})
    assert not validator.is_valid({"a": {"b": {"a": "a" * 60 + "!"}}})


@pytest.mark.parametrize(
    ("schema", "value", "is_valid"),
    [
        ({"pattern": "^[A-Z]{3}$"}, "EUR", True),
        ({"pattern": "^[A-Z]{3}$"}, "euro", False),
        ({"pattern": "b"}, "abc", True),
        ({"pattern": "(?=a)b"}, "anything", True),
        ({"pattern": "a"}, 3, True),
        ({"patternProperties": {"^n_": {"type": "integer"}}}, {"n_a": 1, "b": "x"}, True),
        ({"patternProperties": {"^n_": {"type": "integer"}}}, {"n_a": "x"}, False),
        ({"patternProperties": {"^n_": {}}, "additionalProperties": False}, {"n_a": 1}, True),
        ({"patternProperties": {"^n_": {}}, "additionalProperties": False}, {"b": 1}, False),
        ({"properties": {"a": {}}, "additionalProperties": {"type": "integer"}}, {"a": "x", "b": 1}, True),
        ({"properties": {"a": {}}, "additionalProperties": {"type": "integer"}}, {"b": "x"}, False),
        ({"additionalProperties": False}, {"b": 1}, False),
        ({"propertyNames": {"pattern": "^[a-z]+$"}}, {"B": 1}, False),
    ],
)
def test_patterns_still_hold(schema: dict[str, Any], value: Any, is_valid: bool) -> None:
    spec = ToolSpec("x", "", {"type": "object", "properties": {"v": schema}})
    assert spec.make_validator().is_valid({"v": value}) == is_valid


@pytest.mark.parametrize(
    "pattern", ["(?:(?:a?){900}){900}a", "(?:(?:a{99}){99}){99}", "(?=a)" + "a" * 900, "(?<=a)b", r"(a)\1"]
)
def test_pattern_that_is_costly_or_not_linear_restricts_nothing(pattern: str) -> None:
    spec = ToolSpec("x", "", {"type": "object", "properties": {"a": {"pattern": pattern}}})
    assert spec.make_validator().is_valid({"a": "anything"})
    with pytest.raises(Undecided):
        spec.make_validator(is_exact=True)


def test_pattern_of_more_than_a_thousand_characters_is_refused() -> None:
    with pytest.raises(ConfigError, match="not a regular expression"):
        ToolSpec("x", "", {"type": "object", "properties": {"a": {"pattern": "a" * 1001}}})


@pytest.mark.parametrize("value", ["\ud800", ["\udfff"], {"\ud800": 1}])
def test_text_that_utf_8_cannot_hold_is_checked(value: Any) -> None:
    schema = {"type": "object", "properties": {"a": {"type": ["string", "array"]}}, "additionalProperties": False}
    toolbox = Toolbox([make_tool(ToolSpec("x", "", schema), lambda a: "ran")])
    assert (toolbox.execute("x", {"a": value}, "1").content == "ran") != isinstance(value, dict)
    assert "there is no such argument" in str(toolbox.execute("x", {"a": "", "\ud800": 1}, "1").content)


def _doubling(keyword: str, n_levels: int = 40) -> dict[str, Any]:
    """Return a schema of a few kilobytes that stands for 2 ** 40 nodes."""
    levels: dict[str, Any] = {"L0": {"type": "string"}}
    for i in range(1, n_levels):
        below = {"$ref": f"#/$defs/L{i - 1}"}
        levels[f"L{i}"] = {keyword: {"a": below, "b": below} if keyword == "properties" else [below, below]}
    return {"type": "object", "$defs": levels, "properties": {"x": {"$ref": f"#/$defs/L{n_levels - 1}"}}}


@pytest.mark.parametrize("keyword", ["properties", "allOf", "anyOf", "oneOf"])
def test_schema_that_stands_for_a_billion_others_is_refused(keyword: str) -> None:
    with pytest.raises(ConfigError, match="too large when its references are followed"):
        ToolSpec("x", "", _doubling(keyword))


def test_schemas_that_all_refer_to_each_other_are_documented_in_bounded_size() -> None:
    names = [f"N{i}" for i in range(7)]
    node = {"type": "object", "properties": {name: {"$ref": f"#/$defs/{name}"} for name in names}}
    schema = {"type": "object", "$defs": dict.fromkeys(names, node), "properties": {"x": {"$ref": "#/$defs/N0"}}}
    assert len(render_tool(ToolSpec("x", "", schema))) < 100_000


def test_yaml_that_stands_for_a_billion_values_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(Exception, match="stands for more than"):
        parse_yaml("\n".join(lines))
    assert parse_yaml("a: &a [1, 2]\nb: *a") == {"a": [1, 2], "b": [1, 2]}


def search(root: Path, files: str = "*") -> str:
    return str(make_search_files(root).invoke({"text": "treasure", "files": files}))


def test_search_follows_no_link_of_any_kind(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root / "deep", outside):
        folder.mkdir(parents=True)
    (outside / "a.txt").write_text("treasure outside")
    (root / "file.txt").symlink_to(outside / "a.txt")
    (root / "folder").symlink_to(outside, target_is_directory=True)
    (root / "chain").symlink_to(root / "folder", target_is_directory=True)
    (root / "deep" / "up").symlink_to("../..", target_is_directory=True)
    (root / "proc").symlink_to("/proc/self/environ")
    for files in ("*", "**/*", "folder/*", "folder/a.txt", "chain/*", "deep/up/outside/*", "file.txt", "proc"):
        assert "outside" not in search(root, files).partition("match")[0]


def test_search_takes_no_longer_for_any_pattern(tmp_path: Path) -> None:
    (tmp_path / ("a" * 250)).write_text("treasure")
    for pattern in ("*a" * 49 + "b", "[a-a]*" * 16 + "b", "?*" * 49 + "b", "*" * 99 + "b"):
        assert "in the 0 files" in search(tmp_path, pattern)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "data.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE t (x TEXT); INSERT INTO t VALUES ('a');")
    return path


@pytest.mark.parametrize(
    "statement",
    [
        "WITH RECURSIVE n(i, s) AS (SELECT 1, 'x' UNION ALL SELECT i + 1, s || s FROM n WHERE i < 40) "
        "SELECT max(length(s)) FROM n",
        "WITH RECURSIVE n(i, s) AS (SELECT 1, 'xx' UNION ALL SELECT i + 1, s || s FROM n WHERE i < 17) "
        "SELECT instr(s, substr(s, 1, length(s) / 2) || 'y') FROM n",
        f"SELECT '{'a' * 5000}' LIKE '{'%a' * 500}b'",
        f"SELECT '{'a' * 5000}' GLOB '{'*a' * 500}b'",
        "SELECT group_concat(hex(x) || hex(x)) FROM t, t AS b, t AS c",
    ],
)
def test_costly_query_ends(database: Path, statement: str) -> None:
    text = ""
    with suppress(ToolException):
        text = make_sql_query(database).invoke({"query": statement})
    assert len(text) < 100_000


@pytest.mark.parametrize(
    "statement",
    [
        "ATTACH '{other}' AS o",
        "VACUUM INTO '{other}'",
        "INSERT INTO t VALUES ('b') RETURNING x",
        "SELECT writefile('{other}', 'x')",
        "SELECT readfile('/etc/passwd')",
        "SELECT load_extension('{other}')",
        "SELECT * FROM fsdir('/')",
        "CREATE VIRTUAL TABLE v USING fts5(x)",
        "PRAGMA journal_mode = DELETE",
    ],
)
def test_query_can_neither_write_nor_reach_other_files(database: Path, statement: str) -> None:
    before = database.read_bytes()
    with pytest.raises(ToolException):
        make_sql_query(database).invoke({"query": statement.format(other=database.parent / "other.db")})
    assert database.read_bytes() == before
    assert os.listdir(database.parent) == ["data.db"]
