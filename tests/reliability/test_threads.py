"""Threads on a real database: opened again, shared by processes, locked, full, restarted."""

from __future__ import annotations

import asyncio
import multiprocessing
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig

from alpha_umi import create_umi_agent
from alpha_umi.errors import ConfigError, StorageError
from alpha_umi.graph.checkpointers import open_async_checkpointer, open_checkpointer
from alpha_umi.graph.embed import UmiAgent
from alpha_umi.nodes.durability import checkpointers, claims
from alpha_umi.nodes.durability.ledger import SqliteLedger
from alpha_umi.nodes.models.scripted import ScriptedChatModel, replay
from alpha_umi.tools.ledger import CallKey

THREAD: RunnableConfig = {"configurable": {"thread_id": "t"}}
SCRIPT: Any = {
    "planner": ["I pay.\nNext: caller.", "Done.\nNext: conclusion."],
    "caller": ['Action: pay\nAction Input: {"sum": 5}'],
    "summarizer": ["Paid."],
}


def make_agent(checkpointer: Any, tool: Callable[..., Any] | None = None) -> UmiAgent:
    def pay(sum: int) -> str:
        """Pay."""
        return f"{sum} paid"

    return create_umi_agent(
        ScriptedChatModel(script=replay(SCRIPT)), [tool or pay], approvals=False, checkpointer=checkpointer
    )


def ask(question: str) -> Any:
    return {"messages": [{"role": "user", "content": question}]}


def read_questions(agent: UmiAgent) -> list[str]:
    messages = agent.get_state(THREAD).values.get("messages", [])
    return [message.text for message in messages if isinstance(message, HumanMessage)]


def test_thread_is_there_when_the_database_is_opened_again(where: str) -> None:
    for question in ("one", "two"):
        with open_checkpointer(where) as saver:
            assert make_agent(saver).invoke(ask(question), THREAD)["answer"] == "Paid."
    with open_checkpointer(where) as saver:
        assert read_questions(make_agent(saver)) == ["one", "two"]


async def test_thread_is_there_when_the_database_is_opened_again_async(where: str) -> None:
    for question in ("one", "two"):
        async with open_async_checkpointer(where) as saver:
            assert (await make_agent(saver).ainvoke(ask(question), THREAD))["answer"] == "Paid."
            found = [one async for one in saver.alist(THREAD, limit=1)]
            assert found[0].metadata["source"] == "loop"
    with open_checkpointer(where) as saver:
        assert read_questions(make_agent(saver)) == ["one", "two"]
        saver.delete_thread("t")
        assert read_questions(make_agent(saver)) == []


def test_two_claims_of_one_thread_exclude_each_other(where: str) -> None:
    with open_checkpointer(where) as ours, open_checkpointer(where) as theirs:
        with ours.claim("t"):
            with pytest.raises(StorageError, match="Thread 't' is in use by another process"), theirs.claim("t"):
                pass
            with theirs.claim("another"):
                pass
        with theirs.claim("t"):
            pass


def test_claim_ends_with_its_process(where: str) -> None:
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=import_module("shared_thread").die_with_claim, args=(where, "t"))
    process.start()
    process.join(60)
    assert process.exitcode == -9
    with open_checkpointer(where) as saver, saver.claim("t"):
        pass


