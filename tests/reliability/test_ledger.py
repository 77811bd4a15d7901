"""The ledger by itself, and the tools node between its two records."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command, interrupt

from alpha_umi import UmiContext, create_umi_agent
from alpha_umi.errors import ConfigError, StorageError
from alpha_umi.graph.embed import UmiAgent
from alpha_umi.nodes.durability.effects import find_ledger
from alpha_umi.nodes.durability.ledger import MemoryLedger, SqliteLedger
from alpha_umi.nodes.durability.postgres import PostgresLedger
from alpha_umi.nodes.models.scripted import ScriptedChatModel, replay
from alpha_umi.tools import Ledger, Toolbox, ToolSpec, declare_effects, load_tools, make_tool, spec_from_tool
from alpha_umi.tools.convert import to_base_tool
from alpha_umi.tools.ledger import CallKey
from alpha_umi.tools.openapi import load_openapi
from alpha_umi.tools.spec import read_hints

KEY = CallKey.make("thread", "call_1", {"a": 1, "b": "ü"})
THREAD: RunnableConfig = {"configurable": {"thread_id": "t"}}
QUESTION: Any = {"messages": [{"role": "user", "content": "Pay."}]}
SCRIPT: Any = {
    "planner": ["I pay.\nNext: caller.", "Done.\nNext: conclusion."],
    "caller": ['Action: pay\nAction Input: {"sum": 5}'],
    "summarizer": ["Paid."],
}


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    if request.param == "memory":
        return MemoryLedger()
    if request.param == "sqlite":
        return SqliteLedger(tmp_path / "new" / "ledger.sqlite")
    return PostgresLedger(request.getfixturevalue("postgres"))


def test_ledger_gives_a_call_to_one_of_many_callers(ledger: Ledger) -> None:
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda _: ledger.begin(KEY, "pay"), range(16)))
    assert sorted(map(str, outcomes)) == ["0"] + ["1"] * 15


def test_ledger_answers_a_finished_call(ledger: Ledger) -> None:
    message = ToolMessage("5 € \0 paid", name="pay", tool_call_id="call_1", status="error", artifact={"n": [1, None]})
    assert ledger.begin(KEY, "pay") == 0
    ledger.finish(KEY, message)
    assert ledger.begin(KEY, "pay") == message


def test_ledger_leaves_out_an_artifact_that_is_no_json(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "ledger.sqlite")
    ledger.begin(KEY, "pay")
    ledger.finish(KEY, ToolMessage("ok", name="pay", tool_call_id="call_1", artifact=object()))
    assert ledger.begin(KEY, "pay") == ToolMessage("ok", name="pay", tool_call_id="call_1")


@pytest.mark.parametrize(
    "other",
    [
        CallKey.make("other", "call_1", {"a": 1, "b": "ü"}),
        CallKey.make("thread", "call_2", {"a": 1, "b": "ü"}),
        CallKey.make("thread", "call_1", {"a": 2, "b": "ü"}),
    ],
)
def test_ledger_tells_threads_calls_and_arguments_apart(ledger: Ledger, other: CallKey) -> None:
    ledger.begin(KEY, "pay")
    assert ledger.begin(other, "pay") == 0


def test_key_does_not_depend_on_the_order_of_arguments() -> None:
    assert CallKey.make("thread", "call_1", {"b": "ü", "a": 1}) == KEY


def test_ledger_restarts_a_call_once(ledger: Ledger) -> None:
    ledger.begin(KEY, "pay")
    assert [ledger.restart(KEY), ledger.restart(KEY)] == [True, False]
    assert ledger.begin(KEY, "pay") == 2


def test_ledger_restarts_no_call_that_has_ended(ledger: Ledger) -> None:
    ledger.begin(KEY, "pay")
    ledger.finish(KEY, ToolMessage("ok", name="pay", tool_call_id="call_1"))
    assert not ledger.restart(KEY)


def test_ledger_forgets(ledger: Ledger) -> None:
    ledger.begin(KEY, "pay")
    ledger.forget(KEY)
    assert ledger.begin(KEY, "pay") == 0


def test_sqlite_ledger_in_a_locked_file_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = SqliteLedger(path, busy_timeout_s=0.1)
    ledger.begin(KEY, "pay")
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageError, match=r"locked.*end the process that locks"):
            ledger.finish(KEY, ToolMessage("ok", tool_call_id="call_1"))
    assert ledger.begin(KEY, "pay") == 1


def test_postgres_ledger_without_a_server_says_what_to_do() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(StorageError, match="Check that the server runs"):
        PostgresLedger("postgresql://nobody@127.0.0.1:9/none").begin(KEY, "pay")


# What tools declare


def pay(sum: int) -> str:
    """Pay a sum."""
    return f"{sum} paid"


@pytest.mark.parametrize(
    ("tool", "expected"),
    [
        (pay, "once"),
        (declare_effects("idempotent")(lambda_pay := StructuredTool.from_function(pay)), "idempotent"),
        (lambda_pay, "once"),
        (StructuredTool.from_function(pay, metadata={"effects": "none"}), "none"),
        (StructuredTool.from_function(pay, metadata={"readOnlyHint": True, "idempotentHint": True}), "none"),
        (StructuredTool.from_function(pay, metadata={"idempotentHint": True}), "idempotent"),
        (make_tool(ToolSpec("pay", effects="none"), pay), "none"),
    ],
)
def test_effects_are_read_from_the_tool(tool: Any, expected: str) -> None:
    assert spec_from_tool(to_base_tool(tool)).effects == expected


def test_effects_of_a_function_are_declared_by_a_decorator() -> None:
    @declare_effects("none")
    def look() -> str:
        """Look."""
        return ""

    assert Toolbox([look]).specs[0].effects == "none"


def test_effects_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ConfigError, match="none, idempotent, once"):
        ToolSpec("pay", effects="sometimes")  # type: ignore[arg-type]


def test_builtin_tools_have_no_effects() -> None:
    assert {spec_from_tool(tool).effects for tool in load_tools(["builtin:*"])} == {"none"}


def test_effects_follow_the_http_method() -> None:
    operations = {method: {"operationId": method} for method in ("get", "put", "delete", "post", "patch")}
    tools = load_openapi({"openapi": "3.0.0", "paths": {"/x": operations}}, base_url="http://127.0.0.1")
    found = {tool.name: spec_from_tool(tool).effects for tool in tools}
    assert found == {"get": "none", "put": "idempotent", "delete": "idempotent", "post": "once", "patch": "once"}


def test_hints_that_claim_nothing_are_no_promise() -> None:
    assert read_hints({"readOnlyHint": False, "idempotentHint": None, "destructiveHint": False}) == "once"


def test_effects_do_not_reach_the_model() -> None:
    assert "once" not in str(ToolSpec("pay").to_openai())


# The tools node


def make_agent(tool: Callable[..., Any], checkpointer: Any, **options: Any) -> UmiAgent:
    return create_umi_agent(
        ScriptedChatModel(script=replay(SCRIPT)), [tool], approvals=False, checkpointer=checkpointer, **options
    )


def read_observation(result: Any) -> str:
    return next(str(message.text) for message in result["messages"] if isinstance(message, ToolMessage))


async def go(agent: UmiAgent, value: Any, *, is_async: bool, **options: Any) -> Any:
    if is_async:
        return await agent.ainvoke(value, THREAD, **options)
    return await asyncio.to_thread(partial(agent.invoke, value, THREAD, **options))


class CrashingSaver(InMemorySaver):
    """Saves nothing more once a tool's observation is to be saved."""

    is_broken = True
    is_gone = False

    def put_writes(self, config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
        if any(isinstance(value, list) and value and isinstance(value[0], ToolMessage) for _, value in writes):
            self.is_gone = True
        self._check()
        super().put_writes(config, writes, task_id, task_path)

    def put(self, *args: Any) -> RunnableConfig:
        self._check()
        return super().put(*args)

    async def aput(self, *args: Any) -> RunnableConfig:
        return self.put(*args)

    def _check(self) -> None:
        if self.is_broken and self.is_gone:
            raise OSError("the database is gone")

    async def aput_writes(self, config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
        self.put_writes(config, writes, task_id, task_path)


@pytest.mark.parametrize("is_async", [False, True])
async def test_finished_call_is_answered_from_the_ledger(is_async: bool) -> None:
    sums: list[int] = []

    def pay(sum: int) -> str:
        """Pay."""
        sums.append(sum)
        return "paid the first time"

    saver = CrashingSaver()
    agent = make_agent(pay, saver, ledger=MemoryLedger())
    with pytest.raises(OSError, match="gone"):
        await go(agent, QUESTION, is_async=is_async)
    saver.is_broken = False
    result = await go(agent, None, is_async=is_async)
    assert (read_observation(result), result["answer"], sums) == ("paid the first time", "Paid.", [5])


class FullLedger(MemoryLedger):
    """Has no room for the first results: those calls have begun and nothing more is known, as after a crash."""

    def __init__(self, n_failures: int) -> None:
        super().__init__()
        self.n_failures = n_failures

    def finish(self, key: CallKey, message: ToolMessage) -> None:
        if self.n_failures:
            self.n_failures -= 1
            raise StorageError("no room")
        super().finish(key, message)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(("effects", "n_runs"), [("none", 2), ("idempotent", 2), ("once", 1)])
async def test_unfinished_call_is_repeated_only_if_that_does_no_harm(effects: Any, n_runs: int, is_async: bool) -> None:
    sums: list[int] = []

    @declare_effects(effects)
    def pay(sum: int) -> str:
        """Pay."""
        sums.append(sum)
        return "paid"

    saver = CrashingSaver()
    agent = make_agent(pay, saver, ledger=FullLedger(1))
    with pytest.raises((StorageError, OSError)):
        await go(agent, QUESTION, is_async=is_async)
    saver.is_broken = False
    result = await go(agent, None, is_async=is_async)
    assert (len(sums), result["answer"]) == (n_runs, "Paid.")
    assert ("outcome unknown" in read_observation(result)) == (effects == "once")


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_person_can_permit_one_repetition(is_async: bool) -> None:
    sums: list[int] = []

    def pay(sum: int) -> str:
        """Pay."""
        sums.append(sum)
        return "paid at last"

    approve: Any = Command(resume={"decisions": [{"type": "approve"}]})
    agent = make_agent(pay, InMemorySaver(), ledger=FullLedger(2))
    asked = await go(agent, QUESTION, is_async=is_async, context=UmiContext(approve_tools=True))
    assert asked["__interrupt__"][0].value["action_requests"][0]["description"].startswith("Run tool 'pay'?")
    with pytest.raises(StorageError):
        await go(agent, approve, is_async=is_async)
    asked = await go(agent, None, is_async=is_async)
    assert "outcome unknown" in asked["__interrupt__"][0].value["action_requests"][0]["description"]
    asked = await go(agent, Command(resume="yes"), is_async=is_async)
    assert "decisions" in asked["__interrupt__"][0].value["error"]
    with pytest.raises(StorageError):
        await go(agent, approve, is_async=is_async)
    result = await go(agent, None, is_async=is_async)
    assert len(sums) == 2, "the permission was used a second time"
    assert "outcome unknown" in read_observation(result)


def test_a_person_can_refuse_the_repetition() -> None:
    sums: list[int] = []

    def pay(sum: int) -> str:
        """Pay."""
        sums.append(sum)
        return "paid"

    agent = make_agent(pay, InMemorySaver(), ledger=FullLedger(1))
    agent.invoke(QUESTION, THREAD, context=UmiContext(approve_tools=True))
    with pytest.raises(StorageError):
        agent.invoke(Command(resume={"decisions": [{"type": "approve"}]}), THREAD)
    agent.invoke(None, THREAD)
    result = agent.invoke(Command(resume={"decisions": [{"type": "reject", "message": "I see it booked"}]}), THREAD)
    assert "I see it booked" in read_observation(result)
    assert len(sums) == 1


def test_permission_to_repeat_one_of_several_calls_is_not_that_to_run_them() -> None:
    sums: list[int] = []

    def pay(sum: int) -> str:
        """Pay."""
        sums.append(sum)
        return "paid"

    calls = "\n".join(f'Action: pay\nAction Input: {{"sum": {sum}}}' for sum in (5, 6))
    model = ScriptedChatModel(script=replay({**SCRIPT, "caller": [calls]}))
    agent = create_umi_agent(model, [pay], approvals=False, checkpointer=InMemorySaver(), ledger=FullLedger(1))
    approve: Any = {"decisions": [{"type": "approve"}]}
    agent.invoke(QUESTION, THREAD, context=UmiContext(approve_tools=True))
    with pytest.raises(StorageError):
        agent.invoke(Command(resume={"decisions": [{"type": "approve"}] * 2}), THREAD)
    (asked,) = agent.invoke(None, THREAD)["__interrupt__"]
    action = asked.value["action_requests"][0]
    assert "again" in action["description"]
    assert sorted(sums) == [5, 6]
    assert agent.invoke(Command(resume=approve), THREAD)["answer"] == "Paid."
    assert sorted(sums) == sorted([5, 6, action["args"]["sum"]])


def test_tool_that_asks_a_person_itself_goes_on() -> None:
    def pay(sum: int) -> str:
        """Pay."""
        return f"paid from {interrupt('Which account?')}"

    agent = make_agent(pay, InMemorySaver())
    assert agent.invoke(QUESTION, THREAD)["__interrupt__"][0].value == "Which account?"
    assert read_observation(agent.invoke(Command(resume="savings"), THREAD)) == "paid from savings"


@pytest.mark.parametrize("effects", ["once", "none"])
def test_timeout_of_a_call_that_must_not_be_repeated_says_so(effects: Any) -> None:
    @declare_effects(effects)
    def pay(sum: int) -> None:
        """Pay."""
        time.sleep(0.3)

    text = Toolbox([pay], timeout_s=0.05).execute("pay", {"sum": 1}, "1").text
    assert ("Do not repeat" in text) == (effects == "once")


def test_tool_does_not_run_before_its_decision_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alpha_umi.nodes.durability.effects._SAVE_TIMEOUT_S", 0.1)
    sums: list[int] = []

    def pay(sum: int) -> None:
        """Pay."""
        sums.append(sum)

    with pytest.raises(StorageError, match="durability"):
        make_agent(pay, InMemorySaver()).invoke(QUESTION, THREAD, durability="exit")
    assert sums == []


@pytest.mark.parametrize("durability", ["sync", "async"])
def test_calls_of_a_search_are_recorded(durability: Any, tmp_path: Path) -> None:
    with open_sqlite(tmp_path / "threads.sqlite") as saver:
        agent = make_agent(pay, saver, strategy="dfsdt")
        assert agent.invoke(QUESTION, THREAD, durability=durability)["answer"] == "Paid."
    assert count_records(tmp_path / "threads.sqlite") == 1


def test_nothing_is_recorded_without_a_checkpointer() -> None:
    ledger = MemoryLedger()
    result = make_agent(pay, None, ledger=ledger).invoke(QUESTION, THREAD)
    assert read_observation(result) == "5 paid"
    assert ledger._outcomes == {}


@contextmanager
def open_sqlite(path: Path) -> Iterator[SqliteSaver]:
    with SqliteSaver.from_conn_string(str(path)) as saver:
        yield saver


@asynccontextmanager
async def open_async_sqlite(path: Path) -> AsyncIterator[AsyncSqliteSaver]:
    async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
        yield saver


def count_records(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        return int(database.execute("SELECT count(*) FROM effects WHERE result IS NOT NULL").fetchone()[0])


def test_ledger_is_a_table_beside_langgraphs_own_sqlite_saver(tmp_path: Path) -> None:
    with open_sqlite(tmp_path / "threads.sqlite") as saver:
        make_agent(pay, saver).invoke(QUESTION, THREAD)
    assert count_records(tmp_path / "threads.sqlite") == 1


async def test_ledger_is_a_table_beside_langgraphs_own_async_sqlite_saver(tmp_path: Path) -> None:
    async with open_async_sqlite(tmp_path / "threads.sqlite") as saver:
        await make_agent(pay, saver).ainvoke(QUESTION, THREAD)
    assert count_records(tmp_path / "threads.sqlite") == 1


def test_ledger_is_in_memory_where_the_threads_are() -> None:
    assert isinstance(find_ledger(InMemorySaver()), MemoryLedger)
    with open_sqlite(Path(":memory:")) as saver:
        assert isinstance(find_ledger(saver), MemoryLedger)


def test_ledger_of_another_checkpointer_is_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    saver = CrashingSaver()
    saver.is_broken = False
    make_agent(pay, saver).invoke(QUESTION, THREAD)
    assert count_records(tmp_path / ".alpha-umi" / "effects.sqlite") == 1


@pytest.mark.parametrize("is_pool", [False, True])
def test_ledger_is_a_table_beside_langgraphs_own_postgres_saver(is_pool: bool, postgres: str) -> None:
    from langgraph.checkpoint.postgres import PostgresSaver  # noqa: PLC0415 - an extra that may not be installed
    from psycopg import connect  # noqa: PLC0415
    from psycopg.rows import dict_row  # noqa: PLC0415
    from psycopg_pool import ConnectionPool  # noqa: PLC0415

    options: Any = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    with ConnectionPool(postgres, kwargs=options) if is_pool else connect(postgres, **options) as connection:
        saver = PostgresSaver(connection)  # type: ignore[arg-type]
        saver.setup()
        make_agent(pay, saver).invoke(QUESTION, THREAD)
    with connect(postgres) as database:
        assert database.execute("SELECT count(*) FROM effects WHERE result IS NOT NULL").fetchone() == (1,)
