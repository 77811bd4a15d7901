"""What three roles take in memory, each way in its own process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch

from alpha_umi.nodes.format.trajectory import ROLES
from alpha_umi.nodes.models.engine.pytorch.backbone import DTYPES, TorchBackbone


def measure(folder: Path, n_models: int, dtype: str) -> dict[str, int]:
    """Load models, run each role's once, and return what the process grew by and what the weights are.

    Args:
        folder: A checkpoint with adapters, or a model.
        n_models: How often to load it: once where the roles share it.
        dtype: Name of the weights' type.
    """
    before = psutil.Process().memory_info().rss
    backbones = [TorchBackbone(folder, torch.device("cpu"), DTYPES[dtype]) for _ in range(n_models)]
    for backbone in backbones:
        for adapter in [backbone.find_adapter(None, role) for role in ROLES]:
            with backbone.use([adapter]) as model, torch.inference_mode():
                model(input_ids=torch.tensor([[1, 2, 3]]))  # a page that was never touched is not resident
    grown = psutil.Process().memory_info().rss - before
    return {"resident": grown, "weights": _count_bytes(backbone.model for backbone in backbones)}


def _count_bytes(models: Iterable[torch.nn.Module]) -> int:
    return sum(parameter.nbytes for model in models for parameter in model.parameters())  # tied ones come once


def measure_apart(folder: Path, n_models: int, dtype: str) -> dict[str, int]:
    """Run `measure` in its own process."""
    command = [sys.executable, "-m", "benchmarks.shared_cache.memory", str(folder), str(n_models), dtype]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"Measuring the memory failed:\n{done.stderr[-3000:]}")
    result: Any = json.loads(done.stdout.splitlines()[-1])
    return dict(result)


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])))
