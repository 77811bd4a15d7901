"""What holds on the CPU holds on CUDA; run with `pytest -m gpu` on a machine that has it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from alpha_umi.nodes.format.trajectory import ROLES, Trajectory, Turn
from alpha_umi.nodes.models.engine.prefix_cache import PrefixCache
from alpha_umi.nodes.models.engine.pytorch.backbone import BALANCED, TorchBackbone, choose_device, choose_dtype
from alpha_umi.nodes.models.local import LocalChatModel
from alpha_umi.nodes.models.request import make_request
from tests.nodes.models.conftest import Write, Written

CUDA = torch.device("cuda")
MARKERS = {"planner": [5, 6, 7], "caller": [5, 8, 7]}
WRITERS: list[str | None] = [None, "one", "two", "planner", "caller"]

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA: NOTHING of the CUDA path is tested"),
]
needs_two = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU: NOTHING of the spread path is tested")


def make_prompts(n: int, seed: int = 0) -> list[tuple[str | None, list[int]]]:
    """Return who writes and what they read: texts that begin alike, and end with the writer's marker."""
    rng = random.Random(seed)
    trunk = [rng.randrange(20, 60) for _ in range(400)]
    prompts = []
    for i in range(n):
        name = WRITERS[i % len(WRITERS)]
        body = [*trunk[: rng.randrange(1, 400)], *(rng.randrange(20, 60) for _ in range(rng.randrange(1, 30)))]
        prompts.append((name, [*body, *MARKERS.get(name or "", [9, 9])]))
    return prompts


def write_apart(
    write: Write, backbone: TorchBackbone, prompts: Sequence[tuple[str | None, list[int]]]
) -> list[list[int]]:
    """Return what is written behind each prompt alone, with nothing known from before."""
    texts = []
    for name, prompt in prompts:
        backbone.cache = PrefixCache(0)
        order = Written(prompt, name)
        write(backbone, [order])
        texts.append(order.ids)
    return texts


@pytest.fixture
def on_cuda(model_folder: Path) -> TorchBackbone:
    return TorchBackbone(model_folder, CUDA, torch.float32)


def test_cuda_writes_what_the_cpu_writes_with_every_adapter(
    write: Write, backbone: TorchBackbone, on_cuda: TorchBackbone
) -> None:
    prompts = make_prompts(20)
    assert write_apart(write, on_cuda, prompts) == write_apart(write, backbone, prompts)


def test_cached_generation_equals_uncached_on_cuda(write: Write, on_cuda: TorchBackbone, model_folder: Path) -> None:
    prompts = make_prompts(60, seed=1)
    expected = write_apart(write, TorchBackbone(model_folder, CUDA, torch.float32), prompts)
    on_cuda.cache = PrefixCache()
    for (name, prompt), ids in zip(prompts, expected, strict=True):
        order = Written(prompt, name)
        write(on_cuda, [order])
        assert order.ids == ids
    assert len(on_cuda.cache) > 0


def test_texts_of_all_adapters_in_one_batch_equal_those_written_apart(write: Write, on_cuda: TorchBackbone) -> None:
    prompts = make_prompts(15, seed=2)
    expected = write_apart(write, on_cuda, prompts)
    on_cuda.cache = PrefixCache()
    orders = [Written(prompt, name) for name, prompt in prompts]
    write(on_cuda, orders)
    assert [order.ids for order in orders] == expected


def test_long_prompt_is_read_in_chunks_with_equal_ids(
    write: Write, backbone: TorchBackbone, on_cuda: TorchBackbone
) -> None:
    rng = random.Random(3)
    prompts: list[tuple[str | None, list[int]]] = [
        (name, [*(rng.randrange(20, 60) for _ in range(5000)), *MARKERS["planner"]]) for name in (None, "planner")
    ]
    assert write_apart(write, on_cuda, prompts) == write_apart(write, backbone, prompts)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_types_stay_near_float32(write: Write, model_folder: Path, on_cuda: TorchBackbone, dtype: str) -> None:
    ids = torch.tensor([make_prompts(1)[0][1]], device=CUDA)
    half = TorchBackbone(model_folder, CUDA, getattr(torch, dtype))
    with torch.inference_mode():
        whole, rounded = (each.model(input_ids=ids).logits.float().softmax(-1) for each in (on_cuda, half))
    assert (whole - rounded).abs().max() < 0.1
    order = Written(make_prompts(1)[0][1], "one")
    write(half, [order])
    assert len(order.ids) == order.n


def test_auto_takes_cuda_and_a_half_type(model_folder: Path) -> None:
    place = choose_device("auto")
    assert place == CUDA
    assert choose_dtype("auto", place) in (torch.bfloat16, torch.float16)
    model = LocalChatModel(model=str(model_folder), max_tokens=8, max_rationale_tokens=8)
    for role in ROLES:
        reply = model.invoke("What is 2 + 3?", role=role, constrained=False)
        assert reply.usage_metadata is not None
        assert reply.usage_metadata["output_tokens"] > 0


def test_batched_evaluation_on_cuda_equals_one_by_one(model_folder: Path) -> None:
    model = LocalChatModel(model=str(model_folder), device="cuda", dtype="float32", max_tokens=12)
    questions = [Trajectory((), (Turn(f"What is {i} + 3? " * (1 + i % 4)),)) for i in range(8)]
    requests = [make_request(model, "planner", question, temperature=0.0) for question in questions]
    alone = [model.invoke(request.messages, **request.kwargs).text for request in requests]
    together = model.generate_many(requests)
    assert [getattr(reply, "text", reply) for reply in together] == alone


def test_balanced_on_one_gpu_is_that_gpu(write: Write, model_folder: Path, on_cuda: TorchBackbone) -> None:
    prompts = make_prompts(10, seed=4)
    spread = TorchBackbone(model_folder, BALANCED, torch.float32)
    assert write_apart(write, spread, prompts) == write_apart(write, on_cuda, prompts)


@needs_two
def test_layers_spread_over_gpus_write_the_same(write: Write, model_folder: Path, on_cuda: TorchBackbone) -> None:
    spread = TorchBackbone(model_folder, BALANCED, torch.float32)
    assert len({parameter.device for parameter in spread.model.parameters()}) > 1
    prompts = make_prompts(15, seed=5)
    expected = write_apart(write, on_cuda, prompts)
    assert write_apart(write, spread, prompts) == expected
    spread.cache = PrefixCache()
    orders = [Written(prompt, name) for name, prompt in prompts]
    write(spread, orders)
    assert [order.ids for order in orders] == expected
