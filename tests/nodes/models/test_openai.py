import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import huggingface_hub.constants
import pytest
import pytest_asyncio
import torch
from langchain_core.language_models import BaseChatModel, FakeListChatModel
from langchain_core.language_models.fake import FakeListLLM
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_huggingface import ChatHuggingFace, HuggingFaceEndpoint, HuggingFacePipeline
from langchain_openai import ChatOpenAI
from pydantic import BaseModel
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers import pipeline as make_pipeline

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.render import load_template, render_messages, template_kwargs
from alpha_umi.nodes.format.response import read_response_format
from alpha_umi.nodes.format.trajectory import ROLES, Call, Observation, Role, Step, Trajectory, Turn
from alpha_umi.nodes.models.openai import (
    CompletionChatModel,
    as_chat_model,
    make_hub_endpoint,
    make_openai,
    make_umi_server,
)
from alpha_umi.nodes.models.request import is_role_aware, make_request
from alpha_umi.tools.spec import ToolSpec


class Answer(BaseModel):
    value: int


START_S = 180.0
Fast: Any = PreTrainedTokenizerFast  # as Any, because transformers types its methods only in part
Llama: Any = LlamaForCausalLM
in_the_loop_of_the_server = pytest.mark.asyncio(loop_scope="module")
CHATML = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TRAJECTORY = Trajectory(
    (ToolSpec("add", "Add two numbers."),),
    (
        Turn(
            "Add.",
            (Step("I add.", "caller", (Call("1", "add", {"a": 1}, Observation("3")),)), Step("Done.", "conclusion")),
        ),
    ),
)


def make_tokenizer(template: str) -> Any:
    """A byte-level tokenizer without merges that, as Llama's does, begins plain text with a BOS token."""
    special = ["<s>", "<|im_start|>", "<|im_end|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*special, *alphabet])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    backend.decoder = decoders.ByteLevel()
    tokenizer = Fast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
    )
    tokenizer.chat_template = template
    return tokenizer


