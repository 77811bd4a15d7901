import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from langchain_core.messages import AIMessageChunk, BaseMessage, ChatMessage, HumanMessage
from pydantic import ValidationError

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.trajectory import Call, Observation, Role, Step, Trajectory, Turn
from alpha_umi.nodes.models.request import make_request
from alpha_umi.nodes.models.scripted import ScriptedChatModel, replay

PLAN = "I need a sum.\nNext: caller."


def test_sequence_is_consumed_in_order_whatever_the_role() -> None:
    model = ScriptedChatModel(script=["one", "two"])
    assert [model.invoke("?", role="planner").text, model.invoke("?").text] == ["one", "two"]


def test_mapping_is_consumed_in_order_per_role() -> None:
    model = ScriptedChatModel(script={"planner": ["p1", "p2"], "caller": ["c1"]})
    replies = [model.invoke("?", role=role).text for role in ("planner", "caller", "planner")]
    assert replies == ["p1", "c1", "p2"]


def test_function_decides_from_role_and_messages() -> None:
    def decide(role: Role, messages: list[BaseMessage]) -> str:
        return f"{role} saw {messages[-1].text}"

    assert ScriptedChatModel(script=decide, role="caller").invoke("this").text == "caller saw this"


def test_running_out_names_the_role_and_the_count() -> None:
    model = ScriptedChatModel(script={"planner": ["only"]})
    model.invoke("?", role="planner")
    with pytest.raises(ConfigError, match="no output left for the planner: all 1 were used"):
        model.invoke("?", role="planner")
    with pytest.raises(ConfigError, match="no output left for the caller: all 0"):
        model.invoke("?", role="caller")


def test_call_without_role_is_refused_where_the_script_depends_on_it() -> None:
    with pytest.raises(ConfigError, match="role='planner'"):
        ScriptedChatModel(script={"planner": ["x"]}).invoke("?")


@pytest.mark.parametrize("script", ["a bare string", {"cook": ["x"]}, {"planner": "x"}, [1], 3])
def test_script_of_another_shape_is_refused(script: object) -> None:
    with pytest.raises(ValidationError):
        ScriptedChatModel(script=script)  # type: ignore[arg-type]


def test_threads_share_a_sequence_without_loss_or_repeat() -> None:
    outputs = [str(i) for i in range(200)]
    model = ScriptedChatModel(script=outputs)
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: model.invoke("?").text, outputs))
    assert sorted(replies) == sorted(outputs)
    assert len(model.requests) == 200


def test_stop_string_cuts_the_output_at_the_first_match() -> None:
    model = ScriptedChatModel(script=["abcdef"] * 2)
    assert model.invoke("?", stop=["e", "c", "x"]).text == "ab"
    assert model.invoke("?", stop=[]).text == "abcdef"


def test_requests_are_recorded_with_role_and_settings() -> None:
    model = ScriptedChatModel(script=["x"])
    model.invoke([HumanMessage("hello")], role="planner", temperature=0.5)
    (request,) = model.requests
    assert (request.messages[0].text, request.kwargs) == ("hello", {"role": "planner", "temperature": 0.5})


def test_stream_comes_in_small_chunks_and_ends_with_usage() -> None:
    chunks = list(ScriptedChatModel(script=[PLAN]).stream("A question?"))
    whole = sum(chunks[1:], start=chunks[0])
    assert len(chunks) > 5
    assert max(len(chunk.text) for chunk in chunks) <= 4
    assert whole.text == PLAN
    assert isinstance(whole, AIMessageChunk)
    assert whole.usage_metadata == {"input_tokens": 3, "output_tokens": 7, "total_tokens": 10}
    assert whole.response_metadata["finish_reason"] == "stop"


async def test_all_four_ways_of_calling_say_the_same() -> None:
    model = ScriptedChatModel(script=[PLAN] * 4)
    streamed = "".join(chunk.text for chunk in model.stream("?"))
    astreamed = "".join([chunk.text async for chunk in model.astream("?")])
    invoked, ainvoked = model.invoke("?"), await model.ainvoke("?")
    assert [streamed, astreamed, invoked.text, ainvoked.text] == [PLAN] * 4
    assert invoked.usage_metadata == ainvoked.usage_metadata


def test_empty_output_streams_and_invokes() -> None:
    model = ScriptedChatModel(script=["", ""])
    assert model.invoke("?").text == ""
    assert "".join(chunk.text for chunk in model.stream("?")) == ""


async def test_delay_does_not_block_the_event_loop_and_is_cancelled_at_once() -> None:
    model = ScriptedChatModel(script=["x" * 400], delay_s=60)
    task = asyncio.create_task(model.ainvoke("?"))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_delay_paces_a_stream() -> None:
    start = time.perf_counter()
    list(ScriptedChatModel(script=["x" * 12], delay_s=0.02).stream("?"))
    assert time.perf_counter() - start >= 0.06


def test_trace_parameters_name_the_model() -> None:
    params = ScriptedChatModel(script=["x"], model_name="demo")._get_ls_params(temperature=0.3)
    assert (params["ls_provider"], params["ls_model_name"], params["ls_temperature"]) == ("alpha_umi", "demo", 0.3)


def test_replay_picks_by_position_after_the_last_user_message_and_wraps() -> None:
    choose = replay({"planner": ["p0", "p1"], "caller": ["c0"]})
    messages: list[BaseMessage] = [
        ChatMessage(role="user", content="old"),
        ChatMessage(role="planner", content="old plan"),
        ChatMessage(role="user", content="new"),
    ]
    plan = ChatMessage(role="planner", content="plan")
    assert choose("planner", messages) == "p0"
    assert choose("planner", [*messages, plan]) == "p1"
    assert choose("planner", [*messages, plan, plan]) == "p0"
    assert choose("caller", [*messages, plan]) == "c0"
    with pytest.raises(ConfigError, match="no output for the summarizer"):
        choose("summarizer", messages)


def test_file_is_replayed_statelessly_by_any_number_of_threads(tmp_path: Path) -> None:
    path = tmp_path / "demo.yaml"
    path.write_text("planner: [first, second]\ncaller: [call]\n", "utf-8")
    model = ScriptedChatModel.from_file(path)
    call = Call("1", "add", {}, Observation("3"))
    empty = Trajectory((), (Turn("q"),))
    later = Trajectory((), (Turn("q", (Step("first", "caller", (call,)),)),))
    replies: list[str] = []

    def run() -> None:
        for trajectory in (empty, later, empty):
            request = make_request(model, "planner", trajectory, temperature=0)
            replies.append(model.invoke(request.messages, **request.kwargs).text)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(replies) == ["first"] * 8 + ["second"] * 4
    assert model.model_name == "demo"


def test_json_file_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "demo.json"
    path.write_text(json.dumps({"summarizer": ['done\n"so"']}), "utf-8")
    assert ScriptedChatModel.from_file(path, role="summarizer").invoke("?").text == 'done\n"so"'


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "top level"),
        ("- a\n", "top level"),
        ("planner: text\n", "wrong at planner"),
        ("cook: [x]\n", "wrong at cook"),
        ("planner: [1]\n", "wrong at planner.0"),
        ("planner: [\n", "neither valid JSON nor valid YAML"),
    ],
)
def test_broken_file_is_refused_with_the_place_and_the_shape(tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "demo.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=part) as caught:
        ScriptedChatModel.from_file(path)
    assert "demo.yaml" in str(caught.value)
    assert "summarizer: [" in str(caught.value)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        ScriptedChatModel.from_file(tmp_path / "none.yaml")
