"""Where threads are kept on disk: the doors to `alpha_umi.nodes.durability`, in code and for a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from alpha_umi.graph.config import load_settings
from alpha_umi.nodes.durability.checkpointers import DurableSaver, open_async_checkpointer, open_checkpointer

__all__ = ["SERVER_DATABASE", "open_async_checkpointer", "open_checkpointer", "serve_checkpointer"]

SERVER_DATABASE = Path(".langgraph_api") / "threads.sqlite"


@asynccontextmanager
async def serve_checkpointer() -> AsyncIterator[DurableSaver]:
    """Open the checkpointer of a server, which ``langgraph.json`` names.

    The configuration's ``checkpointer`` says where it is; the default is a SQLite file in the working directory.
    """
    settings = await asyncio.to_thread(load_settings)
    async with open_async_checkpointer(settings.checkpointer or SERVER_DATABASE) as saver:
        yield saver
