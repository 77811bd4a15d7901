"""A training that kills its own process; run in a process of its own by `test_resume.py`."""

from __future__ import annotations

import os
import signal
from functools import reduce
from importlib import import_module
from typing import Any

import torch

from alpha_umi.training.config import TrainConfig
from alpha_umi.training.glpft import train


def run(config: dict[str, Any], data: str, out: str, target: str, nth_call: int) -> None:
    """Train, and die before the n-th call of a function, given as ``module:Class.method``."""
    torch.set_num_threads(1)  # as the tests' own process has: sums over more threads differ in their last bit
    module, _, path = target.partition(":")
    *parents, name = path.split(".")
    owner = reduce(getattr, parents, import_module(module))
    real, calls = getattr(owner, name), iter(range(1, 10_000))

    def call(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == nth_call:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)

    setattr(owner, name, call)
    train(TrainConfig.model_validate(config), data, out, resume=True)
