"""Many runs at once: the same texts, no growth, and adapters that change under way."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage
from transformers import PreTrainedTokenizerFast

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.trajectory import ROLES, Role
from alpha_umi.nodes.models.engine import EngineName
from alpha_umi.nodes.models.engine.backbone import Backbone
from alpha_umi.nodes.models.engine.llamacpp.backbone import LlamaCppBackbone
from alpha_umi.nodes.models.engine.prefix_cache import PrefixCache
from alpha_umi.nodes.models.engine.pytorch.backbone import TorchBackbone
from alpha_umi.nodes.models.engine.scheduler import get_engine
from alpha_umi.nodes.models.local import LocalChatModel
from alpha_umi.nodes.models.request import RoleRequest
from alpha_umi.tools.spec import ToolSpec
from tests.nodes.models.conftest import make_llama, save_adapter

SPEC = ToolSpec("add", "Adds.", {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
Make = Callable[..., LocalChatModel]


@pytest.fixture
def folder(copy_model: Callable[[str], Path], tokenizer: PreTrainedTokenizerFast) -> Path:
    """The tiny model with an activated LoRA per role, which begins at the role's marker, and a plain one."""
    folder = copy_model("roles")
    for seed, role in enumerate(ROLES):
        marker = tokenizer(f"<|im_start|>{role}\n", add_special_tokens=False)["input_ids"]
        save_adapter(folder / role, len(tokenizer), seed, list(marker))
    save_adapter(folder / "plain", len(tokenizer), 9, None)
    return folder


@pytest.fixture
def make(folder: Path, engine: EngineName) -> Make:
    """Models in both engines: what follows holds for either."""

    def make_model(adapter: str | None, role: Role, **fields: Any) -> LocalChatModel:
        given: dict[str, Any] = {
            "engine": engine,
            "dtype": "float32",
            "device": "cpu",
            "max_tokens": 20,
            "max_rationale_tokens": 8,
        } | fields
        return LocalChatModel(model=str(folder), adapter=adapter, role=role, **given)

    return make_model


def make_prompt(i: int) -> list[BaseMessage]:
    return [ChatMessage(role="user", content=f"What is {i % 3} + 3? " * (i % 5 + 1))]


def ask(model: LocalChatModel, i: int) -> tuple[list[BaseMessage], dict[str, Any]]:
    return make_prompt(i), {"tools": [SPEC.to_openai()] if model.role == "caller" else []}


def make_models(make: Make) -> list[LocalChatModel]:
    pairs: list[tuple[str | None, Role]] = [*((role, role) for role in ROLES), ("plain", "caller"), (None, "planner")]
    return [make(*pairs[i % len(pairs)], constrained=i % 2 == 0) for i in range(16)]


def test_sixteen_threads_write_what_one_writes(make: Make) -> None:
    models = make_models(make)

    def run(i: int) -> str:
        messages, kwargs = ask(models[i], i)
        return models[i].invoke(messages, **kwargs).text

    alone = [run(i) for i in range(16)]
    assert len(set(alone)) > 8
    with ThreadPoolExecutor(16) as threads:
        for _ in range(2):
            assert list(threads.map(run, range(16))) == alone


async def test_sixteen_tasks_write_what_one_writes(make: Make) -> None:
    models = make_models(make)

    async def run(i: int) -> str:
        messages, kwargs = ask(models[i], i)
        return (await models[i].ainvoke(messages, **kwargs)).text

    alone = [await run(i) for i in range(16)]
    assert await asyncio.gather(*map(run, range(16))) == alone


async def test_runs_that_are_cancelled_at_once_leave_the_others_right(make: Make) -> None:
    models = make_models(make)

    async def run(i: int) -> str:
        messages, kwargs = ask(models[i], i)
        return (await models[i].ainvoke(messages, **kwargs)).text

    alone = [await run(i) for i in range(16)]
    for delay_s in (0.0, 0.02, 0.1):
        tasks = [asyncio.create_task(run(i)) for i in range(16)]
        await asyncio.sleep(delay_s)
        for task in tasks[::2]:
            task.cancel()
        assert await asyncio.gather(*tasks[1::2]) == alone[1::2]
        await asyncio.gather(*tasks[::2], return_exceptions=True)


def read_resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.slow
def test_memory_stays_flat_over_two_thousand_runs(make: Make, folder: Path, engine: EngineName) -> None:

    def shrink(backbone: Backbone) -> None:
        backbone.cache = PrefixCache(2_000_000, max_entries=80)

    get_engine(str(folder), "cpu", "float32", engine=engine).submit(shrink).result()
    model = make("plain", "summarizer", max_tokens=1)

    def run_many(start: int, n: int) -> int:
        requests = [
            RoleRequest([ChatMessage(role="user", content=f"{i} is {'a number ' * (i % 7)}")])
            for i in range(start, start + n)
        ]
        replies = [*model.generate_many(requests), *(model.invoke(request.messages) for request in requests[:25])]
        return sum(reply.response_metadata["cache_evictions"] for reply in replies if isinstance(reply, AIMessage))

    run_many(0, 475)
    before = read_resident_bytes()
    n_evicted = sum(run_many(start, 475) for start in (500, 1000, 1500))
    assert read_resident_bytes() - before < 8 * 1024**2
    assert n_evicted > 100


