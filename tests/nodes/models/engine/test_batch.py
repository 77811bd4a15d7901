"""Texts written together are the texts written alone."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage
from transformers import MistralConfig, MistralForCausalLM

from alpha_umi.errors import ConfigError, ContextOverflow
from alpha_umi.nodes.format.trajectory import Decision, Role, Step, Trajectory, Turn
from alpha_umi.nodes.models.engine.decode import Decoding, decode_tokens, make_sampler, open_sequence
from alpha_umi.nodes.models.engine.grammar import Grammar, caller_grammar, planner_grammar
from alpha_umi.nodes.models.engine.prefix_cache import PrefixCache
from alpha_umi.nodes.models.engine.pytorch.backbone import TorchBackbone
from alpha_umi.nodes.models.engine.scheduler import ContinuousBatch, GenerationJob
from alpha_umi.nodes.models.local import LocalChatModel
from alpha_umi.nodes.models.request import RoleRequest, make_request
from alpha_umi.tools.spec import ToolSpec
from tests.nodes.models.conftest import Write, Written, generate_reference

MARKERS = {"planner": [5, 6, 7], "caller": [5, 8, 7]}
WRITERS = [None, "one", "two", "planner", "caller"]
SPEC = ToolSpec("add", "Adds.", {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})


def make_orders(rng: random.Random, n: int) -> list[Written]:
    """Return prompts of one to three hundred tokens, many with the same beginning."""
    shared = [rng.randrange(20, 60) for _ in range(300)]
    grammars: list[Grammar | None] = [None, planner_grammar(12), caller_grammar({SPEC.name: SPEC.parameters})]
    orders = []
    for _ in range(n):
        name = rng.choice(WRITERS)
        own = [rng.randrange(20, 60) for _ in range(rng.randrange(1, 30))]
        prompt = [*shared[: rng.choice([0, 5, 100, 270])], *own, *MARKERS.get(name or "", [])]
        orders.append(Written(prompt, name, rng.choice([1, 9, 30, 40]), rng.choice(grammars)))
    return orders


def copy_order(order: Written) -> Written:
    return Written(order.prompt, order.adapter, order.n, order.grammar)


def count_rows(backbone: TorchBackbone) -> list[int]:
    """Return a list that grows by the number of tokens of each forward pass."""
    passes: list[int] = []
    backbone.model.register_forward_pre_hook(
        lambda _, args, kwargs: passes.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    return passes


@pytest.mark.parametrize("max_bytes", [10**9, 100_000, 0])
def test_texts_in_one_batch_are_those_written_alone(
    model_folder: Path, backbone: TorchBackbone, write: Write, max_bytes: int
) -> None:
    orders = make_orders(random.Random(max_bytes), 16)
    backbone.cache = PrefixCache(max_bytes)
    passes = count_rows(backbone)
    write(backbone, orders)
    assert len(passes) < 0.5 * sum(len(order.ids) for order in orders), "texts did not share passes"
    alone = TorchBackbone(model_folder, torch.device("cpu"), torch.float32)
    for order in orders:
        alone.cache = PrefixCache(0)
        expected = copy_order(order)
        write(alone, [expected])
        assert order.ids == expected.ids, order.adapter
    assert len({tuple(order.ids) for order in orders}) > 10


def test_a_text_is_the_one_that_transformers_generates(backbone: TorchBackbone, write: Write) -> None:
    orders = [order for order in make_orders(random.Random(1), 16) if order.adapter not in MARKERS]
    write(backbone, orders)
    for order in orders:
        mask = backbone.grammars.make_mask(order.grammar, order.n) if order.grammar else None
        adapter = backbone.find_adapter(order.adapter, "planner") if order.adapter else None
        with backbone.use([adapter]) as model:
            assert generate_reference(model, order.prompt, order.n, mask=mask) == order.ids


def test_models_with_sliding_windows_write_the_same_too(copy_model: Callable[[str], Path], write: Write) -> None:
    folder = copy_model("sliding")
    given = json.loads((folder / "config.json").read_text())
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    sizes = {name: given[name] for name in names}
    torch.manual_seed(0)
    config = MistralConfig(**sizes, num_key_value_heads=2, sliding_window=40, initializer_range=0.3)
    MistralForCausalLM(config).save_pretrained(folder)
    backbone = TorchBackbone(folder, torch.device("cpu"), torch.float32)
    rng = random.Random(2)
    orders = [Written([rng.randrange(20, 60) for _ in range(n)], n=12) for n in (5, 39, 120, 300)]
    write(backbone, orders)
    for order in orders:
        assert generate_reference(backbone.model, order.prompt, 12) == order.ids
    assert len({tuple(order.ids) for order in orders}) == 4


def test_a_prompt_read_in_chunks_is_the_same_prompt(
    backbone: TorchBackbone, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, chunked = (Written([20 + i % 37 for i in range(50)], n=10) for _ in range(2))
    backbone.cache = PrefixCache(0)
    write(backbone, [whole])
    monkeypatch.setattr(backbone, "prefill_tokens", 7)
    passes = count_rows(backbone)
    write(backbone, [chunked])
    assert passes[:8] == [7] * 7 + [1]
    assert chunked.ids == whole.ids


def test_what_prompts_share_is_computed_once(backbone: TorchBackbone, write: Write) -> None:
    shared = [20 + i % 40 for i in range(200)]
    orders = [Written([*shared, 30 + i, *MARKERS[name]], name, n=1) for i in range(8) for name in MARKERS]
    passes = count_rows(backbone)
    write(backbone, orders)
    n_unique = len(shared) + 8 + len(orders) * 3
    assert sum(passes) == n_unique


def test_texts_that_leave_do_not_disturb_the_others(model_folder: Path, backbone: TorchBackbone, write: Write) -> None:
    rng = random.Random(4)
    orders = make_orders(rng, 16)
    for order in orders[::2]:
        order.cancel_after = rng.randrange(0, 4)
    write(backbone, orders)
    alone = TorchBackbone(model_folder, torch.device("cpu"), torch.float32)
    again = [copy_order(order) for order in orders]
    for order in again:
        write(alone, [order])
    assert [order.ids for order in orders[1::2]] == [order.ids for order in again[1::2]]
    for order in orders:
        order.ids, order.cancel_after = [], None
    write(backbone, orders)  # nothing that was left unfinished is found in the cache
    assert [order.ids for order in orders] == [order.ids for order in again]


def make_job(prompt: list[int], errors: list[Any], *, accept: Callable[[int], bool], **limits: int) -> GenerationJob:
    cancelled = threading.Event()

    def begin(backbone: TorchBackbone) -> Decoding:
        with open_sequence(backbone, None, prompt) as sequence:
            yield from decode_tokens(
                sequence,
                cancelled,
                sampler=make_sampler(),
                max_new_tokens=10,
                eos_ids=(),
                accept=accept,
                prompt_lookup=False,
            )

    return GenerationJob(begin, cancelled, errors.append, 10, **limits)


def test_a_text_that_fails_fails_alone(backbone: TorchBackbone) -> None:
    batch, ends, tokens = ContinuousBatch(backbone), list[Any](), list[int]()

    def fail(token: int) -> bool:
        raise ZeroDivisionError

    def collect(token: int) -> bool:
        tokens.append(token)
        return True

    batch.add(make_job([20, 21], ends, accept=fail))
    batch.add(make_job([20, 22], ends, accept=collect))
    while not batch.is_empty:
        batch.step()
    assert [type(end) for end in ends] == [ZeroDivisionError, type(None)]
    assert len(tokens) == 10


def test_a_failing_pass_is_told_to_all_and_leaves_the_model_usable(backbone: TorchBackbone, write: Write) -> None:
    batch, ends = ContinuousBatch(backbone), list[Any]()
    for i in range(3):
        batch.add(make_job([20, 21 + i], ends, accept=lambda _: True))
    for _ in range(4):
        batch.step()

    def fail(*_: object) -> None:
        raise ArithmeticError

    handle = backbone.model.model.layers[1].register_forward_pre_hook(fail)
    batch.step()
    handle.remove()
    assert batch.is_empty
    assert [type(end) for end in ends] == [ArithmeticError] * 3
    order, fresh = Written([20, 21, 30]), Written([20, 21, 30])
    write(backbone, [order])
    backbone.cache = PrefixCache(0)
    write(backbone, [fresh])
    assert order.ids == fresh.ids


def test_texts_wait_for_room(backbone: TorchBackbone) -> None:
    passes = count_rows(backbone)
    batch, ends = ContinuousBatch(backbone), list[Any]()
    for i in range(6):  # each takes 20 + 10 tokens
        batch.add(make_job([21 + i] * 20, ends, accept=lambda _: True, tokens_per_batch=70))
    batch.add(make_job([30] * 90, ends, accept=lambda _: True, tokens_per_batch=70))
    while not batch.is_empty:
        batch.step()
    assert ends == [None] * 7
    assert max(n for n in passes if n < 20) == 2
    assert passes.count(2) >= 8


def test_a_long_prompt_does_not_hold_up_those_that_are_written(backbone: TorchBackbone) -> None:
    batch, ends, seen = ContinuousBatch(backbone), list[Any](), list[int]()

    def note(token: int) -> bool:
        seen.append(token)
        return True

    batch.add(make_job([20, 21], ends, accept=note))
    batch.step()
    batch.add(make_job([22] * 2000, ends, accept=lambda _: True))
    for _ in range(4):
        n_before = len(seen)
        batch.step()
        assert len(seen) == n_before + 1


# Through the chat model


@pytest.fixture
def model(model_folder: Path) -> LocalChatModel:
    return LocalChatModel(model=str(model_folder), dtype="float32", device="cpu", max_tokens=30, max_rationale_tokens=9)


def make_requests(model: LocalChatModel, n: int) -> list[RoleRequest]:
    """Return what an evaluation asks for: every step of trajectories, and all roles."""
    requests = []
    for i in range(n):
        steps = tuple(Step(f"I add {k}.", "caller") for k in range(i % 3))
        trajectory = Trajectory((SPEC,), (Turn(f"What is {i // 3} + 3?", steps),))
        requests.append(make_request(model, "planner", trajectory, temperature=0))
        roles: list[tuple[Role, Decision]] = [("caller", "caller"), ("summarizer", "conclusion")]
        for role, decision in roles:
            planned = Trajectory((SPEC,), (Turn(f"What is {i // 3} + 3?", (*steps, Step("So.", decision))),))
            requests.append(make_request(model, role, planned, temperature=0))
    random.Random(0).shuffle(requests)
    return requests


def texts(replies: Sequence[AIMessage | ContextOverflow | BaseMessage]) -> list[str]:
    return [reply.text for reply in replies if isinstance(reply, AIMessage)]


def test_generate_many_writes_what_invoke_writes(model: LocalChatModel) -> None:
    requests = make_requests(model, 4)
    alone = [model.invoke(request.messages, **request.kwargs) for request in requests]
    done: list[int] = []
    for tokens_per_batch in (32_768, 700):
        replies = model.generate_many(requests, on_progress=done.append, tokens_per_batch=tokens_per_batch)
        assert texts(replies) == texts(alone)
    assert done == [*range(1, len(requests) + 1)] * 2
    assert len(set(texts(alone))) > 4
    assert model.generate_many([]) == []


def test_generate_many_reports_prompts_that_do_not_fit(model: LocalChatModel) -> None:
    requests = make_requests(model, 1)
    too_long = RoleRequest([ChatMessage(role="user", content="a " * 2000)], {"role": "planner", "max_tokens": 65_000})
    replies = model.generate_many([requests[0], too_long, requests[1]])
    assert [type(reply) for reply in replies] == [AIMessage, ContextOverflow, AIMessage]


def test_generate_many_raises_what_is_our_fault(model: LocalChatModel, model_folder: Path) -> None:
    bad = LocalChatModel(model=str(model_folder), adapter="three")
    with pytest.raises(ConfigError, match="no adapter 'three'"):
        bad.generate_many(make_requests(bad, 2))
    assert model.invoke("Hi", max_tokens=2).text


def test_generate_many_lets_other_runs_in(model: LocalChatModel) -> None:
    requests = make_requests(model, 16)
    n_done_before = []

    def note(n_done: int) -> None:
        done.append(n_done)
        if n_done == 1:
            thread.start()

    def run() -> None:
        model.invoke("Hi", max_tokens=2)
        n_done_before.append(len(done))

    done: list[int] = []
    thread = threading.Thread(target=run)
    model.generate_many(requests, on_progress=note)
    thread.join()
    assert n_done_before[0] < 0.7 * len(requests)
