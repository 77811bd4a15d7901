"""The process's models: one backbone per folder, device and type, and the one thread that runs it.

A thread and not a lock: jobs wait in the order they came, an adapter cannot be changed under a running generation, and
no event loop is ever blocked. Imports torch: import it only where a model is run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.models.backbone import Backbone
from alpha_umi.nodes.models.checkpoint import find_own_model
from alpha_umi.nodes.models.hub import resolve
from alpha_umi.nodes.trajectory import Role

T = TypeVar("T")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Engine:
    """The thread in which one backbone lives; made by `get_engine`.

    Args:
        load: Makes the backbone, at the first job.
        name: Of the thread.
    """

    def __init__(self, load: Callable[[], Backbone], name: str) -> None:
        """Start nothing yet."""
        self._load = load
        self._backbone: Backbone | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    def submit(self, job: Callable[[Backbone], T]) -> Future[T]:
        """Queue a job; jobs run one after the other, first come, first served."""
        return self._thread.submit(self._run, job)

    def _run(self, job: Callable[[Backbone], T]) -> T:
        if self._backbone is None:
            self._backbone = self._load()
        return job(self._backbone)

    def close(self) -> None:
        """Let the memory go once the queued jobs are done."""
        self._thread.shutdown(wait=True)
        self._backbone = None


_engines: dict[tuple[Path, torch.device, torch.dtype], Engine] = {}
_lock = threading.Lock()


def get_engine(model: str, device: str = "auto", dtype: str = "auto", *, role: Role | None = None) -> Engine:
    """Return the process's one engine for a model; nothing is loaded yet.

    Args:
        model: A folder or name, see `alpha_umi.nodes.models.hub.resolve`.
        role: Where a checkpoint has a full model of its own for this role, that one is taken.
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda:1`` …
        dtype: ``auto`` (bfloat16 where the hardware computes in it), or one of `DTYPES`.

    Raises:
        ModelNotAvailable: If the weights are not on this machine.
        ConfigError: If a value cannot be used.
    """
    folder = resolve(model)
    if role is not None:
        folder = find_own_model(folder, role) or folder
    place = _choose_device(device)
    key = folder, place, _choose_dtype(dtype, place)
    with _lock:
        if key not in _engines:
            _engines[key] = Engine(partial(Backbone, *key), f"alpha-umi-{folder.name}")
        return _engines[key]


def close_engines() -> None:
    """Unload every model of this process."""
    with _lock:
        engines = list(_engines.values())
        _engines.clear()
    for engine in engines:
        engine.close()


def _choose_device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"Unknown device {name!r}; use 'auto', 'cpu' or 'cuda'.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"Device {name!r}: torch finds no CUDA here; use 'auto' or 'cpu', or install torch for CUDA.")
    return device


def _choose_dtype(name: str, device: torch.device) -> torch.dtype:
    if name != "auto":
        if name not in DTYPES:
            raise ConfigError(f"Unknown dtype {name!r}; use 'auto', {', '.join(map(repr, DTYPES))}.")
        return DTYPES[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    has_bfloat16 = device.type == "cpu" and (
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )
    return torch.bfloat16 if has_bfloat16 else torch.float32
