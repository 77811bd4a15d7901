"""The process's models: one backbone per folder, device and type, and the one thread that runs it.

A thread and not a lock: whatever changes the backbone happens between two forward passes, and no event loop is ever
blocked. Imports torch: import it only where a model is run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch

from alpha_umi.nodes.models.backbone import Backbone
from alpha_umi.nodes.models.batch import Batch, Job
from alpha_umi.nodes.models.checkpoint import find_own_model
from alpha_umi.nodes.models.hub import resolve
from alpha_umi.nodes.models.placement import Place, choose_dtype, choose_place
from alpha_umi.nodes.trajectory import Role

T = TypeVar("T")


class Engine:
    """The thread in which one backbone lives; made by `get_engine`.

    Args:
        load: Makes the backbone, at the first job.
        name: Of the thread.
    """

    def __init__(self, load: Callable[[], Backbone], name: str) -> None:
        """Start nothing yet."""
        self._load = load
        self._batches: list[Batch] = []  # the last one is in use, others are finished
        self._is_stepping = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    def submit(self, job: Callable[[Backbone], T]) -> Future[T]:
        """Queue a short job, which has the backbone to itself between two forward passes; first come, first served."""
        return self._thread.submit(self._run, job)

    def write(self, job: Job) -> None:
        """Queue a text, to be written together with others."""
        self._thread.submit(self._add, job)

    def reload(self, change: Callable[[Backbone], None] | None = None) -> None:
        """Change the backbone for the texts to come, or load it anew; those being written are finished on the old one.

        Args:
            change: What to do with a backbone that is loaded; None loads another one in its place.
        """
        self._thread.submit(self._reload, change).result()

    def close(self) -> None:
        """Let the memory go once everything queued is done."""
        self._thread.shutdown(wait=True)
        self._batches.clear()

    def _get_batch(self) -> Batch:
        if not self._batches:
            self._batches.append(Batch(self._load()))
        return self._batches[-1]

    def _run(self, job: Callable[[Backbone], T]) -> T:
        return job(self._get_batch().backbone)

    def _reload(self, change: Callable[[Backbone], None] | None) -> None:
        if self._batches and change is None:
            self._batches.append(Batch(self._load()))
        elif self._batches and change is not None:
            change(self._batches[-1].backbone)
            self._batches[-1].forget_adapters()

    def _add(self, job: Job) -> None:
        try:
            self._get_batch().add(job)
        except Exception as error:
            job.end(error)
        else:
            if not self._is_stepping:
                self._step()

    def _step(self) -> None:
        """Do one forward pass, and queue the next one behind whatever came in meanwhile."""
        self._is_stepping = True
        while self._is_stepping:
            for batch in self._batches:
                batch.step()
            self._batches = [batch for batch in self._batches[:-1] if not batch.is_empty] + self._batches[-1:]
            self._is_stepping = not all(batch.is_empty for batch in self._batches)
            if self._is_stepping:
                with suppress(RuntimeError):  # closed, or the process ends: nothing more comes in
                    self._thread.submit(self._step)
                    return


_engines: dict[tuple[Path, Place, torch.dtype], Engine] = {}
# Which folder has a role's weights: finding out reads and checks a whole checkpoint.
_folders: dict[tuple[Path, Role], Path] = {}
_lock = threading.Lock()


def get_engine(model: str, device: str = "auto", dtype: str = "auto", *, role: Role | None = None) -> Engine:
    """Return the process's one engine for a model; nothing is loaded yet.

    Args:
        model: A folder or name, see `alpha_umi.nodes.models.hub.resolve`.
        role: Where a checkpoint has a full model of its own for this role, that one is taken.
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda:1`` …, or ``balanced`` for all GPUs together.
        dtype: ``auto`` (bfloat16 where the hardware computes in it), ``float32``, ``bfloat16`` or ``float16``.

    Raises:
        ModelNotAvailable: If the weights are not on this machine.
        ConfigError: If a value cannot be used.
    """
    folder = resolve(model)
    if role is not None:
        if (folder, role) not in _folders:
            _folders[folder, role] = find_own_model(folder, role) or folder
        folder = _folders[folder, role]
    place = choose_place(device)
    key = folder, place, choose_dtype(dtype, place)
    with _lock:
        if key not in _engines:
            _engines[key] = Engine(partial(Backbone, *key), f"alpha-umi-{folder.name}")
        return _engines[key]


def reload_role(model: str, adapter: str | None, role: Role, device: str = "auto", dtype: str = "auto") -> None:
    """Let new texts be written by what the folder of an adapter, or of a role's own model, holds now.

    Args:
        model: As for `get_engine`.
        adapter: As for `Backbone.find_adapter`.
        role: The role whose weights were changed.
        device: As for `get_engine`.
        dtype: As for `get_engine`.

    Raises:
        ConfigError: If it cannot be used; the old one is used further.
    """
    folder = resolve(model)
    if adapter is None:
        _folders[folder, role] = find_own_model(folder, role) or folder
    engine = get_engine(model, device, dtype, role=None if adapter else role)
    is_own = adapter is None and _folders[folder, role] != folder
    engine.reload(None if is_own else lambda backbone: backbone.reload_adapter(adapter, role))


def close_engines() -> None:
    """Unload every model of this process."""
    with _lock:
        engines = list(_engines.values())
        _engines.clear()
        _folders.clear()
    for engine in engines:
        engine.close()
