"""The process's models: one backbone per folder, device and type, the one thread that runs it, and its batches.

A thread and not a lock: whatever changes the backbone happens between two forward passes, and no event loop is ever
blocked.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from alpha_umi.errors import ModelFault
from alpha_umi.nodes.format.trajectory import Role
from alpha_umi.nodes.models.engine import DEFAULT_TOKENS_PER_BATCH, MAX_SEQUENCES, EngineName, GenerationRequest
from alpha_umi.nodes.models.engine.backbone import Backbone
from alpha_umi.nodes.models.engine.checkpoint import find_role_model
from alpha_umi.nodes.models.engine.choice import choose_loader
from alpha_umi.nodes.models.engine.decode import Decoding
from alpha_umi.nodes.models.engine.reply import generate_reply
from alpha_umi.nodes.models.engine.spans import Cancelled, Logits, Span
from alpha_umi.nodes.models.engine.weights import resolve
from alpha_umi.tools.forks import hold_while_forking, renew_after_fork

T = TypeVar("T")


@dataclass(frozen=True)
class GenerationJob:
    """A sequence that somebody waits for.

    Args:
        begin: Makes the prompt.
        cancelled: Set when nobody waits any more.
        end: Is told that the sequence has ended, with what went wrong or None.
        max_new_tokens: The most tokens to generate.
        tokens_per_batch: It waits until so many tokens are enough for it and those in the batch, prompts included; an
            empty batch takes it whatever its size.
    """

    begin: Callable[[Any], Decoding]
    cancelled: threading.Event
    end: Callable[[BaseException | None], None]
    max_new_tokens: int
    tokens_per_batch: int = DEFAULT_TOKENS_PER_BATCH


@dataclass(slots=True)
class _Running:
    """A sequence in the batch; `span` is what it needs computed next, at most `n_tokens` are held in memory for it."""

    job: GenerationJob
    decoding: Decoding
    span: Span
    n_tokens: int
    is_prefilling: bool = True


class ContinuousBatch:
    """The sequences one backbone generates, and the jobs that wait; they join and leave between two passes."""

    def __init__(self, backbone: Backbone) -> None:
        """Start empty."""
        self.backbone = backbone
        self._waiting: deque[GenerationJob] = deque()
        self._next: _Running | None = None
        self._running: list[_Running] = []

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self._running and not self._waiting and self._next is None

    def add(self, job: GenerationJob) -> None:
        """Let a job wait for its turn: first come, first served."""
        self._waiting.append(job)

    def step(self) -> None:
        """Do one forward pass; raises nothing, but passes errors to the jobs."""
        self._remove_cancelled()
        self._admit()
        if not self._running:
            return
        spans = self._split()
        try:
            logits = self.backbone.compute([span for span, _ in spans])
        except Cancelled:
            return  # nothing was appended: the next step does the same without the one that left
        except ModelFault as error:  # the others continue without the sequence that takes the most
            self._abort(max(self._running, key=lambda each: each.n_tokens), error)
            return
        except Exception as error:
            for running in self._running.copy():
                self._abort(running, error)
            return
        for running, (_, rest), after in zip(self._running.copy(), spans, logits, strict=True):
            if rest.ids:
                running.span = rest
            else:
                self._send(running, after)

    def forget_adapters(self) -> None:
        """Let replaced adapters go that no sequence here uses any more."""
        self.backbone.forget_adapters({each.span.adapter for each in [*self._running, self._next] if each})

    def _remove_cancelled(self) -> None:
        for running in [each for each in self._running if each.job.cancelled.is_set()]:
            self._abort(running, None)
        if self._next is not None and self._next.job.cancelled.is_set():
            running, self._next = self._next, None
            running.decoding.close()
            running.job.end(None)

    def _admit(self) -> None:
        """Begin the next job, unless another prompt is still prefilled: both may begin with the same tokens."""
        if any(each.is_prefilling for each in self._running):
            return
        while self._next is None and self._waiting:
            self._next = self._begin(self._waiting.popleft())
        if self._next is not None and self._has_room_for(self._next):
            self._running.append(self._next)
            self._next = None

    def _begin(self, job: GenerationJob) -> _Running | None:
        try:
            if not job.cancelled.is_set():
                decoding = job.begin(self.backbone)
                span = next(decoding)
                return _Running(job, decoding, span, span.past.n_tokens + len(span.ids) + job.max_new_tokens)
            job.end(None)
        except StopIteration:  # the grammar left no choice
            job.end(None)
        except Exception as error:
            job.end(error)
        return None

    def _has_room_for(self, new: _Running) -> bool:
        n_tokens = sum(each.n_tokens for each in self._running) + new.n_tokens
        return not self._running or (
            len(self._running) < MAX_SEQUENCES and n_tokens <= min(new.job.tokens_per_batch, self.backbone.room_tokens)
        )

    def _split(self) -> list[tuple[Span, Span]]:
        """Divide what each sequence needs computed into what this pass computes and the rest."""
        n_guesses = self.backbone.guessed_tokens // len(self._running)
        for each in self._running:
            each.span = each.span.limit_guesses(0 if each.is_prefilling else n_guesses)
        chunk = self.backbone.prefill_tokens
        n_others = sum(len(each.span.ids) for each in self._running if not each.is_prefilling)
        return [each.span.split(max(chunk - n_others, 1) if each.is_prefilling else chunk) for each in self._running]

    def _send(self, running: _Running, logits: Logits) -> None:
        running.is_prefilling = False
        try:
            running.span = running.decoding.send(logits)
        except StopIteration:
            self._end(running)
        except Exception as error:
            self._end(running, error)

    def _abort(self, running: _Running, error: Exception | None) -> None:
        running.decoding.close()
        self._end(running, error)

    def _end(self, running: _Running, error: Exception | None = None) -> None:
        self._running.remove(running)
        self.forget_adapters()
        running.job.end(error)


class Engine:
    """The thread in which one backbone lives, which is loaded at the first job; made by `get_engine`."""

    def __init__(self, load: Callable[[], Backbone], name: str) -> None:
        """Start nothing yet."""
        self.is_closed = False
        self._load = load
        self._name = name
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """Begin without weights: in a forked child, where nothing runs what the parent's thread was at."""
        self._batches: list[ContinuousBatch] = []  # the last one takes new jobs, the others are finished
        self._is_stepping = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=self._name)

    def submit(self, job: Callable[[Any], T]) -> Future[T]:
        """Queue a short job, which has the backbone to itself between two forward passes."""
        return self._thread.submit(lambda: job(self._get_batch().backbone))

    def generate(
        self, request: GenerationRequest, emit: Callable[[Any], None], cancelled: threading.Event, **limits: int
    ) -> None:
        """Queue a request, to be answered together with others; returns at once.

        In the engine's thread, `emit` is handed each chunk, and at the end None or what went wrong. `cancelled` is set
        when nobody reads on; limits are as for `GenerationJob`.
        """
        begin = partial(generate_reply, request, emit=emit, cancelled=cancelled)
        self._thread.submit(self._add, GenerationJob(begin, cancelled, emit, request.max_tokens, **limits))

    def reload(self, change: Callable[[Any], None] | None = None) -> None:
        """Change a loaded backbone, or load another one, for the jobs to come; those that run finish on the old one."""
        self._thread.submit(self._reload, change).result()

    def close(self) -> None:
        """Let the memory go once everything queued is done."""
        self.is_closed = True
        self._thread.shutdown(wait=True)
        self._batches.clear()

    def _get_batch(self) -> ContinuousBatch:
        if not self._batches:
            self._batches.append(ContinuousBatch(self._load()))
        return self._batches[-1]

    def _reload(self, change: Callable[[Any], None] | None) -> None:
        if self._batches and change is None:
            self._batches.append(ContinuousBatch(self._load()))
        elif self._batches and change is not None:
            change(self._batches[-1].backbone)
            self._batches[-1].forget_adapters()

    def _add(self, job: GenerationJob) -> None:
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


