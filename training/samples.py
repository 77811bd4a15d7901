"""A trajectory as token ids and labels.

Ids and loss mask are born together, from the chat template that also serves. What users and tools wrote is never a
target. Needs neither a model nor torch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from langchain_core.messages import ChatMessage

from alpha_umi.errors import ConfigError, TrajectoryError
from alpha_umi.nodes.format.encoding import Part, encode_parts
from alpha_umi.nodes.format.history import split_history
from alpha_umi.nodes.format.render import encode_messages, encode_prompt, fit_messages, load_template, render_messages
from alpha_umi.nodes.format.trajectory import ROLES, Role, Trajectory
from alpha_umi.nodes.models.engine.fit import load_hf_tokenizer
from alpha_umi.training.config import TokenWeights, TrainConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORE_INDEX = -100
_TURN_TOKENS = (
    ("<|im_start|>", "<|im_end|>"),  # SmolLM2, Qwen
    ("<start_of_turn>", "<end_of_turn>"),  # Gemma
    ("<|start_header_id|>", "<|eot_id|>"),  # Llama 3
    ("<|start_of_role|>", "<|end_of_text|>"),  # Granite
    ("[INST]", "</s>"),  # Mistral
)
"""What opens and closes a turn, by family."""


@dataclass(frozen=True, slots=True)
class TrainedTurn:
    """Where one model turn stands in a sample: ``[start, end)``, from the first token that the role writes."""

    role: Role
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One training sequence, (T,): `labels` are the ids that a trained role wrote, elsewhere `IGNORE_INDEX`."""

    input_ids: list[int]
    labels: list[int]
    turns: tuple[TrainedTurn, ...]


def make_sample(
    trajectory: Trajectory,
    tokenizer: PreTrainedTokenizerBase,
    *,
    roles: Collection[Role] = ROLES,
    limit_tokens: int | None = None,
    repeat_names: bool = False,
) -> Sample:
    """Return the sequence a trajectory is trained on, with a loss on every turn of `roles`.

    Example:
        Labels of "Hi" → conclusion → "Hello." for the planner alone; ``·`` is `IGNORE_INDEX`::

            <|im_start|>user⏎Hi<|im_end|>⏎<|im_start|>planner⏎Next: conclusion.<|im_end|>⏎<|im_start|>summarizer⏎Hello.…
            ··················································Next: conclusion.<|im_end|>······························

    Args:
        trajectory: What happened.
        tokenizer: A fast tokenizer; its own chat template is not used.
        roles: Whose turns are trained.
        limit_tokens: Cut old observations as in serving until the sequence is no longer than this.
        repeat_names: Whether the line of a tool ends with its name once more.

    Raises:
        TrajectoryError: If there is no turn to train.
        ContextOverflow: If the sequence cannot be cut to `limit_tokens`.
    """
    messages, input_ids = _encode(trajectory, tokenizer, "umi", limit_tokens, repeat_names)
    turns = [turn for turn in _find_turns(input_ids, messages, tokenizer) if turn.role in roles]
    return _label(input_ids, turns, " or ".join(roles) or "no role")


def make_single_sample(
    trajectory: Trajectory,
    tokenizer: PreTrainedTokenizerBase,
    *,
    limit_tokens: int | None = None,
    repeat_names: bool = False,
) -> Sample:
    """Return the sequence on which the paper's Single-LLM is trained: every turn is one of the planner's.

    Its template takes the same role messages as that of the umi style and joins plan and call to one assistant turn. So
    only the template in the checkpoint's tokenizer differs; graph, parsers and serving stay the same.

    Example:
        ``·`` is not trained::

            <|im_start|>user⏎2+3?<|im_end|>⏎<|im_start|>assistant⏎Next: caller.⏎Action: add⏎Action Input: {}<|im_end|>⏎…
            ······················································Next: caller.⏎Action: add⏎Action Input: {}<|im_end|>··

    Raises:
        TrajectoryError: If there is no turn to train.
        ContextOverflow: If the sequence cannot be cut to `limit_tokens`.
    """
    messages, input_ids = _encode(trajectory, tokenizer, "single", limit_tokens, repeat_names)
    plans = [message for message in messages if message.role == "planner"]
    opening = tokenizer.encode("<|im_start|>assistant\n", add_special_tokens=False)
    end_id = cast(int, tokenizer.convert_tokens_to_ids("<|im_end|>"))
    starts = [i for i in range(len(opening), len(input_ids)) if input_ids[i - len(opening) : i] == opening]
    turns = [
        TrainedTurn("planner", start, input_ids.index(end_id, start) + 1)
        for plan, start in zip(plans, starts, strict=True)
        if _is_trained(plan)
    ]
    return _label(input_ids, turns, "the assistant")


def split_long(trajectory: Trajectory, tokenizer: PreTrainedTokenizerBase, config: TrainConfig) -> list[Trajectory]:
    """Return a conversation that is longer than `max_tokens` in parts, as its prompts would hold it in such a window.

    The same function shortens threads that are served.
    """
    if len(trajectory.turns) < 2 or not config.history:
        return [trajectory]

    def count_tokens(part: Trajectory) -> int:
        messages = render_messages(part, repeat_names=config.repeat_names)
        return len(encode_prompt(messages, tokenizer, load_template(config.template), "planner", part.tools))

    trigger, keep = config.history.count(config.max_tokens)
    longest = config.max_tokens if config.history.trigger <= 1 else trigger
    n_tokens = len(_encode(trajectory, tokenizer, config.template, None, config.repeat_names)[1])
    if trigger is None or keep is None or longest is None or n_tokens <= longest:
        return [trajectory]
    return split_history(
        trajectory,
        count_tokens,
        trigger_tokens=trigger,
        keep_tokens=keep,
        summarizes=config.history.then == "summarize",
    )


