"""`alpha-umi threads`: the conversations that can be gone on with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from alpha_umi.cli.options import DEFAULT_DATABASE, Checkpointer, Database
from alpha_umi.cli.screen import clean

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple

_MAX_QUESTION_CHARS = 60


def threads(
    database: Database = DEFAULT_DATABASE,
    checkpointer: Checkpointer = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Show the newest N.")] = 20,
) -> None:
    """List the threads of ask and chat, the newest first: name, last change, questions, the first of them."""
    from alpha_umi.cli.loop import Loop  # noqa: PLC0415 - LangGraph takes a second

    if checkpointer is None and not database.exists():
        typer.echo("No threads yet.")
        return
    with Loop() as loop:
        for newest in loop.run(_find(str(checkpointer or database), limit)):
            typer.echo(_describe(newest))


async def _find(where: str, limit: int) -> list[CheckpointTuple]:
    """Return the newest checkpoint of each of the newest threads."""
    from alpha_umi.graph.checkpointers import open_async_checkpointer  # noqa: PLC0415 - LangGraph takes a second

    async with open_async_checkpointer(where) as saver:
        return await _take(saver, limit)


async def _take(saver: BaseCheckpointSaver[Any], limit: int) -> list[CheckpointTuple]:
    found: dict[str, CheckpointTuple] = {}
    async for entry in saver.alist(None):  # newest first
        place = entry.config["configurable"]
        if not place["checkpoint_ns"]:
            found.setdefault(place["thread_id"], entry)
        if len(found) == limit:
            break
    return list(found.values())


def _describe(newest: CheckpointTuple) -> str:
    messages = newest.checkpoint["channel_values"].get("messages", [])
    questions = [message.text for message in messages if message.type == "human"]
    first = " ".join(questions[0].split()) if questions else ""
    cut = first if len(first) <= _MAX_QUESTION_CHARS else f"{first[:_MAX_QUESTION_CHARS]}…"
    time = newest.checkpoint["ts"][:16].replace("T", " ")
    return clean(f"{newest.config['configurable']['thread_id']:<16} {time}  {len(questions):>3}  {cut}")
