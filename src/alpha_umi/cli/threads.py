"""`alpha-umi threads`: the conversations that can be gone on with."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alpha_umi.cli.options import DEFAULT_DATABASE, Checkpointer, Database, is_given
from alpha_umi.cli.screen import clean
from alpha_umi.errors import ConfigError

if TYPE_CHECKING:
    from langgraph.checkpoint.base import CheckpointTuple


_MAX_QUESTION_CHARS = 60


def threads(
    ctx: typer.Context,
    database: Database = DEFAULT_DATABASE,
    checkpointer: Checkpointer = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Show the newest N.")] = 20,
) -> None:
    """List the threads of ask and chat, the newest first: name, last change, questions, the first of them."""
    if checkpointer is None and not database.exists() and is_given(ctx, "database"):
        raise ConfigError(f"--database {str(database)!r}: there is no such file; check the path.")
    found = [] if checkpointer is None and not _holds_threads(database) else _find(checkpointer or database, limit)
    for newest in found:
        typer.echo(_describe(newest))
    if not found:
        typer.echo("No threads yet.")


def _holds_threads(database: Path) -> bool:
    """Look without making tables in what may be another program's file."""
    if not database.exists():
        return False
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'checkpoints'").fetchone() is not None
    except sqlite3.Error:
        return True  # whoever opens it in earnest says what is wrong


def _find(where: str | Path, limit: int) -> list[CheckpointTuple]:
    """Return the newest checkpoint of each of the newest threads."""
    from alpha_umi.nodes.durability.checkpointers import open_checkpointer  # noqa: PLC0415 - LangGraph takes a second

    with open_checkpointer(where) as saver:
        found = [saver.get_tuple({"configurable": {"thread_id": name}}) for name in saver.list_threads(limit)]
    return [each for each in found if each is not None]


def _describe(newest: CheckpointTuple) -> str:
    messages = newest.checkpoint["channel_values"].get("messages", [])
    questions = [message.text for message in messages if message.type == "human"]
    first = " ".join(questions[0].split()) if questions else ""
    cut = first if len(first) <= _MAX_QUESTION_CHARS else f"{first[:_MAX_QUESTION_CHARS]}…"
    time = datetime.fromisoformat(newest.checkpoint["ts"]).astimezone().strftime("%Y-%m-%d %H:%M")
    return clean(f"{newest.config['configurable']['thread_id']:<16} {time}  {len(questions):>3}  {cut}")


def graph() -> None:
    """Print the agent's graph as a Mermaid drawing; no weights are loaded."""
    from alpha_umi.graph.agent import graph as agent  # noqa: PLC0415 - LangGraph takes a second

    typer.echo(agent.get_graph(xray=True).draw_mermaid(), nl=False)
