"""Where threads are kept: in a SQLite file or in PostgreSQL, each with the ledger of effects in the same database."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from pathlib import Path
from types import ModuleType

from alpha_umi.errors import ConfigError
from alpha_umi.graph.config import load_settings
from alpha_umi.nodes.durability.checkpointers import DurableSaver, open_async_sqlite, open_sqlite

# Any word with a colon but a drive (C:), one slash where a path was made of an address, and PostgreSQL's keywords.
_ADDRESS = re.compile(
    r"(\s*[A-Za-z][\w+.-]+:|[A-Za-z]:[^\\/]|//|\s*(?:host|hostaddr|port|dbname|user|password|service)\s*=)"
)
SERVER_DATABASE = Path(".langgraph_api") / "threads.sqlite"


def open_checkpointer(where: str | Path, *, timeout_s: float = 10.0) -> AbstractContextManager[DurableSaver]:
    """Open a checkpointer for `invoke` and `stream`.

    Args:
        where: SQLite file, made if need be, or ``postgresql://user:password@host/database``.
        timeout_s: Seconds to wait for another process that writes, or for a connection.

    Raises:
        ConfigError: If the database cannot be opened, or PostgreSQL's extra is not installed.

    Example:
        >>> with open_checkpointer("threads.sqlite") as saver:  # doctest: +SKIP
        ...     agent = create_umi_agent("hf:smollm2-135m", [add], checkpointer=saver)
    """
    make = _import_postgres().open_postgres if _is_postgres(where) else open_sqlite
    saver: AbstractContextManager[DurableSaver] = make(str(where), timeout_s)
    return saver


def open_async_checkpointer(where: str | Path, *, timeout_s: float = 10.0) -> AbstractAsyncContextManager[DurableSaver]:
    """Open a checkpointer for `ainvoke` and `astream`; see `open_checkpointer`."""
    make = _import_postgres().open_async_postgres if _is_postgres(where) else open_async_sqlite
    saver: AbstractAsyncContextManager[DurableSaver] = make(str(where), timeout_s)
    return saver


@asynccontextmanager
async def serve_checkpointer() -> AsyncIterator[DurableSaver]:
    """Open the checkpointer of a server, which ``langgraph.json`` names.

    The configuration's ``checkpointer`` says where it is; the default is a SQLite file in the working directory.
    """
    settings = await asyncio.to_thread(load_settings)
    async with open_async_checkpointer(settings.checkpointer or SERVER_DATABASE) as saver:
        yield saver


def _is_postgres(where: str | Path) -> bool:
    """Say whether this is an address of PostgreSQL; any other address would be taken for a file of that name.

    Raises:
        ConfigError: If it is another address.
    """
    if str(where).startswith(("postgresql://", "postgres://")):
        return True
    if found := _ADDRESS.match(str(where)):
        raise ConfigError(
            f"Threads cannot be kept at an address that begins with {found[1].strip()!r}: give a path, with './' "
            "before it if it looks like an address, or postgresql://USER@HOST/DATABASE."
        )
    return False


def _import_postgres() -> ModuleType:
    try:
        from alpha_umi.nodes.durability import postgres  # noqa: PLC0415 - an extra that may not be installed
    except ImportError as error:
        raise ConfigError(f"PostgreSQL needs an extra: pip install 'alpha-umi[postgres]' ({error}).") from error
    return postgres
