"""Whole trajectories, written through the chat model as a graph would have them written, and timed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

import torch
from langchain_core.messages import AIMessageChunk
from transformers import DynamicCache

from alpha_umi.nodes.format.render import encode_prompt
from alpha_umi.nodes.models.engine import EngineName
from alpha_umi.nodes.models.engine.backbone import Backbone
from alpha_umi.nodes.models.engine.prefix_cache import PrefixCache
from alpha_umi.nodes.models.engine.pytorch.backbone import CPU_PREFILL_TOKENS, TorchBackbone
from alpha_umi.nodes.models.engine.scheduler import get_engine
from alpha_umi.nodes.models.local import LocalChatModel
from benchmarks.shared_cache.models import Dictation
from benchmarks.shared_cache.work import MAX_REPLY_TOKENS, Turn, Work

N_DECODED = 16


@dataclass(frozen=True)
class Reply:
    """One turn's figures; `seconds` holds `first_s`, the time to the first text."""

    turn: Turn
    seconds: float
    first_s: float
    n_computed_tokens: int
    n_written_tokens: int
    is_as_dictated: bool


@dataclass(frozen=True)
class Replay:
    """One trajectory's figures."""

    replies: tuple[Reply, ...]

    @property
    def seconds(self) -> float:
        """Wall time of all turns."""
        return sum(reply.seconds for reply in self.replies)

    @property
    def first_s(self) -> float:
        """What passed before the first tokens: everything but the writing."""
        return sum(reply.first_s for reply in self.replies)

    @property
    def step_first_s(self) -> list[float]:
        """Time to the first token of each step but the first, which has nothing to share."""
        return [reply.first_s for reply in self.replies if reply.turn.role == "planner" and reply.turn.step > 1]

    @property
    def n_computed_tokens(self) -> int:
        """Prompt tokens that went through the model."""
        return sum(reply.n_computed_tokens for reply in self.replies)


class Player:
    """Plays trajectories on one model.

    Args:
        model: Folder or name.
        engine: What computes it.
        shares: Keep a prefix cache, hold the roles to their grammars and try guesses; else recompute every prompt and
            write freely, token by token.
    """

    def __init__(self, model: str, engine: EngineName, *, shares: bool) -> None:
        """Load the model."""
        self.engine = get_engine(model, engine=engine)
        self._max_bytes = None if shares else 0
        self.dictation = self.engine.submit(Dictation).result()
        self._model = LocalChatModel(
            model=model,
            engine=engine,
            constrained=shares,
            prompt_lookup=shares,
            max_tokens=MAX_REPLY_TOKENS,
            max_rationale_tokens=MAX_REPLY_TOKENS,
        )

    def play(self, work: Work) -> Replay:
        """Write every turn of a trajectory; nothing is known from another one."""
        self.engine.submit(self._forget).result()
        return Replay(tuple(self._write(turn, work) for turn in work.turns))

    def _forget(self, backbone: Backbone) -> None:
        backbone.keeps_openings = False  # on disk, from one trajectory to the next
        backbone.cache.clear()
        if self._max_bytes is not None:
            backbone.cache = PrefixCache(self._max_bytes)

    def _write(self, turn: Turn, work: Work) -> Reply:
        n_prompt_tokens = len(self.engine.submit(lambda backbone: encode(backbone, turn, work)).result())
        self.dictation.begin(n_prompt_tokens, turn.ids)
        started, first_s, text = time.perf_counter(), 0.0, ""
        chunk = AIMessageChunk(content="")
        for chunk in self._model.stream([*turn.messages], role=turn.role, tools=list(work.tools)):
            if chunk.text and not text:
                first_s = time.perf_counter() - started
            text += chunk.text
        seconds = time.perf_counter() - started
        usage = chunk.usage_metadata
        assert usage is not None
        return Reply(
            turn,
            seconds,
            first_s,
            usage["input_tokens"] - usage["input_token_details"]["cache_read"],
            usage["output_tokens"],
            text.strip() == turn.text.strip(),
        )


def encode(backbone: Backbone, turn: Turn, work: Work) -> list[int]:
    """Return a turn's prompt."""
    return encode_prompt(turn.messages, backbone.tokenizer, backbone.find_template("umi"), turn.role, work.tools)


@torch.inference_mode()
def measure_limit(work: Work, backbone: TorchBackbone) -> float:
    """Return the seconds that a trajectory takes if each token is computed once, and written ones are decoded.

    The rates are those of the bare model without adapters, measured on this trajectory.
    """
    cache = DynamicCache(config=backbone.model.config)
    started = time.perf_counter()
    for start in range(0, len(work.ids), CPU_PREFILL_TOKENS):
        ids = torch.tensor([work.ids[start : start + CPU_PREFILL_TOKENS]], device=backbone.model.device)
        backbone.model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    prefill_s = time.perf_counter() - started
    token, times = torch.tensor([[work.ids[-1]]], device=backbone.model.device), []
    for _ in range(N_DECODED):
        started = time.perf_counter()
        logits = backbone.model(input_ids=token, past_key_values=cache, use_cache=True).logits
        token = logits[:, -1].argmax(-1, keepdim=True)
        times.append(time.perf_counter() - started)
    return prefill_s + work.n_written_tokens * median(times)
