import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from langchain_core.tools import ToolException

from alpha_umi.tools.builtin import sql_query
from alpha_umi.tools.builtin.sql_query import DATABASE_VARIABLE, make_sql_query, tool


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "odd name ?#%.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "CREATE TABLE singer (id INTEGER, name TEXT, photo BLOB);"
            "CREATE INDEX by_name ON singer (name);"
            "INSERT INTO singer VALUES (1, 'Ana', x'00ff'), (2, NULL, NULL), (3, CAST(x'ff41' AS TEXT), NULL);"
            "CREATE VIEW named AS SELECT name FROM singer WHERE name IS NOT NULL;"
        )
    return path


def query(database: Path, statement: str) -> str:
    return str(make_sql_query(database).invoke({"query": statement}))


def refusal(database: Path, statement: str) -> str:
    with pytest.raises(ToolException) as caught:
        query(database, statement)
    return str(caught.value)


@pytest.mark.parametrize(
    ("statement", "result"),
    [
        ("SELECT * FROM singer", "id | name | photo\n1 | Ana | (2 bytes)\n2 | NULL | NULL\n3 | \ufffdA | NULL"),
        ("SELECT count(*) AS n FROM named", "n\n2"),
        ("SELECT name FROM singer WHERE id > 9", "name\n(no rows)"),
        (
            "SELECT upper(name), round(id / 2.0, 1) FROM singer WHERE id = 1;",
            "upper(name) | round(id / 2.0, 1)\nANA | 0.5",
        ),
        ("WITH n(i) AS (VALUES (1), (2)) SELECT sum(i) AS s FROM n", "s\n3"),
        ("SELECT name FROM sqlite_master WHERE type = 'table'", "name\nsinger"),
    ],
)
def test_select_shows_its_rows(database: Path, statement: str, result: str) -> None:
    assert query(database, statement) == result


@pytest.mark.parametrize("statement", ["SELECT nam FROM singer", "SELECT * FROM singers", "", "-- nothing", "SELEC 1"])
def test_wrong_query_is_answered_with_the_schema(database: Path, statement: str) -> None:
    assert refusal(database, statement).endswith("Tables: named(name), singer(id, name, photo).")


def test_unknown_column_is_named(database: Path) -> None:
    assert refusal(database, "SELECT nam FROM singer").startswith("no such column: nam.")


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO singer VALUES (9, 'x', NULL)",
        "UPDATE singer SET name = 'x'",
        "DELETE FROM singer",
        "REPLACE INTO singer VALUES (1, 'x', NULL)",
        "DROP TABLE singer",
        "CREATE TABLE t (x)",
        "CREATE TEMP TABLE t (x)",
        "ALTER TABLE singer RENAME TO s",
        "PRAGMA query_only = OFF",
        "PRAGMA writable_schema = ON",
        "SELECT * FROM pragma_table_info('singer')",
        "BEGIN",
        "VACUUM",
        "VACUUM INTO 'copy.db'",
        "REINDEX",
        "ANALYZE",
        "ATTACH 'other.db' AS other",
        "DETACH main",
        "SELECT load_extension('./evil.so')",
        "SELECT fts3_tokenizer('simple', x'00')",
        "SELECT randomblob(1000000000)",
        "SELECT hex(zeroblob(1000000000))",
        "SELECT printf('%1000000000d', 1)",
        "WITH n(i) AS (VALUES (1)) INSERT INTO singer SELECT i, 'x', NULL FROM n",
        "EXPLAIN DELETE FROM singer",
    ],
)
def test_everything_but_reading_is_refused(database: Path, statement: str) -> None:
    before = hashlib.sha256(database.read_bytes()).digest()
    assert "only SELECT statements are allowed" in refusal(database, statement)
    assert hashlib.sha256(database.read_bytes()).digest() == before
    assert list(database.parent.iterdir()) == [database]


def test_second_statement_is_refused(database: Path) -> None:
    assert "one statement at a time" in refusal(database, "SELECT 1; DROP TABLE singer")


@pytest.mark.parametrize("statement", ["SELECT '\ud800'", "SELECT '\x00'"])
def test_text_that_sqlite_cannot_take_is_explained(database: Path, statement: str) -> None:
    assert "Tables: " in refusal(database, statement)


def test_runaway_query_is_stopped(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_query, "_MAX_SECONDS", 0.1)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    assert refusal(database, endless).startswith("the query took longer than 0.1 s.")


def test_rows_and_cells_are_bounded(database: Path) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i, hex(i || hex(i)) FROM n"
    lines = query(database, endless).splitlines()
    assert len(lines) == 52
    assert "only the first 50 rows are shown" in lines[-1]
    assert len(query(database, f"SELECT '{'x' * 10_000}' AS x")) < 300


def test_database_comes_from_the_environment(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DATABASE_VARIABLE, raising=False)
    with pytest.raises(ToolException, match=f"there is no database. The user has to set {DATABASE_VARIABLE}"):
        tool.invoke({"query": "SELECT 1"})
    monkeypatch.setenv(DATABASE_VARIABLE, str(database))
    assert tool.invoke({"query": "SELECT 1 AS one"}) == "one\n1"


def test_missing_file_is_not_created(tmp_path: Path) -> None:
    assert "there is no database" in refusal(tmp_path / "absent.db", "SELECT 1")
    assert not list(tmp_path.iterdir())


def test_file_that_is_no_database_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "text.db"
    path.write_text("hello " * 1000)
    assert "file is not a database" in refusal(path, "SELECT * FROM t")