_engines: dict[tuple[Path, Hashable], Engine] = {}
# Which folder has a role's weights: finding out reads and checks a whole checkpoint.
_folders: dict[tuple[Path, Role], Path] = {}
_lock = threading.Lock()
hold_while_forking(_lock)


def get_engine(
    model: str, device: str = "auto", dtype: str = "auto", *, engine: EngineName = "auto", role: Role | None = None
) -> Engine:
    """Return the process's one engine for a model; nothing is loaded yet.

    Args:
        model: A folder or name, see `alpha_umi.nodes.models.engine.weights.resolve`.
        role: Where a checkpoint has a full model for this role, that one is taken.
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda:1`` …, or ``balanced`` for all GPUs together.
        dtype: ``auto`` (bfloat16 where the hardware computes in it), ``float32``, ``bfloat16`` or ``float16``; with
            llama.cpp ``auto`` (``q8_0``), ``q8_0``, ``q4_0``, ``f16`` or ``f32``.
        engine: What computes: ``torch``, ``llamacpp``, which takes no device, or ``auto``: llama.cpp for a trained
            checkpoint where it is installed, there is no GPU, and device and type are left open.

    Raises:
        ModelNotAvailable: If the weights are not on this machine.
        ConfigError: If a value cannot be used.
    """
    folder = resolve(model)
    load, place = choose_loader(folder, device, dtype, engine)
    with _lock:
        if role is not None:
            if (folder, role) not in _folders:
                _folders[folder, role] = find_role_model(folder, role) or folder
            folder = _folders[folder, role]
        if (folder, place) not in _engines:
            _engines[folder, place] = Engine(partial(load, folder), f"alpha-umi-{folder.name}")
        return _engines[folder, place]


def reload_role(
    model: str,
    adapter: str | None,
    role: Role,
    device: str = "auto",
    dtype: str = "auto",
    *,
    engine: EngineName = "auto",
) -> None:
    """Let new jobs use what the folder of an adapter, or of a role's full model, holds now.

    Raises:
        ConfigError: If it cannot be used; the old one is used further.
    """
    folder = resolve(model)
    full_model = None if adapter else find_role_model(folder, role)
    if adapter is None:
        _folders[folder, role] = full_model or folder
    found = get_engine(model, device, dtype, engine=engine, role=None if adapter else role)
    found.reload(None if full_model else lambda backbone: backbone.reload_adapter(adapter, role))


def close_engines() -> None:
    """Unload every model of this process."""
    with _lock:
        engines = list(_engines.values())
        _engines.clear()
        _folders.clear()
    for engine in engines:
        engine.close()
