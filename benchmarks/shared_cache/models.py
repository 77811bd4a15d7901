"""The two sides: three roles on one backbone with one cache, and three models that recompute their prompts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from alpha_umi.nodes.format.render import load_template
from alpha_umi.nodes.format.trajectory import ROLES
from alpha_umi.nodes.models.engine.backbone import Backbone
from alpha_umi.nodes.models.engine.checkpoint import CARD, FORMAT, TEMPLATE, hash_file, hash_weights
from alpha_umi.nodes.models.engine.fit import quiet_peft
from alpha_umi.nodes.models.engine.spans import Logits, Span
from alpha_umi.training.batches import make_marker


def make_checkpoint(folder: Path, base: Path, rank: int) -> None:
    """Write a checkpoint whose three roles are activated LoRA adapters with random weights.

    Random ones cost what trained ones do, and what is written is dictated anyway. They are the same each time, so that
    llama.cpp's copy of them is made once.
    """
    torch.manual_seed(0)
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = load_template("umi")
    tokenizer.save_pretrained(folder)
    markers = {role: list(make_marker(tokenizer, role)) for role in ROLES}
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    for role in ROLES:
        config = LoraConfig(
            r=rank,
            lora_alpha=2 * rank,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
            init_lora_weights=False,
            alora_invocation_tokens=markers[role],
        )
        with quiet_peft():
            if role == ROLES[0]:
                model = get_peft_model(model, config, role, autocast_adapter_dtype=False)
            else:
                model.add_adapter(role, config, autocast_adapter_dtype=False)
    model.save_pretrained(str(folder), save_embedding_layers=False)
    card = {
        "format": FORMAT,
        "base": {"name": str(base), "sha256": hash_weights(base)},
        "template": {"style": "umi", "sha256": hash_file(folder / TEMPLATE)},
        "backbone": {"kind": "none"},
        "roles": {role: _describe(folder, role, markers[role]) for role in ROLES},
    }
    (folder / CARD).write_text(json.dumps(card), "utf-8")


def _describe(folder: Path, role: str, marker: Sequence[int]) -> dict[str, Any]:
    sha256 = hash_weights(folder / role)
    return {"kind": "alora", "path": role, "sha256": sha256, "invocation_tokens": list(marker)}


class Dictation:
    """Makes a model write given tokens, whatever decoding loop drives it and whatever computes.

    It lifts the next token above all others. It follows the tokens the model is fed, so it also works where a grammar
    appends some of them without asking the model.

    Args:
        backbone: Whose model to dictate to.
    """

    def __init__(self, backbone: Backbone) -> None:
        """Take the place of the forward pass; nothing is dictated yet."""
        self._tokenizer: Any = backbone.tokenizer
        self._n_prompt_tokens = 0
        self._ids: Sequence[int] = ()
        self._written: list[int] = []
        self._compute = backbone.compute
        backbone.compute = self._lift  # type: ignore[method-assign]

    def begin(self, n_prompt_tokens: int, ids: Sequence[int]) -> None:
        """Dictate this reply next.

        Args:
            n_prompt_tokens: Length of the prompt it follows.
            ids: The reply, with its end token.
        """
        self._n_prompt_tokens, self._ids, self._written = n_prompt_tokens, ids, []

    def _lift(self, spans: Sequence[Span]) -> list[Logits]:
        (span,) = spans  # nothing else runs
        fed, start = list(span.ids), span.past.n_tokens - self._n_prompt_tokens
        (logits,) = self._compute(spans)
        self._written = [*self._written[: max(start, 0)], *fed[max(-start, 0) :]]
        if self._ids and start + len(fed) >= 0:
            for i, row in enumerate(logits):  # what follows the text, and what follows each guess
                token = self._find_next(self._written[: len(self._written) - span.n_guesses + i])
                if token is not None:
                    row[token] = np.finfo(row.dtype).max
        return [logits]

    def _find_next(self, ids: Sequence[int]) -> int | None:
        """Return the next token; None once the text has left the dictated one."""
        n = len(ids)
        if list(ids) == list(self._ids[:n]):
            return self._ids[n] if n < len(self._ids) else None
        # a grammar's forced tokens may split the text differently: continue from where the text is
        whole, written = self._tokenizer.decode(self._ids[:-1]), self._tokenizer.decode(ids)
        if not whole.startswith(written):
            return None
        rest = self._tokenizer.encode(whole[len(written) :], add_special_tokens=False)
        return int(rest[0]) if rest else int(self._ids[-1])
