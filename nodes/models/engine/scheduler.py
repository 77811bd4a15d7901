"""The process's models: one backbone per folder, device and type, and the one thread that runs it.

A thread and not a lock: whatever changes the backbone happens between two forward passes, and no event loop is ever
blocked. Imports torch: import it only where a model is run.
"""

from __future__ import annotations

import gc
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch

from alpha_umi.errors import ModelFault
from alpha_umi.nodes.format.trajectory import Role
from alpha_umi.nodes.models.engine.backbone import Backbone
from alpha_umi.nodes.models.engine.checkpoint import find_own_model
from alpha_umi.nodes.models.engine.decode import Writing
from alpha_umi.nodes.models.engine.forward import Cancelled, Span, compute
from alpha_umi.nodes.models.engine.placement import Place, choose_dtype, choose_place
from alpha_umi.nodes.models.engine.weights import resolve
from alpha_umi.nodes.models.local import DEFAULT_TOKENS_PER_BATCH, MAX_TEXTS

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
        model: A folder or name, see `alpha_umi.nodes.models.engine.weights.resolve`.
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


# Measured on two AVX-512 cores with 135M parameters: 128 tokens at once cost 10% of the rate, 256 cost 2%.
CPU_PREFILL_TOKENS = 256
GPU_PREFILL_TOKENS = 2048
# Shared by the texts of a pass: beyond this a CPU computes instead of waiting for memory, and guesses cost time.
MAX_GUESSED_TOKENS = 16


@dataclass(frozen=True)
class Job:
    """A text that somebody waits for.

    Args:
        begin: Makes the prompt.
        cancelled: Set when nobody waits any more.
        end: Is told that the text has ended, with what went wrong or None.
        max_new_tokens: The most it will write.
        tokens_per_batch: It waits until so many tokens are enough for it and those being written, prompts included;
            alone it is written whatever it takes.
    """

    begin: Callable[[Backbone], Writing]
    cancelled: threading.Event
    end: Callable[[BaseException | None], None]
    max_new_tokens: int
    tokens_per_batch: int = DEFAULT_TOKENS_PER_BATCH


@dataclass(slots=True)
class _Row:
    """A text in the batch; `span` is what it waits for."""

    job: Job
    writing: Writing
    span: Span
    n_tokens: int
    is_reading: bool = True


class Batch:
    """The texts one backbone writes, and those that wait.

    Args:
        backbone: Used by nothing else during a `step`.
    """

    def __init__(self, backbone: Backbone) -> None:
        """Start empty."""
        self.backbone = backbone
        self._waiting: deque[Job] = deque()
        self._next: _Row | None = None
        self._rows: list[_Row] = []

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self._rows and not self._waiting and self._next is None

    def add(self, job: Job) -> None:
        """Let a job wait for its turn: first come, first served."""
        self._waiting.append(job)

    def step(self) -> None:
        """Do one forward pass; raises nothing, the jobs are told."""
        self._leave_out_cancelled()
        self._admit()
        if not self._rows:
            return
        parts = self._split()
        try:
            logits = compute_in_memory(self.backbone, [part for part, _ in parts])
        except Cancelled:
            return  # nothing was appended: the next step does the same without the one that left
        except ModelFault as error:  # the others go on without the text that takes the most
            row = max(self._rows, key=lambda row: row.n_tokens)
            row.writing.close()
            self._end(row, error)
            return
        except Exception as error:
            for row in self._rows.copy():
                row.writing.close()
                self._end(row, error)
            return
        for row, (_, rest), after in zip(self._rows.copy(), parts, logits, strict=True):
            if rest.ids:
                row.span = rest
            else:
                self._send(row, after)

    def forget_adapters(self) -> None:
        """Let replaced adapters go that no text here uses any more."""
        self.backbone.forget_adapters({row.span.adapter for row in [*self._rows, self._next] if row})

    def _leave_out_cancelled(self) -> None:
        for row in [row for row in self._rows if row.job.cancelled.is_set()]:
            row.writing.close()
            self._end(row)
        if self._next is not None and self._next.job.cancelled.is_set():
            row, self._next = self._next, None
            row.writing.close()
            row.job.end(None)

    def _admit(self) -> None:
        """Begin the next text that waits, unless another prompt is still read: both may begin with the same tokens."""
        if any(row.is_reading for row in self._rows):
            return
        while self._next is None and self._waiting:
            self._next = self._begin(self._waiting.popleft())
        if self._next is not None and self._has_room_for(self._next):
            self._rows.append(self._next)
            self._next = None

    def _begin(self, job: Job) -> _Row | None:
        if job.cancelled.is_set():
            job.end(None)
            return None
        try:
            writing = job.begin(self.backbone)
            span = next(writing)
        except StopIteration:  # the grammar left no choice
            job.end(None)
            return None
        except Exception as error:
            job.end(error)
            return None
        return _Row(job, writing, span, span.past.get_seq_length() + len(span.ids) + job.max_new_tokens)

    def _has_room_for(self, row: _Row) -> bool:
        n_tokens = sum(other.n_tokens for other in self._rows) + row.n_tokens
        return not self._rows or (len(self._rows) < MAX_TEXTS and n_tokens <= row.job.tokens_per_batch)

    def _split(self) -> list[tuple[Span, Span]]:
        """Divide what each row waits for into what is computed now and the rest."""
        for row in self._rows:
            row.span = row.span.limit_guesses(0 if row.is_reading else MAX_GUESSED_TOKENS // len(self._rows))
        chunk = CPU_PREFILL_TOKENS if self.backbone.model.device.type == "cpu" else GPU_PREFILL_TOKENS
        n_others = sum(len(row.span.ids) for row in self._rows if not row.is_reading)
        return [row.span.split(max(chunk - n_others, 1) if row.is_reading else chunk) for row in self._rows]

    def _send(self, row: _Row, logits: torch.Tensor) -> None:
        row.is_reading = False
        try:
            row.span = row.writing.send(logits)
        except StopIteration:
            self._end(row)
        except Exception as error:
            self._end(row, error)

    def _end(self, row: _Row, error: Exception | None = None) -> None:
        self._rows.remove(row)
        self.forget_adapters()
        row.job.end(error)


# What torch's allocators say in errors that are no torch.OutOfMemoryError: on the CPU, on Apple's GPUs, in cuBLAS.
_SAYINGS = ("can't allocate memory", "not enough memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def compute_in_memory(backbone: Backbone, spans: Sequence[Span]) -> list[torch.Tensor]:
    """Do what `compute` does; where memory is short, let go of the cached prompts and try once more.

    Raises:
        ModelFault: If that was not enough; nothing was appended.
    """
    try:
        return compute(backbone, spans)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    backbone.cache.clear()  # beyond the handler, whose traceback holds the tensors of the pass
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        return compute(backbone, spans)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        reason = str(error).partition("\n")[0] or type(error).__name__
    raise ModelFault(
        f"There is not enough memory to write this text ({reason}). Run fewer threads at once, lower max_tokens, "
        "shorten the conversation, or take a smaller dtype, model or another device; then ask again, or resume the "
        "thread."
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory could not be had."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(saying in str(error) for saying in _SAYINGS)