def has_turn(trajectory: Trajectory, roles: Collection[Role]) -> bool:
    """Tell whether there is a turn of these roles to train."""
    steps = [step for turn in trajectory.turns for step in turn.steps if step.weight]
    has_turn = {
        "planner": bool(steps),
        "caller": any(step.calls for step in steps),
        "summarizer": any(step.decision == "conclusion" and step.answer is not None for step in steps),
    }
    return any(has_turn[role] for role in roles)


def load_tokenizer(base: Path) -> PreTrainedTokenizerBase:
    """Return a base model's tokenizer; what opens and closes a turn there is called as our template calls it.

    So the family's own embeddings of these tokens serve. The checkpoint carries the tokenizer that was trained.
    """
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415 - takes seconds

    tokenizer = load_hf_tokenizer(base)
    known = tokenizer.get_added_vocab()
    own = next((pair for pair in _TURN_TOKENS if known.keys() >= set(pair)), _TURN_TOKENS[0])
    if own == _TURN_TOKENS[0]:
        return cast("PreTrainedTokenizerBase", tokenizer)
    text = tokenizer.backend_tokenizer.to_str()
    for token, name in zip(own, _TURN_TOKENS[0], strict=True):
        text = text.replace(json.dumps(token), json.dumps(name))
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=type(tokenizer.backend_tokenizer).from_str(text),
        model_max_length=tokenizer.model_max_length,
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
    )


def _encode(
    trajectory: Trajectory,
    tokenizer: PreTrainedTokenizerBase,
    template: Literal["umi", "single"],
    limit_tokens: int | None,
    repeat_names: bool,
) -> tuple[list[ChatMessage], list[int]]:
    messages, text = render_messages(trajectory, repeat_names=repeat_names), load_template(template)
    if limit_tokens is not None:
        messages = fit_messages(messages, lambda cut: len(encode_messages(cut, tokenizer, text)), limit_tokens)
    return messages, encode_messages(messages, tokenizer, text)


def _label(input_ids: list[int], turns: list[TrainedTurn], who: str) -> Sample:
    if not turns:
        raise TrajectoryError(f"The trajectory has no turn of {who} to train; leave it out.")
    labels = [IGNORE_INDEX] * len(input_ids)
    for turn in turns:
        labels[turn.start : turn.end] = input_ids[turn.start : turn.end]
    return Sample(input_ids, labels, tuple(turns))


def _find_turns(
    input_ids: list[int], messages: list[ChatMessage], tokenizer: PreTrainedTokenizerBase
) -> Iterator[TrainedTurn]:
    """Find the model turns to train by the control tokens, which content cannot hold.

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
        if message.role in ROLES and _is_trained(message):
            seam = start + len(markers[message.role])
            if input_ids[start:seam] != markers[message.role]:
                raise ConfigError("The tokenizer merges a role's marker with its text; the umi style cannot use it.")
            yield TrainedTurn(message.role, seam, end)


def _is_trained(message: ChatMessage) -> bool:
    return bool(message.additional_kwargs.get("weight", 1))


_DECISION = re.compile(r"^Next: ((?:caller|conclusion|give up)\.)$", re.MULTILINE)
_ACTION = re.compile(r"^Action: (.+)$", re.MULTILINE)
_CHOICE = re.compile(r"\)(?: with .+?)?: (I call \S+|no tool|the request)\b")


def make_weights(sample: Sample, tokenizer: PreTrainedTokenizerBase, weights: TokenWeights) -> list[float]:
    """Return the weight of each label of a sample, (T,).

    Example:
        With ``decision: 2`` the plan ``I add. ⏎ Next: caller.<|im_end|>`` weighs 1 but for ``caller.``, which weighs 2.

    Raises:
        ConfigError: If the tokenizer does not split a turn's text the same way when it stands alone.
    """
    values = [1.0] * len(sample.input_ids)
    for turn in sample.turns:
        if turn.role == "summarizer":
            continue
        ids = [token for token in sample.input_ids[turn.start : turn.end] if token != tokenizer.eos_token_id]
        text = str(tokenizer.decode(ids))
        tokens = encode_parts([Part(text)], tokenizer)
        if [token.id for token in tokens] != ids:
            raise ConfigError(
                "token_weights need a tokenizer that splits a turn the same way alone; leave them at 1.0."
            )
        for first, last, weight in _find_spans(text, turn.role, weights):
            for index, token in enumerate(tokens, turn.start):
                if token.start < last and token.end > first:
                    values[index] = weight
    return values


def _find_spans(text: str, role: Role, weights: TokenWeights) -> Iterator[tuple[int, int, float]]:
    """Yield what is weighed as ``[start, end)`` in characters; in a Single-LLM's turn the call follows the decision."""
    start = 0
    if role == "planner":
        decision = _DECISION.search(text)
        if decision is None:
            return
        for choice in _CHOICE.finditer(text, 0, decision.start()):
            yield *choice.span(1), weights.action
        yield *decision.span(1), weights.decision
        start = decision.end()
    for action in _ACTION.finditer(text, start):
        yield *action.span(1), weights.action
