from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from alpha_umi.errors import ModelFault
from alpha_umi.nodes.models.engine.pytorch.backbone import TorchBackbone
from alpha_umi.nodes.models.engine.pytorch.forward import is_out_of_memory
from tests.nodes.models.conftest import Write, Written

FAULTS = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried …"),
    RuntimeError("MPS backend out of memory (MPS allocated: 5.26 GiB, …)"),
]


@contextmanager
def short_of_memory(
    backbone: TorchBackbone, fault: BaseException, is_short: Callable[[int], bool]
) -> Iterator[list[int]]:
    """Fail in the middle of passes; `is_short` is asked with the number of tokens of each."""
    passes: list[int] = []

    def fail(_: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        passes.append(len(inputs[0]))
        if is_short(len(inputs[0])):
            raise fault

    handle = backbone.model.model.layers[1].register_forward_pre_hook(fail)
    yield passes
    handle.remove()


@pytest.mark.parametrize("fault", FAULTS)
def test_failed_pass_is_done_once_more_and_the_text_is_the_same(
    fault: BaseException, backbone: TorchBackbone, write: Write
) -> None:
    expected, order = Written([20, 21, 30]), Written([20, 21, 30])
    write(backbone, [expected])
    assert len(backbone.cache) > 0
    failing = iter([False, False, True])
    with short_of_memory(backbone, fault, lambda _: next(failing, False)):
        write(backbone, [order])
    assert order.ids == expected.ids


def test_largest_text_is_given_up_and_the_others_are_finished(backbone: TorchBackbone, write: Write) -> None:
    expected = [Written([20, 21 + i]) for i in range(3)]
    write(backbone, expected)
    large, small = Written([40] * 50, n=60), [Written(order.prompt) for order in expected]
    with (
        short_of_memory(backbone, FAULTS[1], lambda n_rows: n_rows > 3) as passes,
        pytest.raises(ModelFault, match=r"Tried to allocate.*lower max_tokens"),
    ):
        write(backbone, [small[0], large, *small[1:]])
    assert [order.ids for order in small] == [order.ids for order in expected]
    assert passes.count(51) == 2  # the large prompt and the first text's token, twice and no more
    write(backbone, [again := Written([40] * 50, n=60)])
    assert len(again.ids) == 60


def test_cached_prompts_are_let_go(backbone: TorchBackbone, write: Write) -> None:
    write(backbone, [Written([20, 21, 30])])
    failing = iter([True])
    with short_of_memory(backbone, FAULTS[0], lambda _: next(failing, False)):
        write(backbone, [Written([50, 51])])
    order = Written([20, 21, 30])
    write(backbone, [order])
    assert order.n_cached == 0


def test_real_failure_of_the_allocator_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
