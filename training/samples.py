"""A trajectory as token ids and labels.

Ids and loss mask are born together, from the chat template that also serves. What users and tools wrote is never a
target. Knows nothing about models, batches or devices.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from langchain_core.messages import ChatMessage

from alpha_umi.errors import ConfigError, TrajectoryError
from alpha_umi.nodes.format.render import (
    Style,
    encode_messages,
    fit_messages,
    load_template,
    render_messages,
    template_kwargs,
)
from alpha_umi.nodes.format.trajectory import ROLES, Role, Trajectory
from alpha_umi.tools.spec import ToolSpec

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORE_INDEX = -100


@dataclass(frozen=True, slots=True)
class Turn:
    """Where one model turn stands in a sample.

    Args:
        role: Whose turn it is.
        start: First token the role writes; the tokens before are the prompt it is served with.
        end: One past its end token; half-open ``[start, end)``.
    """

    role: Role
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One training sequence.

    Args:
        input_ids: Token ids, (T,).
        labels: The same ids where a trained role wrote them, else `IGNORE_INDEX`, (T,).
        turns: The trained turns, in order.
    """

    input_ids: list[int]
    labels: list[int]
    turns: tuple[Turn, ...]


def make_sample(
    trajectory: Trajectory,
    tokenizer: PreTrainedTokenizerBase,
    *,
    style: Style = "umi",
    roles: Collection[Role] = ROLES,
    limit_tokens: int | None = None,
) -> Sample:
    """Return the sequence a trajectory is trained on.

    In the umi style this is the whole trajectory, with a loss on every turn of `roles`. The paper's styles prompt each
    role differently, so one sequence can train one turn: the last one here, all of them in `make_samples`.

    Example:
        Labels of "Hi" → conclusion → "Hello." for the planner alone; ``·`` is `IGNORE_INDEX`::

            <|im_start|>user⏎Hi<|im_end|>⏎<|im_start|>planner⏎Next: conclusion.<|im_end|>⏎<|im_start|>summarizer⏎Hello.…
            ··················································Next: conclusion.<|im_end|>······························

    Args:
        trajectory: What happened.
        tokenizer: A fast tokenizer; its own chat template is not used.
        style: Which template to use.
        roles: Whose turns are trained.
        limit_tokens: Cut old observations as in serving until the sequence is no longer than this.

    Raises:
        TrajectoryError: If there is no turn to train.
        ContextOverflow: If the sequence cannot be cut to `limit_tokens`.
    """
    samples = make_samples(trajectory, tokenizer, style=style, roles=roles, limit_tokens=limit_tokens)
    return samples[-1]


def make_samples(
    trajectory: Trajectory,
    tokenizer: PreTrainedTokenizerBase,
    *,
    style: Style = "umi",
    roles: Collection[Role] = ROLES,
    limit_tokens: int | None = None,
) -> list[Sample]:
    """Return all sequences a trajectory is trained on: one in the umi style, one per turn in the paper's styles."""
    messages = render_messages(trajectory, style=style)
    ends = [i for i, message in enumerate(messages, start=1) if message.role in roles]
    if not ends:
        raise TrajectoryError(
            f"The trajectory has no turn of {' or '.join(roles) or 'no role'} to train; leave it out."
        )
    if style == "umi":
        return [_make_whole(messages, tokenizer, roles, limit_tokens)]
    return [_make_turn(messages[:end], tokenizer, trajectory.tools, style, limit_tokens) for end in ends]


def make_prompt_ids(
    messages: Sequence[ChatMessage],
    tokenizer: PreTrainedTokenizerBase,
    role: Role,
    tools: Sequence[ToolSpec],
    *,
    style: Style = "umi",
) -> list[int]:
    """Return the prompt that a role is served with, (T,)."""
    arguments = template_kwargs(role, tools)
    return encode_messages(messages, tokenizer, load_template(style), add_generation_prompt=True, **arguments)


def _make_whole(
    messages: list[ChatMessage],
    tokenizer: PreTrainedTokenizerBase,
    roles: Collection[Role],
    limit_tokens: int | None,
) -> Sample:
    template = load_template("umi")
    if limit_tokens is not None:
        messages = fit_messages(messages, lambda cut: len(encode_messages(cut, tokenizer, template)), limit_tokens)
    input_ids = encode_messages(messages, tokenizer, template)
    turns = tuple(turn for turn in _find_turns(input_ids, messages, tokenizer) if turn.role in roles)
    labels = [IGNORE_INDEX] * len(input_ids)
    for turn in turns:
        labels[turn.start : turn.end] = input_ids[turn.start : turn.end]
    return Sample(input_ids, labels, turns)


def _find_turns(
    input_ids: list[int], messages: list[ChatMessage], tokenizer: PreTrainedTokenizerBase
) -> Iterator[Turn]:
    """Find the model turns by the control tokens, which content cannot hold.

    Not by the offsets behind `return_assistant_tokens_mask`: where a tokenizer drops a turn's first character, as that
    of SmolLM2 does with some control characters, that mask silently ends.
    """
    markers = {role: tokenizer.encode(f"<|im_start|>{role}\n", add_special_tokens=False) for role in ROLES}
    start_id, end_id = (tokenizer.convert_tokens_to_ids(token) for token in ("<|im_start|>", "<|im_end|>"))
    starts = [i for i, id_ in enumerate(input_ids) if id_ == start_id]
    ends = [i for i, id_ in enumerate(input_ids, start=1) if id_ == end_id]
    if len(starts) != len(messages) or len(ends) != len(messages):
        raise ConfigError("The tokenizer lacks <|im_start|> or <|im_end|>; add both as special tokens, then train.")
    for message, start, end in zip(messages, starts, ends, strict=True):
        if message.role in ROLES:
            seam = start + len(markers[message.role])
            if input_ids[start:seam] != markers[message.role]:
                raise ConfigError("The tokenizer merges a role's marker with its text; the umi style cannot use it.")
            yield Turn(message.role, seam, end)


def _make_turn(
    messages: list[ChatMessage],
    tokenizer: PreTrainedTokenizerBase,
    tools: Sequence[ToolSpec],
    style: Style,
    limit_tokens: int | None,
) -> Sample:
    """Join prompt and completion as ids, as serving does: joined as text, a tokenizer may merge across the seam."""
    past, last = messages[:-1], messages[-1]
    role = cast(Role, last.role)
    completion = tokenizer.encode(last.text + tokenizer.eos_token, add_special_tokens=False)

    def count_tokens(cut: list[ChatMessage]) -> int:
        return len(make_prompt_ids(cut, tokenizer, role, tools, style=style)) + len(completion)

    if limit_tokens is not None:
        past = fit_messages(past, count_tokens, limit_tokens)
    prompt = make_prompt_ids(past, tokenizer, role, tools, style=style)
    turn = Turn(role, len(prompt), len(prompt) + len(completion))
    return Sample(prompt + completion, [IGNORE_INDEX] * len(prompt) + completion, (turn,))
