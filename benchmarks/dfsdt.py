"""Prompt tokens that a search runs through the model, with the shared prefix cache and without it.

A tree of four levels is searched, with tool outputs of the length that ToolBench's have after its cut (1,024
characters). The weights are random and small, since token counts do not depend on them; the tokenizer, the chat
template, the cache and the graph are the real ones. What the roles say is scripted: each call still goes through the
local model, which reads the prompt, and one token of its own is thrown away. It needs `alpha-umi models pull
smollm2-135m` for the tokenizer.

    python -m benchmarks.dfsdt
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, ClassVar

import torch
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import PrivateAttr
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from alpha_umi import UmiContext, create_umi_agent
from alpha_umi.nodes.format.render import load_template
from alpha_umi.nodes.models.engine.scheduler import close_engines
from alpha_umi.nodes.models.engine.weights import resolve
from alpha_umi.nodes.models.local import LocalChatModel
from alpha_umi.nodes.models.scripted import ScriptedChatModel
from tests.graph.maze import Plans, make_player

GOAL = 3.0
WORDS = "sixteen rooms lie behind this door and each of them has a window on the yard where nobody has been for years "
PLANS: Plans = {
    "": ["hall", "tower", "cellar"],
    "hall": ["attic", "roof"],
    "hall/attic": ["desk", "chest"],
    "hall/attic/desk": ["give up"],
    "hall/attic/chest": ["give up"],
    "hall/roof": ["give up"],
    "tower": ["stairs", "bell"],
    "tower/stairs": ["give up"],
    "tower/bell": ["give up"],
    "cellar": ["wine", "barrel"],
    "cellar/wine": ["conclude"],
}


def look(place: str, light: str = "lamp", hours: int = 1) -> str:
    """Look into a place of the house, with a light of one's choice, for as many hours as it takes.

    Args:
        place: Which place, by its one-word name.
        light: What to carry: lamp, candle or torch.
        hours: How long to look.
    """
    return f"In the {place}, {WORDS * 10}"[:1_024]


def ask(person: str, question: str) -> str:
    """Ask one of the persons of the house a question."""
    return f"{person} says nothing about {question}."


class ReadOnly(BaseChatModel):
    """Says what the script says after a local model has read the prompt, and counts the prompt's tokens."""

    role_aware: ClassVar[bool] = True

    local: LocalChatModel
    script: ScriptedChatModel
    _n_read: int = PrivateAttr(default=0)
    _n_reused: int = PrivateAttr(default=0)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        usage = self.local.invoke(messages, **kwargs).usage_metadata
        assert usage is not None
        self._n_read += usage["input_tokens"]
        self._n_reused += usage.get("input_token_details", {}).get("cache_read", 0)
        message = AIMessage(self.script.invoke(messages, **kwargs).text, usage_metadata=usage)
        return ChatResult(generations=[ChatGeneration(message=message)])

    @property
    def _llm_type(self) -> str:
        return "read-only"


def make_model(folder: Path) -> LocalChatModel:
    """Save a small random model with the real tokenizer and template."""
    tokenizer: Any = AutoTokenizer.from_pretrained(resolve("smollm2-135m"))
    tokenizer.chat_template = load_template("umi")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=8_192,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return LocalChatModel(model=str(folder), constrained=False, max_tokens=1, dtype="float32")


def main() -> None:
    """Search once and print the row."""
    with tempfile.TemporaryDirectory() as folder:
        model = ReadOnly(local=make_model(Path(folder)), script=make_player(PLANS))
        limits = UmiContext(strategy="dfsdt", beam_width=3)
        agent = create_umi_agent(model, [look, ask], defaults=limits, approvals=False, checkpointer=InMemorySaver())
        result = agent.invoke({"messages": [HumanMessage("Where is the key?")]}, {"configurable": {"thread_id": "t"}})
        state = agent.get_state({"configurable": {"thread_id": "t"}}).values
        close_engines()
    assert result["finish"] == "answer", result["reason"]
    n_computed = model._n_read - model._n_reused
    ratio = model._n_read / n_computed
    print(f"prompt tokens of a search: {len(state['tree']['nodes'])} tree nodes, {state['n_queries']} model calls")
    print(f"  without the cache  {model._n_read:7,}")
    print(f"  with it            {n_computed:7,}")
    print(f"  ratio {ratio:.1f} (goal {GOAL}: {'reached' if ratio >= GOAL else 'MISSED'})")


if __name__ == "__main__":
    main()