# An adapter is trained again while the process runs


def put(folder: Path, role: str, seed: int, tokenizer: PreTrainedTokenizerFast) -> None:
    """Write other weights into an adapter's folder."""
    marker = tokenizer(f"<|im_start|>{role}\n", add_special_tokens=False)["input_ids"]
    shutil.rmtree(folder / role)
    save_adapter(folder / role, len(tokenizer), seed, list(marker))


def count_adapters(folder: Path, engine: EngineName) -> int:
    def count(backbone: Backbone) -> int:
        if isinstance(backbone, LlamaCppBackbone):
            return len(backbone._loaded)
        assert isinstance(backbone, TorchBackbone)
        assert backbone._adapted is not None
        return len(backbone._adapted.peft_config)

    return get_engine(str(folder), "cpu", "float32", engine=engine).submit(count).result()


def test_reload_is_for_new_runs_and_one_role(
    make: Make, folder: Path, engine: EngineName, tokenizer: PreTrainedTokenizerFast
) -> None:
    planner, caller = make("planner", "planner", constrained=False), make("caller", "caller", constrained=False)
    messages = make_prompt(4)
    old, other = planner.invoke(messages, max_tokens=400).text, caller.invoke(messages).text
    running = planner.stream(messages, max_tokens=400)
    first = next(running)
    put(folder, "planner", 77, tokenizer)
    planner.reload()
    assert count_adapters(folder, engine) == 3, "the old one is still needed"
    new = planner.invoke(messages, max_tokens=400).text
    assert new != old
    assert caller.invoke(messages).text == other
    assert first.text + "".join(chunk.text for chunk in running) == old
    assert planner.invoke(messages, max_tokens=400).text == new
    assert count_adapters(folder, engine) == 2


def test_reload_forgets_what_the_old_adapter_computed(
    make: Make, folder: Path, engine: EngineName, tokenizer: PreTrainedTokenizerFast
) -> None:
    model = make("plain", "planner", constrained=False)
    messages = make_prompt(4)
    old = model.invoke(messages).text
    shutil.rmtree(folder / "plain")
    save_adapter(folder / "plain", len(tokenizer), 78, None)
    assert model.invoke(messages).text == old
    model.reload()
    reply = model.invoke(messages)
    assert reply.text != old
    assert reply.usage_metadata is not None
    assert reply.usage_metadata["input_token_details"]["cache_read"] == 0
    assert count_adapters(folder, engine) == 1


def test_reload_of_a_damaged_adapter_keeps_the_old_one(
    make: Make, folder: Path, engine: EngineName, tokenizer: PreTrainedTokenizerFast
) -> None:
    planner, caller = make("planner", "planner"), make("caller", "caller")
    messages = make_prompt(2)
    old, other = planner.invoke(messages).text, caller.invoke(messages, tools=[SPEC.to_openai()]).text
    weights = folder / "planner" / "adapter_model.safetensors"
    whole = weights.read_bytes()
    running = caller.stream(messages, tools=[SPEC.to_openai()])
    first = next(running)
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match="cannot be loaded"):
        planner.reload()
    assert planner.invoke(messages).text == old
    assert first.text + "".join(chunk.text for chunk in running) == other
    weights.write_bytes(whole)
    planner.reload()
    assert planner.invoke(messages).text == old
    assert count_adapters(folder, engine) == 2


def test_reload_of_what_was_never_used_does_nothing(make: Make) -> None:
    model = make("planner", "planner")
    model.reload()
    assert model.invoke(make_prompt(1)).text
    with pytest.raises(ConfigError, match="say which one"):
        LocalChatModel(model=model.model).reload()


def test_a_whole_model_is_loaded_anew_while_texts_are_written(make: Make, folder: Path, engine: EngineName) -> None:
    model = make(None, "planner", constrained=False)
    messages = make_prompt(4)
    old = model.invoke(messages, max_tokens=300).text
    running = model.stream(messages, max_tokens=300)
    first = next(running)
    found = get_engine(str(folder), "cpu", "float32", engine=engine)
    n_vocab = found.submit(lambda backbone: int(backbone.n_vocab)).result()
    make_llama(n_vocab, seed=5).save_pretrained(folder)
    found.reload()
    new = model.invoke(messages, max_tokens=300).text
    assert new != old
    assert first.text + "".join(chunk.text for chunk in running) == old
    assert len(found._batches) == 1