def make_tiny_model(tokenizer: Any) -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=2,
        initializer_range=0.2,
    )
    return Llama(config).eval()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    tokenizer = make_tokenizer(load_template("umi"))
    tokenizer.save_pretrained(folder)
    make_tiny_model(tokenizer).save_pretrained(folder)
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server_url(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """`transformers serve` with the tiny checkpoint, offline, in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log.txt"
    command = [
        sys.executable,
        "-c",
        "from transformers.cli.transformers import main; main()",
        *("serve", str(checkpoint), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"),
    ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("w") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, env=environment)
    try:
        _wait_until_healthy(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(60)


def _wait_until_healthy(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url, timeout=2).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise RuntimeError(f"the server did not start:\n{log.read_text()}")


def make_client(checkpoint: Path, url: str, role: Role, max_tokens: int = 12) -> BaseChatModel:
    return make_umi_server(str(checkpoint), role, {"max_tokens": max_tokens, "temperature": 0.0}, base_url=url)


def generate_locally(checkpoint: Path, role: Role) -> tuple[int, str]:
    """Return the prompt's length in tokens and the greedy continuation, made from our own messages and template."""
    tokenizer = Fast.from_pretrained(checkpoint)
    conversation = [
        {"role": message.role, "content": message.content} for message in render_messages(TRAJECTORY, style="umi")
    ]
    prompt = tokenizer.apply_chat_template(
        conversation,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
        **template_kwargs(role, TRAJECTORY.tools),
    )
    model = Llama.from_pretrained(checkpoint)
    ids = model.generate(**prompt, max_new_tokens=12, do_sample=False)[0]
    n_prompt = prompt["input_ids"].shape[1]
    return n_prompt, tokenizer.decode(ids[n_prompt:], skip_special_tokens=True)


@pytest.mark.parametrize("role", ROLES)
def test_umi_server_sees_the_prompt_we_would_make_ourselves(checkpoint: Path, server_url: str, role: Role) -> None:
    client = make_client(checkpoint, server_url, role)
    request = make_request(client, role, TRAJECTORY, temperature=0.0)
    reply = client.invoke(request.messages, **request.kwargs)
    n_prompt, text = generate_locally(checkpoint, role)
    assert reply.usage_metadata is not None
    assert reply.usage_metadata["input_tokens"] == n_prompt
    assert reply.text == text


def test_umi_server_reply_depends_on_the_role(checkpoint: Path, server_url: str) -> None:
    client = make_client(checkpoint, server_url, "planner")
    messages = make_request(client, "planner", TRAJECTORY, temperature=0.0).messages
    replies = {role: client.invoke(messages, role=role, tools=[]).text for role in ROLES}
    assert len(set(replies.values())) == len(ROLES)


@in_the_loop_of_the_server
async def test_umi_server_streams_and_reports_usage(checkpoint: Path, server_url: str) -> None:
    client = make_client(checkpoint, server_url, "planner", max_tokens=64)
    request = make_request(client, "planner", TRAJECTORY, temperature=0.0)
    chunks = [chunk async for chunk in client.astream(request.messages, **request.kwargs)]
    whole = sum(chunks[1:], start=chunks[0])
    assert sum(bool(chunk.text) for chunk in chunks) > 1
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["input_tokens"] == generate_locally(checkpoint, "planner")[0]


@in_the_loop_of_the_server
async def test_umi_server_call_is_cancelled_at_once(checkpoint: Path, server_url: str) -> None:
    client = make_client(checkpoint, server_url, "planner", max_tokens=2_000)
    request = make_request(client, "planner", TRAJECTORY, temperature=0.0)
    task = asyncio.create_task(client.ainvoke(request.messages, **request.kwargs))
    await asyncio.sleep(0.2)
    task.cancel()
    for _ in range(1000):  # turns of the loop, far fewer than the server needs for its answer
        await asyncio.sleep(0)
    assert task.cancelled()


def test_umi_server_client_is_role_aware() -> None:
    client = make_umi_server("umi-caller", "caller", {"device": "cpu"}, base_url="http://127.0.0.1:1/v1")
    assert is_role_aware(client)
    assert isinstance(client, ChatOpenAI)
    assert client.model_name == "umi-caller"


@pytest.mark.parametrize("is_role_aware", [True, False])
def test_a_server_is_asked_for_the_response_format(is_role_aware: bool) -> None:
    url, form = "http://127.0.0.1:9/v1", read_response_format(Answer)
    model: Any = (
        make_umi_server("m", "summarizer", {}, base_url=url) if is_role_aware else make_openai("m", {}, base_url=url)
    )
    request = make_request(model, "summarizer", TRAJECTORY, temperature=0, response_format=form)
    payload = model._get_request_payload(request.messages, **request.kwargs)
    assert "response_format" not in payload  # for which OpenAI's client raises where a reply is cut off
    asked = payload["extra_body"]["response_format"]
    assert (asked["type"], asked["json_schema"]["name"]) == ("json_schema", "Answer")
    assert list(asked["json_schema"]["schema"]["properties"]) == ["value"]
    assert ("chat_template_kwargs" in payload["extra_body"]) == is_role_aware


def test_umi_server_never_gets_the_key_for_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    client = make_umi_server("m", "caller", {}, base_url="http://127.0.0.1:1/v1")
    assert isinstance(client, ChatOpenAI)
    assert client.root_client.api_key == "none"
    monkeypatch.setenv("ALPHA_UMI_SERVER_API_KEY", "ours")
    client = make_umi_server("m", "caller", {}, base_url="http://127.0.0.1:1/v1")
    assert isinstance(client, ChatOpenAI)
    assert client.root_client.api_key == "ours"


@in_the_loop_of_the_server
async def test_openai_model_works_zero_shot_on_a_compatible_server(checkpoint: Path, server_url: str) -> None:
    model = make_openai(str(checkpoint), {"max_tokens": 5, "temperature": 0.0, "device": "cpu"}, base_url=server_url)
    request = make_request(model, "planner", TRAJECTORY, temperature=0.0)
    reply = await model.ainvoke(request.messages, **request.kwargs)
    assert reply.usage_metadata is not None
    assert 0 < reply.usage_metadata["output_tokens"] <= 5
    assert reply.text == model.invoke(request.messages, **request.kwargs).text


def test_openai_base_url_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    model = make_openai("m", {})
    assert isinstance(model, ChatOpenAI)
    assert str(model.root_client.base_url) == "http://127.0.0.1:1/v1/"


def test_openai_without_key_or_server_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="set OPENAI_API_KEY, or name your own server"):
        make_openai("gpt-4.1-mini", {})


