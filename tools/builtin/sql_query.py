"""Read-only questions to one SQLite database."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from langchain_core.tools import BaseTool, StructuredTool, ToolException

DATABASE_VARIABLE = "ALPHA_UMI_DATABASE"
"""SQLite file that the tool `sql_query` reads."""

_MAX_ROWS = 50
_MAX_CELL_CHARS = 200
_MAX_SECONDS = 10.0
_MAX_VALUE_BYTES = 300_000  # searching one value in another is one step, of seconds, that nothing interrupts
_STEPS_BETWEEN_CHECKS = 10_000
_ALLOWED = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})
# The first two reach into the process; the others make values of any size in one step, where no time limit stops them.
_REFUSED_FUNCTIONS = frozenset({"load_extension", "fts3_tokenizer", "randomblob", "zeroblob", "printf", "format"})


def make_sql_query(database: Path | None = None) -> BaseTool:
    """Make the tool for a SQLite file; None reads `ALPHA_UMI_DATABASE` at every call."""

    def sql_query(query: str) -> str:
        """Ask the user's database with one SQL SELECT statement (SQLite). Shows the tables if the query fails.

        Args:
            query: The SELECT statement.
        """
        path = _find_database(database)
        try:
            with closing(_connect(path)) as connection:
                _restrict(connection)
                return _render_rows(connection.execute(query))
        except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
            raise ToolException(f"{_explain(error)} {_render_schema(path)}") from error

    return StructuredTool.from_function(sql_query, parse_docstring=True, metadata={"effects": "none"})


def _find_database(database: Path | None) -> Path:
    path = database or Path(os.environ.get(DATABASE_VARIABLE, ""))
    if not path.is_file():
        raise ToolException(f"there is no database. The user has to set {DATABASE_VARIABLE} to a SQLite file.")
    return path.resolve()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    connection.text_factory = lambda data: data.decode(errors="replace")
    return connection


def _restrict(connection: sqlite3.Connection) -> None:
    """Let the connection read tables for a while, and do nothing else."""
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA trusted_schema = OFF")  # views and defaults of a foreign file run no risky function
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)
    deadline = time.monotonic() + _MAX_SECONDS
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_CHECKS)
    connection.set_authorizer(_authorize)


def _authorize(action: int, _: str | None, function: str | None, *__: str | None) -> int:
    if action not in _ALLOWED or (action == sqlite3.SQLITE_FUNCTION and function in _REFUSED_FUNCTIONS):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def _explain(error: Exception) -> str:
    text = str(error)
    if "authoriz" in text or "prohibited" in text:
        return "only SELECT statements are allowed, and only functions that compute."
    if "interrupted" in text:
        return f"the query took longer than {_MAX_SECONDS:g} s. Ask for less."
    return f"{text.rstrip('.')}."


def _render_schema(path: Path) -> str:
    try:
        with closing(_connect(path)) as connection:
            columns = connection.execute(
                "SELECT main.name, group_concat(info.name, ', ') FROM sqlite_master AS main "
                "JOIN pragma_table_info(main.name) AS info WHERE main.type IN ('table', 'view') GROUP BY main.name"
            ).fetchall()
    except sqlite3.Error as error:
        raise ToolException(
            f"the database cannot be read: {error}. The user has to check {DATABASE_VARIABLE}."
        ) from error
    return f"Tables: {', '.join(f'{table}({names})' for table, names in columns) or 'none'}."


def _render_rows(cursor: sqlite3.Cursor) -> str:
    if cursor.description is None:
        raise ValueError("that is no SELECT statement")
    rows = cursor.fetchmany(_MAX_ROWS + 1)
    lines = [" | ".join(column[0] for column in cursor.description), *map(_render_row, rows[:_MAX_ROWS])]
    if not rows:
        lines.append("(no rows)")
    if len(rows) > _MAX_ROWS:
        lines.append(f"(only the first {_MAX_ROWS} rows are shown; use COUNT, GROUP BY or LIMIT)")
    return "\n".join(lines)


def _render_row(row: Iterable[object]) -> str:
    return " | ".join("NULL" if cell is None else _render_cell(cell) for cell in row)


def _render_cell(cell: object) -> str:
    return f"({len(cell)} bytes)" if isinstance(cell, bytes) else str(cell)[:_MAX_CELL_CHARS]


tool = make_sql_query()
