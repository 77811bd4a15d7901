"""What is replayed: trajectories as turns, each with the prompt it is served with and the tokens it must write."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.messages import ChatMessage
from llguidance import LLMatcher
from llguidance.hf import from_tokenizer

from alpha_umi.nodes.format.render import encode_messages, load_template, render_messages, template_kwargs
from alpha_umi.nodes.format.trajectory import ROLES, Role, Trajectory
from alpha_umi.nodes.models.engine.grammar import Grammar, caller_grammar, planner_grammar
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.dataset import Example, Tally
from alpha_umi.training.data.sources import builtin
from alpha_umi.training.data.sources.public import toolbench
from alpha_umi.training.samples import make_sample

TOOLBENCH = "toolbench_answers.tar.gz"
MAX_WRITTEN_TOKENS = 260
MIN_CALLS = 2
MAX_TRAJECTORY_TOKENS = 4096
MAX_REPLY_TOKENS = 384
"""Room for a reply, so that no grammar brings one to its end early."""


@dataclass(frozen=True)
class Turn:
    """One call of one role's model.

    Args:
        role: Who writes.
        step: Which step of the trajectory, from 1.
        messages: The prompt.
        text: What is to be written.
        ids: Its tokens, with the end token.
    """

    role: Role
    step: int
    messages: tuple[ChatMessage, ...]
    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True)
class Work:
    """One trajectory.

    Args:
        turns: In order.
        tools: On offer.
        ids: The whole trajectory's tokens, each once.
        n_prompt_tokens: Of all turns' prompts together.
        n_paper_tokens: The same for the paper's own prompts.
    """

    turns: tuple[Turn, ...]
    tools: tuple[ToolSpec, ...]
    ids: tuple[int, ...]
    n_prompt_tokens: int
    n_paper_tokens: int

    @property
    def n_written_tokens(self) -> int:
        """What the models write."""
        return sum(len(turn.ids) for turn in self.turns)


def make_work(trajectory: Trajectory, tokenizer: Any) -> Work:
    """Cut a trajectory into turns."""
    messages = render_messages(trajectory)
    turns = []
    for i, message in enumerate(messages):
        if message.role in ROLES:
            step = sum(before.role == "planner" for before in messages[: i + 1])
            ids = [*tokenizer.encode(message.text, add_special_tokens=False), tokenizer.eos_token_id]
            turns.append(Turn(message.role, step, tuple(messages[:i]), str(message.text), tuple(ids)))
    sample = make_sample(trajectory, tokenizer)
    return Work(
        tuple(turns),
        trajectory.tools,
        tuple(sample.input_ids),
        sum(turn.start for turn in sample.turns),
        _count_paper_tokens(trajectory, tokenizer),
    )


def _count_paper_tokens(trajectory: Trajectory, tokenizer: Any) -> int:
    """Return the length of the prompts of all turns in the paper's style, in tokens."""
    messages, template = render_messages(trajectory, style="toolbench"), load_template("toolbench")
    return sum(
        len(
            encode_messages(
                messages[:i],
                tokenizer,
                template,
                add_generation_prompt=True,
                **template_kwargs(message.role, trajectory.tools),
            )
        )
        for i, message in enumerate(messages)
        if message.role in ROLES
    )


def make_grammar(turn: Turn, work: Work) -> Grammar | None:
    """Return the grammar that a turn is written under, with all the room its rationale needs."""
    if turn.role == "planner":
        return planner_grammar(MAX_REPLY_TOKENS)
    return caller_grammar({tool.name: tool.parameters for tool in work.tools}) if turn.role == "caller" else None


def choose_work(n_trajectories: int, tokenizer: Any, n_vocab: int, data: Path | None) -> tuple[list[Work], str]:
    """Return the trajectories to replay, short ones in the order of the source, and how they were chosen.

    Args:
        n_trajectories: The most to return.
        tokenizer: A fast tokenizer.
        n_vocab: Length of the model's logits.
        data: Folder with ToolBench's answers; None for generated ones.
    """
    source, examples = _read_examples(n_trajectories, data)
    works = [make_work(example.trajectory, tokenizer) for example in examples if example.trajectory.turns[0].steps]
    fitting = [work for work in works if _is_fit(work)]
    checker = from_tokenizer(tokenizer, n_vocab=n_vocab)
    chosen: list[Work] = []
    n_refused = 0
    for work in fitting:
        if len(chosen) == n_trajectories:
            break
        if all(_is_allowed(turn, work, checker) for turn in work.turns):
            chosen.append(work)
        else:
            n_refused += 1
    return chosen, (
        f"{len(chosen)} of {len(works)} trajectories from {source}: at least {MIN_CALLS} tool calls and at most "
        f"{MAX_WRITTEN_TOKENS} tokens to write, so that the run is short, in the order of the source. {n_refused} were "
        "passed over because a call of theirs does not satisfy its tool's schema, so the grammar would not let a model "
        f"write it. Prompt tokens per written token: {_get_mix(chosen):.1f} here, {_get_mix(works):.1f} in all."
    )


def _read_examples(n_trajectories: int, data: Path | None) -> tuple[str, list[Example]]:
    if data:
        return "ToolBench", list(toolbench.read(str(data / TOOLBENCH), Tally(), seed=0))
    return "the built-in generator", list(builtin.read(str(10 * n_trajectories), Tally(), seed=0))


def _is_fit(work: Work) -> bool:
    n_calls = sum(turn.role == "caller" for turn in work.turns)
    is_short = work.n_written_tokens <= MAX_WRITTEN_TOKENS and len(work.ids) <= MAX_TRAJECTORY_TOKENS
    return n_calls >= MIN_CALLS and is_short


def _is_allowed(turn: Turn, work: Work, tokenizer: Any) -> bool:
    grammar = make_grammar(turn, work)
    if grammar is None:
        return turn.role == "summarizer"
    matcher = LLMatcher(tokenizer, grammar.lark, log_level=0)
    ids = list(turn.ids[:-1])
    return bool(matcher.validate_tokens(ids) == len(ids) and matcher.consume_tokens(ids) and matcher.is_accepting())


def _get_mix(works: list[Work]) -> float:
    return sum(work.n_prompt_tokens for work in works) / max(1, sum(work.n_written_tokens for work in works))


def list_turns(works: list[Work], role: Role) -> Iterator[tuple[Turn, Work]]:
    """Yield every turn of a role beyond the first step, where there is a history to share."""
    for work in works:
        for turn in work.turns:
            if turn.role == role and turn.step > 1:
                yield turn, work