def test_two_processes_on_one_thread_lose_nothing(where: str, tmp_path: Path) -> None:
    n_turns, talk = 4, import_module("shared_thread").talk
    context = multiprocessing.get_context("forkserver")
    processes = [
        context.Process(target=talk, args=(where, str(tmp_path / f"answered-{name}"), name, n_turns)) for name in "ab"
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    answered = [line for name in "ab" for line in (tmp_path / f"answered-{name}").read_text().splitlines()]
    with open_checkpointer(where) as saver:
        questions = read_questions(make_agent(saver))
    assert len(answered) == 2 * n_turns
    assert sorted(questions) == sorted(answered)


@pytest.mark.parametrize("is_async", [False, True])
def test_processes_that_resume_one_thread_do_its_steps_once(where: str, tmp_path: Path, is_async: bool) -> None:
    with open_checkpointer(where) as saver:
        make_agent(saver).invoke(ask("Pay."), THREAD, interrupt_before=["planner"])
    context = multiprocessing.get_context("forkserver")
    arguments = (where, str(tmp_path / "sums"), is_async, context.Barrier(3))
    resume = import_module("shared_thread").resume
    processes = [context.Process(target=resume, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    assert (tmp_path / "sums").read_text().split() == ["0", "1", "2", "3"]


async def test_run_waits_for_its_thread_unless_it_is_claimed_around_it(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_CLAIM_TIMEOUT_S", 0.3)
    async with open_async_checkpointer(where) as ours, open_async_checkpointer(where) as theirs:
        with ours.claim("t"):
            await make_agent(ours).ainvoke(ask("one"), THREAD)
            with pytest.raises(StorageError, match="in use"):
                await make_agent(theirs).ainvoke(ask("two"), THREAD)
            waiting = asyncio.create_task(make_agent(theirs).ainvoke(ask("three"), THREAD))
            await asyncio.sleep(0.1)
            waiting.cancel()
        with theirs.claim("t"), pytest.raises(asyncio.CancelledError):
            await waiting
        await make_agent(ours).ainvoke(ask("four"), THREAD)


def test_newest_threads_are_listed_first(where: str) -> None:
    with open_checkpointer(where) as saver:
        agent = make_agent(saver)
        for name in ("a", "b", "a", "c"):
            agent.invoke(ask("one"), {"configurable": {"thread_id": name}})
        assert (saver.list_threads(9), saver.list_threads(2)) == (["c", "a", "b"], ["c", "a"])


@contextmanager
def locked(path: str) -> Iterator[None]:
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


@pytest.mark.parametrize("durability", ["sync", "async"])
def test_locked_sqlite_file_gives_a_clear_error_and_loses_nothing(
    durability: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, sums = str(tmp_path / "threads.sqlite"), list[int]()

    def pay(sum: int) -> str:
        """Pay."""
        sums.append(sum)
        return "paid"

    with open_checkpointer(path, timeout_s=1) as saver:
        agent = make_agent(saver, pay)
        agent.invoke(ask("one"), THREAD)
        monkeypatch.setattr("alpha_umi.nodes.durability.effects._SAVE_TIMEOUT_S", 0.5)
        with locked(path), pytest.raises(StorageError, match=r"locked.*resume the thread"):
            agent.invoke(ask("two"), THREAD, durability=durability)
        assert len(sums) == 1
        monkeypatch.undo()
        agent.invoke(ask("two"), THREAD)
        assert (read_questions(agent), len(sums)) == (["one", "two"], 2)


async def test_locked_sqlite_file_gives_a_clear_error_async(tmp_path: Path) -> None:
    path = str(tmp_path / "threads.sqlite")
    async with open_async_checkpointer(path, timeout_s=1) as saver:
        agent = make_agent(saver)
        await agent.ainvoke(ask("one"), THREAD)
        with locked(path), pytest.raises(StorageError, match=r"locked.*resume the thread"):
            await agent.ainvoke(ask("two"), THREAD, durability="sync")
        await agent.ainvoke(ask("two"), THREAD)


@pytest.fixture
def written_for_now(tmp_path: Path) -> Iterator[str]:
    """Give a new file that another is about to write: SQLite refuses to change its journal, without any wait."""
    path = tmp_path / "new.sqlite"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.3, other.rollback)
    timer.start()
    yield str(path)
    timer.join()
    other.close()


def test_sqlite_ledger_waits_for_a_new_file_that_is_written(written_for_now: str) -> None:
    assert SqliteLedger(written_for_now).begin(CallKey.make("thread", "call_1", {}), "pay") == 0


def test_threads_wait_for_a_new_sqlite_file_that_is_written(written_for_now: str) -> None:
    with open_checkpointer(written_for_now) as saver:
        assert make_agent(saver).invoke(ask("one"), THREAD)["answer"] == "Paid."


async def test_threads_wait_for_a_new_sqlite_file_that_is_written_async(written_for_now: str) -> None:
    async with open_async_checkpointer(written_for_now) as saver:
        assert (await make_agent(saver).ainvoke(ask("one"), THREAD))["answer"] == "Paid."


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_full_disk_gives_a_clear_error_and_loses_nothing(tmp_path: Path) -> None:
    where, effects = str(tmp_path / "threads.sqlite"), tmp_path / "effects"
    context = multiprocessing.get_context("forkserver")
    run = import_module("shared_thread").run_on_a_full_disk
    seen = set()
    for free_bytes in (0, 20_000, 40_000, 60_000):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=run, args=(where, str(effects), free_bytes, theirs))
        process.start()
        process.join(60)
        assert ours.poll(0), process.exitcode
        seen.add(ours.recv())
        ours.close()
        theirs.close()
    assert all(outcome.startswith(("StorageError", "ConfigError", "done")) for outcome in seen), seen
    assert any("Make room there" in outcome or "full" in outcome for outcome in seen), seen
    import_module("killed_agent").run(where, str(effects), "t", n_steps=5)
    damage = import_module("killing").Damage()
    import_module("killing").Victim(where, tmp_path).examine("t", 5, damage, effects="effects")
    assert damage.is_none, damage


def test_database_that_cannot_be_opened_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no database, but long enough to be taken for one" * 50)
    for path in (tmp_path / "file", tmp_path / "file" / "threads.sqlite"):
        with pytest.raises(ConfigError, match="Name another place"), open_checkpointer(path):
            pass


async def test_postgres_that_cannot_be_reached_says_what_to_do_and_keeps_its_password() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(ConfigError, match="Name another place") as caught:
        async with open_async_checkpointer("postgresql://umi:hunter2@127.0.0.1:9/none", timeout_s=1):
            pass
    assert "hunter2" not in str(caught.value)


def test_restart_of_postgres_loses_nothing(postgres: str, postgres_server: Any) -> None:
    with open_checkpointer(postgres, timeout_s=2) as saver:
        agent = make_agent(saver)
        agent.invoke(ask("one"), THREAD)
        postgres_server.stop()
        try:
            with pytest.raises(StorageError, match="resume the thread"):
                agent.invoke(ask("two"), THREAD)
        finally:
            postgres_server.start()
        for _ in range(10):
            with suppress(StorageError):  # connections that failed are tried again after a while
                agent.invoke(ask("two"), THREAD)
                break
        assert read_questions(agent) == ["one", "two"]


def test_driver_that_stalls_while_a_cursor_is_open_holds_nobody_up_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpointers, "ANSWER_TIMEOUT_S", 1.0)

    async def run() -> None:
        async with open_async_checkpointer(tmp_path / "threads.sqlite") as saver:
            await saver.aget_tuple(THREAD)
            execute = saver.conn._execute  # type: ignore[attr-defined]
            asked: list[Any] = []

            async def stall(*args: Any) -> Any:
                asked.append(args)
                return await (execute(*args) if len(asked) == 1 else asyncio.get_running_loop().create_future())

            monkeypatch.setattr(saver.conn, "_execute", stall)  # type: ignore[attr-defined]
            with pytest.raises(StorageError, match="resume the thread"):
                await asyncio.wait_for(saver.aget_tuple(THREAD), 120)
            monkeypatch.setattr(saver.conn, "_execute", execute)  # type: ignore[attr-defined]

    asyncio.run(run())


@pytest.mark.parametrize("n_lost", [1, 5, 1000])
def test_answer_of_the_driver_that_never_comes_holds_nobody_up_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_lost: int
) -> None:
    monkeypatch.setattr(checkpointers, "ANSWER_TIMEOUT_S", 1.0)
    lost: list[int] = []

    async def run() -> list[Any]:
        async with open_async_checkpointer(tmp_path / "threads.sqlite") as saver:
            agent = make_agent(saver)
            execute = saver.conn._execute  # type: ignore[attr-defined]

            async def lose(*args: Any) -> Any:
                answer = await execute(*args)
                if len(lost) < n_lost and len(args) > 1:  # a statement, and not the end of one
                    lost.append(1)
                    await asyncio.get_running_loop().create_future()
                return answer

            monkeypatch.setattr(saver.conn, "_execute", lose)  # type: ignore[attr-defined]
            outcomes: list[Any] = []
            try:
                outcomes.append(await agent.ainvoke(ask("one"), THREAD))
            except StorageError as error:
                outcomes.append(error)
            monkeypatch.setattr(saver.conn, "_execute", execute)  # type: ignore[attr-defined]
            outcomes.append(await agent.ainvoke(ask("two"), THREAD))
            return outcomes

    first, second = asyncio.run(asyncio.wait_for(run(), 120))
    assert second["answer"] == "Paid."
    if n_lost == 1:
        assert first["answer"] == "Paid."
    if n_lost == 1000:
        assert isinstance(first, StorageError)
        assert "use PostgreSQL" in str(first)
