"""Texts that are written at the same time: which of them take part in the next forward pass.

Every text that is being written gets a token per pass, and a few guesses at more while the texts are few. Beside them
one prompt is read, a chunk per pass, so that a long one holds nobody up. Knows nothing about threads; lives in the
engine's.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch

from alpha_umi.errors import ModelFault
from alpha_umi.nodes.models.backbone import Backbone
from alpha_umi.nodes.models.forward import Cancelled, Span
from alpha_umi.nodes.models.hf import DEFAULT_TOKENS_PER_BATCH, MAX_TEXTS
from alpha_umi.nodes.models.memory import compute_in_memory
from alpha_umi.nodes.models.writing import Writing

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
