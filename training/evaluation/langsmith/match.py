"""Whether a run made the reference's tool calls, by the definitions of openevals and agentevals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, ToolCall, convert_to_messages

from alpha_umi.errors import ConfigError, TrajectoryError

MatchMode: TypeAlias = Literal["strict", "unordered", "subset", "superset"]
ArgumentsMode: TypeAlias = Literal["exact", "ignore", "subset", "superset"]
Matcher: TypeAlias = Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]

_Same: TypeAlias = Callable[[Mapping[str, Any], Mapping[str, Any]], bool]


def make_trajectory_match(mode: MatchMode = "strict", arguments: ArgumentsMode = "exact") -> Matcher:
    """Make an evaluator that compares the calls in the outputs' ``messages`` with those in the reference's.

    Args:
        mode: ``strict``: the same roles in the same order, and in each message the same calls in any order.
            ``unordered``: the same calls in any order. ``subset``: no other calls than the reference's.
            ``superset``: all of the reference's.
        arguments: When two calls of one tool are the same: if their arguments are equal (``exact``), always
            (``ignore``), or if those of the run are among the reference's (``subset``) or hold them (``superset``).

    Returns:
        ``evaluator(outputs, reference_outputs)``; its feedback has the key that openevals gives it, such as
        ``trajectory_strict_match``. A run without messages, because it failed, does not match.

    Raises:
        ConfigError: If there is no such mode.
        TrajectoryError: At a call, if the reference has no messages.
    """
    if mode not in get_args(MatchMode):
        raise ConfigError(f"There is no match {mode!r}; give one of {', '.join(get_args(MatchMode))}.")
    if arguments not in get_args(ArgumentsMode):
        raise ConfigError(
            f"Arguments cannot be compared by {arguments!r}; give one of {', '.join(get_args(ArgumentsMode))}."
        )
    same = _SAME[arguments]

    def trajectory_match(outputs: dict[str, Any], reference_outputs: dict[str, Any]) -> dict[str, Any]:
        if "messages" not in reference_outputs:
            raise TrajectoryError(
                "The example's reference has no 'messages' to compare with; use an evaluator of answers for this suite."
            )
        key = f"trajectory_{mode}_match"
        if "messages" not in outputs:
            return {"key": key, "score": False, "comment": "The run has no messages."}
        made, wanted = _read(outputs["messages"]), _read(reference_outputs["messages"])
        return {"key": key, "score": _MATCH[mode](made, wanted, same)}

    return trajectory_match


def _read(messages: Sequence[Any]) -> list[AnyMessage]:
    return convert_to_messages([dict(each) if isinstance(each, Mapping) else each for each in messages])  # type: ignore[return-value]


def _list_calls(messages: Sequence[BaseMessage]) -> list[ToolCall]:
    return [call for message in messages if isinstance(message, AIMessage) for call in message.tool_calls]


def _covers(calls: Sequence[ToolCall], others: Sequence[ToolCall], same: _Same) -> bool:
    """Tell whether each of the other calls is one of these, none of them taken twice."""
    left = list(calls)
    for other in others:
        found = next(
            (call for call in left if call["name"] == other["name"] and same(call["args"], other["args"])), None
        )
        if found is None:
            return False
        left.remove(found)
    return True


def _has_all(made: Sequence[BaseMessage], wanted: Sequence[BaseMessage], same: _Same) -> bool:
    return _covers(_list_calls(made), _list_calls(wanted), same)


def _has_no_others(made: Sequence[BaseMessage], wanted: Sequence[BaseMessage], same: _Same) -> bool:
    return _covers(_list_calls(wanted), _list_calls(made), lambda theirs, ours: same(ours, theirs))


def _is_step_by_step(made: Sequence[BaseMessage], wanted: Sequence[BaseMessage], same: _Same) -> bool:
    pairs = list(zip(made, wanted, strict=False))
    return len(made) == len(wanted) and all(
        one.type == other.type
        and len(_list_calls([one])) == len(_list_calls([other]))
        and _has_no_others([one], [other], same)
        for one, other in pairs
    )


_SAME: Mapping[ArgumentsMode, _Same] = {
    "exact": lambda made, wanted: made == wanted,
    "ignore": lambda made, wanted: True,
    "subset": lambda made, wanted: made.items() <= wanted.items(),
    "superset": lambda made, wanted: made.items() >= wanted.items(),
}
_MATCH: Mapping[MatchMode, Callable[[Sequence[BaseMessage], Sequence[BaseMessage], _Same], bool]] = {
    "strict": _is_step_by_step,
    "unordered": lambda made, wanted, same: _has_all(made, wanted, same) and _has_no_others(made, wanted, same),
    "subset": _has_no_others,
    "superset": _has_all,
}