@pytest.mark.parametrize(("model", "expected"), [("gpt-4.1-mini", 0.0), ("o4-mini", None)])
def test_openai_temperature_is_left_out_for_models_that_refuse_it(
    monkeypatch: pytest.MonkeyPatch, model: str, expected: float | None
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    chat = make_openai(model, {"temperature": 0.0})
    assert isinstance(chat, ChatOpenAI)
    assert chat.temperature == expected


@pytest.mark.parametrize(
    ("module", "extra"), [("langchain_openai", "openai"), ("langchain_huggingface", "huggingface")]
)
def test_missing_extra_is_refused_with_the_command(monkeypatch: pytest.MonkeyPatch, module: str, extra: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    for name in ("server", "system_role"):
        monkeypatch.delitem(sys.modules, f"alpha_umi.nodes.models.{name}", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    command = rf"pip install 'alpha-umi\[{extra}\]'"
    if extra == "huggingface":
        with pytest.raises(ConfigError, match=command):
            make_hub_endpoint("org/model", {})
        return
    with pytest.raises(ConfigError, match=command):
        make_openai("m", {})
    with pytest.raises(ConfigError, match=command):
        make_umi_server("m", "planner", {}, base_url="http://127.0.0.1:1/v1")


def test_hub_endpoint_without_a_key_says_where_to_put_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACEHUB_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(ConfigError, match="set HF_TOKEN"):
        make_hub_endpoint("org/model", {})


def test_hub_endpoint_is_a_chat_model_with_the_settings_of_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    model = make_hub_endpoint("org/model", {"temperature": 0.5, "max_tokens": 7, "dtype": "float32"})
    assert isinstance(model, ChatHuggingFace)
    assert (model.model_id, model.temperature, model.max_tokens) == ("org/model", 0.5, 7)


@pytest.mark.skipif(huggingface_hub.constants.HF_HUB_OFFLINE, reason="its client refuses every URL when offline")
def test_chat_huggingface_over_a_server_works_as_it_is(checkpoint: Path, server_url: str) -> None:
    chat = ChatHuggingFace(llm=HuggingFaceEndpoint(model=server_url.removesuffix("/v1")), max_tokens=5)
    chat.model_id = str(checkpoint)
    assert as_chat_model(chat) is chat
    request = make_request(chat, "planner", TRAJECTORY, temperature=0.0)
    assert isinstance(chat.invoke(request.messages, **request.kwargs).text, str)


@pytest.fixture(scope="module")
def pipeline() -> HuggingFacePipeline:
    tokenizer = make_tokenizer(CHATML)
    model = make_tiny_model(tokenizer)
    model.generation_config.max_new_tokens = 8
    model.generation_config.do_sample = False
    return HuggingFacePipeline(pipeline=make_pipeline("text-generation", model=model, tokenizer=tokenizer))


def generate_with(pipeline: HuggingFacePipeline, messages: list[dict[str, str]]) -> str:
    tokenizer, model = pipeline.pipeline.tokenizer, pipeline.pipeline.model
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    ids = model.generate(**prompt)[0, prompt["input_ids"].shape[1] :]
    return str(tokenizer.decode(ids, skip_special_tokens=True))


@pytest.mark.parametrize("wrap", [False, True], ids=["pipeline", "chat"])
async def test_local_pipeline_answers_from_its_own_chat_template_sync_and_async(
    pipeline: HuggingFacePipeline, wrap: bool
) -> None:
    given: Any = ChatHuggingFace(llm=pipeline, tokenizer=pipeline.pipeline.tokenizer) if wrap else pipeline
    model = as_chat_model(given)
    expected = generate_with(pipeline, [{"role": "system", "content": "S"}, {"role": "user", "content": "Hi"}])
    messages = [SystemMessage("S"), HumanMessage("Hi")]
    assert model.invoke(messages).text == expected
    assert (await model.ainvoke(messages)).text == expected
    assert "".join([chunk.text async for chunk in model.astream(messages)]) == expected


def test_local_pipeline_takes_a_zero_shot_request(pipeline: HuggingFacePipeline) -> None:
    model = as_chat_model(pipeline)
    request = make_request(model, "caller", TRAJECTORY, temperature=0.7)
    assert request.kwargs == {}
    assert "im_start" not in model.invoke(request.messages).text


def test_completion_model_without_chat_template_gets_a_transcript() -> None:
    model = as_chat_model(FakeListLLM(responses=["fine"]))
    assert isinstance(model, CompletionChatModel)
    assert model._make_prompt([SystemMessage("S"), HumanMessage("Hi")]) == "System: S\nHuman: Hi\nAI:"
    assert model.invoke("Hi").text == "fine"


def test_any_other_chat_model_is_used_as_it_is() -> None:
    model = FakeListChatModel(responses=["x"])
    assert as_chat_model(model) is model


@pytest.mark.parametrize("wrong", [None, 3, object(), print, FakeListChatModel(responses=["x"]).bind(stop=["a"])])
def test_object_that_writes_no_text_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigError, match=f"A {type(wrong).__name__} cannot play a role: pass a LangChain chat model"):
        as_chat_model(wrong)
