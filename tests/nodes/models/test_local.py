from __future__ import annotations

import asyncio
import copy
import json
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from blockbuster import blockbuster_ctx
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from pydantic import ValidationError

from alpha_umi.errors import ConfigError, ContextOverflow, InputError, ModelNotAvailable
from alpha_umi.nodes.format.parsing import parse_calls, parse_plan
from alpha_umi.nodes.format.render import render_messages
from alpha_umi.nodes.format.trajectory import Trajectory, Turn
from alpha_umi.nodes.models.engine import EngineName
from alpha_umi.nodes.models.engine.weights import resolve
from alpha_umi.nodes.models.local import LocalChatModel
from alpha_umi.tools.spec import ToolSpec
from tests.conftest import run_forked

SPEC = ToolSpec("add", "Adds.", {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
MESSAGES: list[BaseMessage] = [*render_messages(Trajectory((SPEC,), (Turn("What is 2 + 3?"),)))]
TOOLS = [SPEC.to_openai()]
Make = Callable[..., LocalChatModel]


@pytest.fixture
def make(model_folder: Path, engine: EngineName) -> Make:
    """Models in both engines: what follows holds for either."""

    def make_model(**fields: Any) -> LocalChatModel:
        defaults: dict[str, Any] = {"engine": engine, "dtype": "float32", "device": "cpu", "max_tokens": 40}
        return LocalChatModel(model=str(model_folder), **(defaults | fields))

    return make_model


def is_free(model: LocalChatModel, n_computed: list[int]) -> bool:
    """Say whether the engine does something else and writes no more; what it was at, it may finish."""
    model.get_num_tokens("x")
    before = n_computed[0]
    time.sleep(0.2)
    return n_computed[0] - before <= 2


async def collect(model: LocalChatModel, **kwargs: Any) -> list[AIMessageChunk]:
    return [chunk async for chunk in model.astream(MESSAGES, **kwargs)]


# One text behind every door


def count_tokens(message: AIMessage) -> tuple[int, int]:
    """Return what a message cost, wherever the tokens came from: from the cache or not."""
    assert message.usage_metadata is not None
    return message.usage_metadata["input_tokens"], message.usage_metadata["output_tokens"]


@pytest.mark.parametrize("role", ["planner", "caller", "summarizer"])
async def test_every_door_gives_the_same_message(make: Make, role: str) -> None:
    kwargs: dict[str, Any] = {"role": role, "tools": TOOLS}
    model = make()
    invoked = model.invoke(MESSAGES, **kwargs)
    assert invoked.text
    streamed = list(model.stream(MESSAGES, **kwargs))
    assert (await model.ainvoke(MESSAGES, **kwargs)).content == invoked.content
    for chunks in (streamed, await collect(model, **kwargs)):
        assert len(chunks) > 3
        whole: Any = chunks[0]
        for chunk in chunks[1:]:
            whole += chunk
        assert whole.content == invoked.content
        assert count_tokens(whole) == count_tokens(invoked)
        assert whole.response_metadata.keys() == invoked.response_metadata.keys()
        assert whole.response_metadata["finish_reason"] == invoked.response_metadata["finish_reason"]
        assert chunks[-1].chunk_position == "last"


def test_planner_says_how_certain_it_is(make: Make) -> None:
    cut = make(max_tokens=60).invoke(MESSAGES, role="planner", tools=TOOLS)  # a random model never comes to decide
    assert cut.response_metadata["certainty"]["decision"] == 0
    *_, last = make().stream(MESSAGES, role="planner", tools=TOOLS)
    assert last.response_metadata["certainty"].keys() >= {"decision"}
    assert "certainty" not in make().invoke(MESSAGES, role="caller", tools=TOOLS).response_metadata


def test_roles_keep_to_their_format(make: Make) -> None:
    model = make(temperature=2.0, max_tokens=60)
    for seed in range(5):
        plan = parse_plan(model.invoke(MESSAGES, role="planner", tools=TOOLS, seed=seed).text)
        assert plan.decision is not None
        (call,) = parse_calls(model.invoke(MESSAGES, role="caller", tools=TOOLS, seed=seed).text)
        assert (call.name, call.fault) == ("add", None)
    free = make(constrained=False).invoke(MESSAGES, role="planner")
    assert parse_plan(free.text).decision is None
    assert make().invoke(MESSAGES, role="planner", constrained=False).content == free.content


def test_usage_counts_tokens(make: Make) -> None:
    model = make(constrained=False)
    for n in (1, 7, 20):
        usage = model.invoke(MESSAGES, role="planner", max_tokens=n).usage_metadata
        assert usage is not None
        prompt = model.get_num_tokens("".join(f"<|im_start|>{m.role}\n{m.text}<|im_end|>\n" for m in roles(MESSAGES)))
        assert usage["input_tokens"] == prompt + model.get_num_tokens("<|im_start|>planner\n")
        assert (usage["output_tokens"], usage["total_tokens"]) == (n, usage["input_tokens"] + n)
        assert 0 <= usage["input_token_details"]["cache_read"] < usage["input_tokens"]


def test_response_metadata_counts_what_the_cache_did(make: Make) -> None:
    model = make(constrained=False, max_tokens=3)
    question = ChatMessage(role="user", content="What was never asked before?")
    for n_known in (0, 1):
        message = model.invoke([question], role="planner")
        usage, metadata = message.usage_metadata, message.response_metadata
        assert usage is not None
        n_cached = usage["input_token_details"]["cache_read"]
        assert metadata["prefilled_tokens"] == usage["input_tokens"] - n_cached
        assert (metadata["prefilled_tokens"] == 1) == bool(n_known)
        assert metadata["cache_evictions"] == 0


def roles(messages: Sequence[BaseMessage]) -> list[ChatMessage]:
    return [message for message in messages if isinstance(message, ChatMessage)]


def test_finish_reason_tells_why_the_text_ended(make: Make) -> None:
    model = make(constrained=False)
    cut = model.invoke(MESSAGES, role="planner", max_tokens=12)
    assert cut.response_metadata["finish_reason"] == "length"
    stopped = model.invoke(MESSAGES, role="planner", max_tokens=12, stop=[cut.text[3:6]])
    assert stopped.response_metadata["finish_reason"] == "stop"
    decided = model.invoke(MESSAGES, role="planner", constrained=True)
    assert decided.response_metadata["finish_reason"] == "stop"
    assert decided.response_metadata["model_name"] == "tiny#planner"


def test_stop_strings_are_never_shown(make: Make) -> None:
    model = make(constrained=False)
    text = model.invoke(MESSAGES, role="summarizer").text
    for start, end in ((5, 6), (4, 12), (10, 25)):
        stop = text[start:end]
        expected = text[: text.index(stop)]
        assert model.invoke(MESSAGES, role="summarizer", stop=[stop, "never written"]).text == expected
        pieces = [chunk.text for chunk in model.stream(MESSAGES, role="summarizer", stop=[stop])]
        assert "".join(pieces) == expected


def test_sampling_follows_the_seed(make: Make) -> None:
    model = make(temperature=1.5, constrained=False)

    def write(seed: int | None) -> str:
        return model.invoke(MESSAGES, role="planner", seed=seed).text

    assert write(1) == write(1) != write(2)
    assert make(temperature=1.5, seed=1, constrained=False).invoke(MESSAGES, role="planner").text == write(1)
    assert write(None) != write(None)
    assert (
        model.invoke(MESSAGES, role="planner", temperature=0.0).text
        == make(constrained=False).invoke(MESSAGES, role="planner").text
    )


# Cancellation


def test_leaving_a_stream_frees_the_model(make: Make, n_computed: list[int]) -> None:
    model = make(max_tokens=30_000, constrained=False)
    stream = model.stream(MESSAGES, role="summarizer")
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert is_free(model, n_computed)
    assert model.invoke(MESSAGES, role="summarizer", max_tokens=3).text


async def test_leaving_an_async_stream_frees_the_model(make: Make, n_computed: list[int]) -> None:
    model = make(max_tokens=30_000, constrained=False)
    stream = model.astream(MESSAGES, role="summarizer")
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]
    assert await asyncio.to_thread(is_free, model, n_computed)


@pytest.mark.parametrize("n_words", [1, 20_000])
async def test_cancelling_a_task_frees_the_model(make: Make, n_words: int, n_computed: list[int]) -> None:
    model = make(max_tokens=20_000, constrained=False)
    model.get_num_tokens("loaded")
    message = ChatMessage(role="user", content="a " * n_words)
    task = asyncio.create_task(model.ainvoke([message], role="summarizer"))
    while not n_computed[0]:
        await asyncio.sleep(0.01)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(is_free, model, n_computed)
    assert (await model.ainvoke(MESSAGES, role="summarizer", max_tokens=3)).text


def test_an_interrupt_frees_the_model(make: Make, n_computed: list[int]) -> None:
    model = make(max_tokens=30_000, constrained=False)

    def read() -> None:
        for _ in model.stream(MESSAGES, role="summarizer"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read()
    assert is_free(model, n_computed)


async def test_a_waiting_call_can_be_cancelled(make: Make, n_computed: list[int]) -> None:
    model = make(max_tokens=30_000, constrained=False)
    running = asyncio.create_task(model.ainvoke(MESSAGES, role="summarizer"))
    await asyncio.sleep(0.1)
    waiting = asyncio.create_task(model.ainvoke(MESSAGES, role="summarizer"))
    await asyncio.sleep(0.1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    running.cancel()
    assert await asyncio.to_thread(is_free, model, n_computed)


# Concurrency


def test_adapters_at_once_write_what_they_write_alone(make: Make) -> None:
    models = [make(adapter=adapter, constrained=False) for adapter in (None, "one", "two")]
    alone = [model.invoke(MESSAGES, role="planner").text for model in models]
    assert len(set(alone)) == 3
    with ThreadPoolExecutor(6) as threads:
        jobs = [threads.submit(models[i % 3].invoke, MESSAGES, role="planner") for i in range(18)]
        assert [job.result().text for job in jobs] == [alone[i % 3] for i in range(18)]


async def test_adapters_at_once_in_one_loop(make: Make) -> None:
    models = [make(adapter=adapter, constrained=False) for adapter in (None, "one", "two")]
    alone = [(await model.ainvoke(MESSAGES, role="planner")).text for model in models]
    together = await asyncio.gather(*(models[i % 3].ainvoke(MESSAGES, role="planner") for i in range(9)))
    assert [message.text for message in together] == [alone[i % 3] for i in range(9)]


async def test_the_event_loop_is_never_blocked(copy_model: Callable[[str], Path]) -> None:
    model = LocalChatModel(model=str(copy_model("fresh")), dtype="float32", max_tokens=20)
    with blockbuster_ctx():
        message = await model.ainvoke(MESSAGES, role="planner", tools=TOOLS)
        chunks = await collect(model, role="planner", tools=TOOLS)
    assert "".join(chunk.text for chunk in chunks) == message.text


def test_a_slow_reader_does_not_hold_the_model(make: Make) -> None:
    model = make(constrained=False)
    slow = model.stream(MESSAGES, role="planner")
    next(slow)
    assert model.invoke(MESSAGES, role="planner").text
    assert list(slow)


# What goes wrong


async def test_errors_reach_the_caller_at_once(make: Make, model_folder: Path) -> None:
    cases: list[tuple[LocalChatModel, type[Exception], str]] = [
        (LocalChatModel(model="no-such-model"), ConfigError, "no model 'no-such-model'"),
        (LocalChatModel(model="nobody/nothing"), ModelNotAvailable, "models pull nobody/nothing"),
        (LocalChatModel(model=str(model_folder / "one")), ConfigError, "holds an adapter"),
        (make(adapter="three"), ConfigError, "no adapter 'three'"),
        (make(device="abacus", engine="torch"), ConfigError, "Unknown device"),
        (make(max_tokens=65_536), ConfigError, "max_tokens=65536"),
    ]
    for model, kind, message in cases:
        with pytest.raises(kind, match=message):
            model.invoke(MESSAGES, role="planner")
        with pytest.raises(kind, match=message):
            await model.ainvoke(MESSAGES, role="planner")
        with pytest.raises(kind, match=message):
            next(iter(model.stream(MESSAGES, role="planner")))
        with pytest.raises(kind, match=message):
            await collect(model, role="planner")
    assert make().invoke(MESSAGES, role="planner").text


def test_a_prompt_beyond_the_window_is_refused(make: Make) -> None:
    with pytest.raises(ContextOverflow):
        make(max_tokens=65_000).invoke([ChatMessage(role="user", content="a " * 2000)], role="planner")


def test_old_observations_are_cut_to_fit(make: Make) -> None:
    step = [
        ChatMessage(role="planner", content="Next: caller."),
        ChatMessage(role="caller", content="Action: add\nAction Input: {}"),
        ChatMessage(role="observation", content="x y " * 4000),
    ]
    messages: list[BaseMessage] = [ChatMessage(role="user", content="Hi"), *step * 4, step[0]]
    usage = make(max_tokens=60_000, constrained=False).invoke(messages, role="caller", stop=["e"]).usage_metadata
    assert usage is not None
    assert usage["input_tokens"] <= 65_536 - 60_000


def test_no_messages_and_unknown_roles_are_refused(make: Make) -> None:
    with pytest.raises(InputError, match="no messages"):
        make().invoke([], role="planner")
    with pytest.raises(Exception, match=r"umi\.jinja knows the roles"):
        make().invoke([ChatMessage(role="boss", content="x")], role="planner")


@pytest.mark.parametrize(
    "fields",
    [{"max_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"max_token": 5}, {"role": "boss"}, {"style": "free"}],
)
def test_fields_are_validated(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LocalChatModel(model="smollm2-135m", **fields)


# As a LangChain model


@tool
def weather(city: str, days: int = 1) -> str:
    """Forecast the weather."""
    return f"{city}: sun for {days}"


def test_standard_messages_are_answered_by_the_summarizer(make: Make) -> None:
    model = make()
    history = [
        SystemMessage("Be brief."),
        HumanMessage("Weather in Rome?"),
        AIMessage("I look.", tool_calls=[{"name": "weather", "args": {"city": "Rome"}, "id": "1"}]),
        ToolMessage("sun", tool_call_id="1"),
    ]
    assert model.invoke(history).content == model.invoke(history, role="summarizer").content
    assert model.invoke(history).content != model.invoke("Weather in Rome?").content


def test_bound_tools_are_called(make: Make) -> None:
    for model in (make(max_tokens=60), make(max_tokens=60, temperature=2.0, seed=3)):
        bound = model.bind_tools([weather])
        message = bound.invoke("Weather in Rome?")
        (call,) = message.tool_calls
        assert call["name"] == "weather"
        assert isinstance(weather.invoke(call["args"]), str)
        chunks = [chunk for chunk in bound.stream("Weather in Rome?") if isinstance(chunk, AIMessageChunk)]
        whole: Any = chunks[0]
        for chunk in chunks[1:]:
            whole += chunk
        assert whole.tool_calls[0]["args"] == call["args"]


def test_it_works_in_a_chain(make: Make) -> None:
    chain = ChatPromptTemplate.from_messages([("human", "{question}")]) | make() | StrOutputParser()
    answer = chain.invoke({"question": "Hi"})
    assert answer == make().invoke("Hi").text
    assert chain.batch([{"question": "Hi"}] * 3) == [answer] * 3


def test_traces_get_names(make: Make) -> None:
    model = make(role="planner")
    params = model._get_ls_params(temperature=0.5, stop=["x"])
    assert params == {
        "ls_provider": "alpha_umi",
        "ls_model_name": "tiny#planner",
        "ls_model_type": "chat",
        "ls_temperature": 0.5,
        "ls_max_tokens": 40,
        "ls_stop": ["x"],
    }
    assert make()._get_ls_params(role="caller")["ls_model_name"] == "tiny#caller"
    assert make(adapter="checkpoints/one", role="planner")._get_ls_params()["ls_model_name"] == "tiny#one"
    assert LocalChatModel(model="smollm2-135m")._get_ls_params()["ls_model_name"] == "smollm2-135m"


def test_it_can_be_copied_and_pickled(make: Make) -> None:
    model = make(role="planner")
    text = model.invoke(MESSAGES).text
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), model.model_copy()):
        assert twin == model
        assert twin.invoke(MESSAGES).text == text


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends Ctrl-C to the whole console")
def test_ctrl_c_ends_the_process_soon(model_folder: Path, engine: EngineName) -> None:
    code = (
        "import signal\n"
        "from alpha_umi.nodes.models.local import LocalChatModel\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a job in the background ignores it
        f"model = LocalChatModel(model={str(model_folder)!r}, engine={engine!r}, dtype='float32', max_tokens=60000,"
        " constrained=False)\n"
        "next(model.stream('Hi'))\n"
        "print('loaded', flush=True)\n"
        "model.invoke('Hi')\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"loaded\n"
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert errors.rstrip().endswith(b"KeyboardInterrupt")


def test_no_thread_is_left_per_call(make: Make) -> None:
    model = make()
    model.invoke(MESSAGES, role="planner")
    before = threading.active_count()
    for _ in range(5):
        model.invoke(MESSAGES, role="planner")
    assert threading.active_count() == before


# The real model, where it was pulled


def test_smollm2_answers() -> None:
    try:
        resolve("smollm2-135m")
    except ModelNotAvailable as error:
        pytest.skip(str(error))
    model = LocalChatModel(model="smollm2-135m", max_tokens=16)
    assert "Paris" in model.invoke("What is the capital of France?").text
    (call,) = model.bind_tools([weather]).invoke("How is the weather in Rome?", max_tokens=40).tool_calls
    assert (call["name"], call["args"].get("city")) == ("weather", "Rome")


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_forked_child_runs_the_model_of_its_parent(make: Make) -> None:
    model = make()
    said = model.invoke(MESSAGES, role="planner").text
    assert run_forked(lambda: model.invoke(MESSAGES, role="planner").text)[1] == said
    assert model.invoke(MESSAGES, role="planner").text == said


def test_a_summarizer_is_held_to_a_response_format(make: Make) -> None:
    schema = {"type": "object", "properties": {"value": {"type": "integer"}}, "required": ["value"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    for temperature in (0.0, 1.5):
        reply = make(temperature=temperature, seed=1).invoke(MESSAGES, role="summarizer", response_format=wanted)
        assert isinstance(json.loads(reply.text)["value"], int)
