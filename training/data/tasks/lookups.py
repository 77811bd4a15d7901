"""Questions about the user's files and database, which are made up together with the questions."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from langchain_core.tools import BaseTool

from alpha_umi.tools.builtin.search_files import make_search_files
from alpha_umi.tools.builtin.sql_query import make_sql_query
from alpha_umi.training.data.tasks.draw import Draw, Wording
from alpha_umi.training.data.tasks.piece import Arguments, Piece, fixed

_FIND = Wording(
    (
        "What did I note on {text}?",
        "Is there anything on {text} in my files?",
        "Which file has something on {text}?",
        "Look up {text} in my notes.",
        "Show me where {text} stands in my documents.",
        "Go through my files for {text}.",
        "Which sentence in my files names {text}?",
        "Open the note that mentions {text}.",
        "Do my documents say something on {text}?",
        "Where do my files mention {text}?",
        "Search my files for {text}.",
        "Which of my notes is about {text}?",
        "Find {text} in my documents.",
        "Look for {text} in my files.",
        "What do my notes say about {text}?",
    ),
    ("In which file did I write about {text}?", "Find the line on {text} in my notes."),
)
_COUNT = Wording(
    (
        "How many lines are in the table {table}?",
        "What is the number of {table} in the database?",
        "How many entries does the table {table} have?",
        "Count the {table}.",
        "Size of the table {table}?",
        "How many {table} do we store?",
        "How many rows has the table {table}?",
        "Count the entries of the table {table}.",
        "How many {table} are in the database?",
        "Tell me the number of rows in {table}.",
    ),
    ("How large is the table {table}?", "How many records does {table} hold?"),
)
_AGGREGATE = Wording(
    (
        "Tell me the {word} {column} of the {table}.",
        "Which is the {word} {column} in the {table} table?",
        "Look up the {word} {column} of our {table}.",
        "Query the {table} table for the {word} {column}.",
        "What is the {word} {column} in the table {table}?",
        "Find the {word} {column} of all {table} in the database.",
        "Give me the {word} {column} in {table}.",
    ),
    ("In the table {table}, what is the {word} {column}?",),
)
_WHERE = Wording(
    (
        "Table {table}: what {column} has {name}?",
        "Get me the {column} of {name} from the {table} table.",
        "In {table}, what is {name}'s {column}?",
        "Tell me {name}'s {column} in the table {table}.",
        "What is the {column} of {name} in the table {table}?",
        "Look up the {column} of {name} in {table}.",
        "Which {column} does {name} have in the table {table}?",
    ),
    ("Find {name} in the table {table} and tell me the {column}.",),
)
_HOW_MANY = Wording(
    ("How many {word} do we have in the database?", "Count the {word} in the database.", "Database: how many {word}?"),
    ("How many {word} does the database list?",),
)
_SYNONYMS = {
    "clients": "customers",
    "staff": "employees",
    "bills": "invoices",
    "goods": "products",
    "purchases": "orders",
    "novels": "books",
}
_STRANGERS = ("the boat", "the piano", "the lawyer", "the sauna", "the tractor", "the hamster", "the vineyard")
_WORDS = {"total": "SUM", "average": "AVG", "highest": "MAX", "lowest": "MIN"}
_FOLDERS = ("notes", "work", "travel", "home", "ideas")
_SUBJECTS = ("the lease", "the dentist", "the boiler", "the garden fence", "the passport", "the choir", "the car tyres")
_REMARKS = ("costs {n} euros", "is due in week {n}", "has the number {n}", "takes {n} days", "is on page {n}")
TABLES = {
    "orders": ("amount", "weight"),
    "customers": ("age", "balance"),
    "products": ("price", "stock"),
    "employees": ("salary", "age"),
    "invoices": ("total", "discount"),
    "books": ("pages", "price"),
}
_NAMES = ("Adler", "Bauer", "Conte", "Dunn", "Engel", "Fuchs", "Grant", "Huber", "Irving", "Jansen", "Keller", "Lund")


def make_fixtures(folder: Path, rng: random.Random) -> tuple[BaseTool, BaseTool]:
    """Write small files and a database into `folder` and return the tools that read them."""
    files = folder / "files"
    for name in _FOLDERS:
        (files / name).mkdir(parents=True)
    for subject in _SUBJECTS:
        path = files / rng.choice(_FOLDERS) / f"{subject.removeprefix('the ').replace(' ', '-')}.md"
        remark = rng.choice(_REMARKS).format(n=rng.randint(2, 400))
        path.write_text(f"Remember: {subject} {remark}.\n", encoding="utf-8")
    database = folder / "data.sqlite"
    with closing(sqlite3.connect(database)) as connection, connection:
        for table, columns in TABLES.items():
            connection.execute(f"CREATE TABLE {table} (name TEXT, {', '.join(f'{name} REAL' for name in columns)})")
            rows = [(name, *(rng.randint(10, 9000) / 10 for _ in columns)) for name in _NAMES[: rng.randint(5, 12)]]
            connection.executemany(f"INSERT INTO {table} VALUES (?, {', '.join('?' * len(columns))})", rows)
    return make_search_files(files), make_sql_query(database)


def make_lookup(draw: Draw) -> Piece:
    """Return one question about the files or the database."""
    return draw.pick(_FAMILIES)(draw)


def _make_find(draw: Draw) -> Piece:
    text = draw.name(_SUBJECTS)
    return Piece(draw.say(_FIND, text=text), "search_files", fixed(text=text), _quote, _quote_line)


def _make_count(draw: Draw) -> Piece:
    table = draw.pick(tuple(TABLES))
    return _query(draw.say(_COUNT, table=table), f"SELECT COUNT(*) FROM {table}")


def _make_aggregate(draw: Draw) -> Piece:
    table = draw.pick(tuple(TABLES))
    column, word = draw.pick(TABLES[table]), draw.pick(tuple(_WORDS))
    question = draw.say(_AGGREGATE, word=word, column=column, table=table)
    return _query(question, f"SELECT {_WORDS[word]}({column}) FROM {table}")


def _make_where(draw: Draw) -> Piece:
    table, name = draw.pick(tuple(TABLES)), draw.pick(_NAMES[:5])
    column = draw.pick(TABLES[table])
    question = draw.say(_WHERE, column=column, name=name, table=table)
    return _query(question, f"SELECT {column} FROM {table} WHERE name = '{name}'")


def _query(question: str, query: str) -> Piece:
    return Piece(question, "sql_query", fixed(query=query), _say_value, _last_line)


def _last_line(observation: str) -> str:
    return observation.splitlines()[-1]


def _say_value(arguments: Arguments, observation: str) -> str:
    return f"The database says {_last_line(observation)}."


def _quote_line(observation: str) -> str:
    """Return the file name of the first line found."""
    return observation.split(":", 1)[0]


def _quote(arguments: Arguments, observation: str) -> str:
    name, _, line = observation.splitlines()[0].split(":", 2)
    return f"{name} says: {line.strip().rstrip('.')}."


def _make_missing(draw: Draw) -> Piece:
    text = draw.name(_STRANGERS)
    return Piece(draw.say(_FIND, text=text), "search_files", fixed(text=text))


def _make_synonym(draw: Draw) -> Piece:
    """Name a table as people call it; the database's error tells its real name."""
    word = draw.pick(tuple(_SYNONYMS))
    question, table = draw.say(_HOW_MANY, word=word), _SYNONYMS[word]

    def correct(arguments: Arguments, error: str) -> Arguments | None:
        return {"query": arguments["query"].replace(word, table)} if f"no such table: {word}" in error else None

    query = fixed(query=f"SELECT COUNT(*) FROM {word}")
    return Piece(question, "sql_query", query, _say_value, _last_line, correct)


_FAMILIES: tuple[Callable[[Draw], Piece], ...] = (
    _make_find,
    _make_find,
    _make_missing,
    _make_count,
    _make_aggregate,
    _make_where,
    _make_synonym,
)
