"""Deleting, copying and shortening of threads with all that is kept about them, as LangGraph's server asks for it.

LangGraph's SQLite checkpointers have none of it but `delete_thread`; those on PostgreSQL also `prune`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from langgraph.checkpoint.base import BaseCheckpointSaver

from alpha_umi.nodes.durability.notes import Notes
from alpha_umi.tools.ledger import Ledger

Statement: TypeAlias = tuple[str, tuple[str, ...]]

_NO_TASK = "00000000-0000-0000-0000-000000000000"
"""LangGraph's name for what a person's answer or an update of the state writes."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between the databases: the table of writes, its column of values, and how metadata is read.

    `copied` is the metadata of a checkpoint for another thread, which belongs to no run; `blobs` is the table of
    values that stand apart from their checkpoints.
    """

    writes: str
    value: str
    run: str
    copied: str
    blobs: str = ""


class Upkeep(BaseCheckpointSaver[Any]):
    """A checkpointer whose threads can be rolled back, copied, shortened and deleted.

    What tools did stays in the ledger when a run is rolled back: the effect is there, and the call that a person is
    asked about again has its observation. With its thread the record is deleted, and a copy of the thread has a copy.
    """

    ledger: Ledger
    notes: Notes
    _dialect: ClassVar[Dialect]

    def delete_for_runs(self, run_ids: Iterable[str]) -> None:
        """Take back what runs saved; a question that one of them answered is open again."""
        self._execute([each for run in run_ids for each in _delete_run(self._dialect, str(run))])

    async def adelete_for_runs(self, run_ids: Iterable[str]) -> None:
        """Do what `delete_for_runs` does."""
        await self._aexecute([each for run in run_ids for each in _delete_run(self._dialect, str(run))])

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy a thread, the record of its calls and its notes; rolling a run back leaves copies alone."""
        self._execute(_copy(self._dialect, str(source_thread_id), str(target_thread_id)))
        self.ledger.copy_thread(str(source_thread_id), str(target_thread_id))
        self.notes.copy_thread(str(source_thread_id), str(target_thread_id))

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Do what `copy_thread` does."""
        await self._aexecute(_copy(self._dialect, str(source_thread_id), str(target_thread_id)))
        await asyncio.to_thread(self.ledger.copy_thread, str(source_thread_id), str(target_thread_id))
        await asyncio.to_thread(self.notes.copy_thread, str(source_thread_id), str(target_thread_id))

    def delete_thread(self, thread_id: str) -> None:
        """Delete a thread, the record of its calls and its notes."""
        super().delete_thread(str(thread_id))
        self.ledger.forget_thread(str(thread_id))
        self.notes.forget_thread(str(thread_id))

    async def adelete_thread(self, thread_id: str) -> None:
        """Do what `delete_thread` does."""
        await super().adelete_thread(str(thread_id))
        await asyncio.to_thread(self.ledger.forget_thread, str(thread_id))
        await asyncio.to_thread(self.notes.forget_thread, str(thread_id))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete threads (``delete``), or all of them but their newest state (``keep_latest``).

        Raises:
            ValueError: If it is another strategy.
        """
        if _deletes(strategy):
            for thread in thread_ids:
                self.delete_thread(thread)
        else:
            self._keep_latest(thread_ids)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Do what `prune` does."""
        if _deletes(strategy):
            for thread in thread_ids:
                await self.adelete_thread(thread)
        else:
            await self._akeep_latest(thread_ids)

    def _keep_latest(self, thread_ids: Sequence[str]) -> None:
        super().prune(thread_ids)

    async def _akeep_latest(self, thread_ids: Sequence[str]) -> None:
        await super().aprune(thread_ids)

    def _execute(self, statements: Sequence[Statement]) -> None:
        """Run statements, with ``?`` for values, as one transaction; of the savers that are not async."""
        raise NotImplementedError

    async def _aexecute(self, statements: Sequence[Statement]) -> None:
        """Do what `_execute` does; of the async savers."""
        raise NotImplementedError


def _deletes(strategy: str) -> bool:
    if strategy not in ("keep_latest", "delete", "delete_all"):  # the last is what LangGraph's server says
        raise ValueError(f"A thread is pruned by 'keep_latest' or 'delete', not by {strategy!r}.")
    return strategy != "keep_latest"


def _delete_run(dialect: Dialect, run: str) -> list[Statement]:
    writes, of_run = dialect.writes, f"{dialect.run} = ?"
    key = "thread_id, checkpoint_ns, checkpoint_id"
    # An answer is written to the checkpoint of the run that asked. Left there, it would count for the next answer.
    answered = (
        f"DELETE FROM {writes} WHERE channel <> '__interrupt__' AND ({key}) IN "
        f"(SELECT thread_id, checkpoint_ns, parent_checkpoint_id FROM checkpoints WHERE {of_run}) AND (task_id = ? OR "
        f"EXISTS (SELECT 1 FROM {writes} AS asked WHERE asked.channel = '__interrupt__' AND "
        + " AND ".join(f"asked.{column} = {writes}.{column}" for column in (*key.split(", "), "task_id"))
        + "))"
    )
    statements: list[Statement] = [
        (answered, (run, _NO_TASK)),
        (f"DELETE FROM {writes} WHERE ({key}) IN (SELECT {key} FROM checkpoints WHERE {of_run})", (run,)),
    ]
    if blobs := dialect.blobs:
        used = (
            "SELECT 1 FROM checkpoints AS kept WHERE kept.thread_id = blob.thread_id AND kept.checkpoint_ns = "
            "blob.checkpoint_ns AND kept.checkpoint -> 'channel_versions' ->> blob.channel = blob.version AND "
            f"kept.{dialect.run} IS DISTINCT FROM ?"
        )
        in_thread = f"blob.thread_id IN (SELECT thread_id FROM checkpoints WHERE {of_run})"
        statements.append((f"DELETE FROM {blobs} AS blob WHERE {in_thread} AND NOT EXISTS ({used})", (run, run)))
    return [*statements, (f"DELETE FROM checkpoints WHERE {of_run}", (run,))]


def _copy(dialect: Dialect, source: str, target: str) -> list[Statement]:
    def copy(table: str, columns: str) -> str:
        return (
            f"INSERT INTO {table} (thread_id, checkpoint_ns, {columns}) SELECT ?, checkpoint_ns, {columns} "
            f"FROM {table} WHERE thread_id = ? ON CONFLICT DO NOTHING"
        )

    plain = "checkpoint_id, parent_checkpoint_id, type, checkpoint"
    checkpoints = (
        f"INSERT INTO checkpoints (thread_id, checkpoint_ns, {plain}, metadata) SELECT ?, checkpoint_ns, {plain}, "
        f"{dialect.copied} FROM checkpoints WHERE thread_id = ? ON CONFLICT DO NOTHING"
    )
    writes = copy(dialect.writes, f"checkpoint_id, task_id, task_path, idx, channel, type, {dialect.value}")
    statements: list[Statement] = [(checkpoints, (target, target, source)), (writes, (target, source))]
    if dialect.blobs:
        statements.append((copy(dialect.blobs, "channel, version, type, blob"), (target, source)))
    return statements


def keep_latest_in_sqlite(threads: Sequence[str]) -> list[Statement]:
    """Return what deletes all but the newest checkpoint of each namespace, and calls of subgraphs that have ended.

    Threads of graphs whose state is spread over many checkpoints (`DeltaChannel`) stay as they are. What a run saves
    meanwhile stays too: it is newer.
    """
    return [(sql.format(table=table), (thread,)) for thread in map(str, threads) for table, sql in _KEEP_LATEST]


_METADATA = "json_extract(CAST({table}.metadata AS TEXT), '{path}')"
_SPREAD = _METADATA.format(table="spread", path="$.counters_since_delta_snapshot")
_IN_THREAD = (
    "thread_id = ? AND NOT EXISTS (SELECT 1 FROM checkpoints AS spread WHERE spread.thread_id = {table}.thread_id "
    f"AND {_SPREAD} IS NOT NULL)"
)
_NEWEST = "(SELECT MAX(newest.checkpoint_id) FROM checkpoints AS newest WHERE newest.thread_id = {table}.thread_id AND "
_NEWEST_OF_ROOT = _NEWEST + "newest.checkpoint_ns = '')"
_NEWEST_HERE = _NEWEST + "newest.checkpoint_ns = {table}.checkpoint_ns)"
_STARTED_AT = _METADATA.format(table="checkpoints", path='$.parents.""')
_HAS_ENDED = f"instr(checkpoint_ns, ':') > 0 AND {_STARTED_AT}"
_GONE = (
    "NOT EXISTS (SELECT 1 FROM checkpoints AS kept WHERE kept.thread_id = {table}.thread_id AND "
    "kept.checkpoint_ns = {table}.checkpoint_ns AND kept.checkpoint_id = {table}."
)
_KEEP_LATEST = (
    (
        "checkpoints",
        f"DELETE FROM {{table}} WHERE {_IN_THREAD} AND (checkpoint_id < {_NEWEST_HERE} OR "
        f"{_HAS_ENDED} < {_NEWEST_OF_ROOT})",
    ),
    (
        "writes",
        f"DELETE FROM {{table}} WHERE {_IN_THREAD} AND checkpoint_id < {_NEWEST_OF_ROOT} AND {_GONE}checkpoint_id)",
    ),
    (
        "checkpoints",
        f"UPDATE {{table}} SET parent_checkpoint_id = NULL WHERE {_IN_THREAD} AND {_GONE}parent_checkpoint_id)",
    ),
)
