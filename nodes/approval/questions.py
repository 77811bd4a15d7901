"""Questions to a person about tool calls, and what counts as an answer to one.

LangGraph hands answers out by their order, and keeps them: an answer that was meant for one question can be handed to
a later one, in a graph inside another, after a crash, or when a thread is forked. So every call that is asked about has
an `id`, a digest of the call; a decision that names the id decides on that call and on no other. A decision that names
none, as LangChain's human-in-the-loop middleware has it, is about the question that the thread waits with when the run
is resumed (`name_decisions`); where an agent is inside another graph, it counts only if no other can have been meant.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias, get_args

from langgraph.config import get_config
from langgraph.constants import CONF, CONFIG_KEY_CHECKPOINTER
from langgraph.errors import GraphInterrupt
from langgraph.runtime import get_runtime
from langgraph.types import Interrupt, interrupt

from alpha_umi.errors import ConfigError

ApprovalDecision: TypeAlias = Literal["approve", "edit", "reject", "respond"]
_ON_SERVER = "assistant_id"
"""What LangGraph's server puts into the configuration of every run."""
APPROVAL_DECISIONS: tuple[ApprovalDecision, ...] = get_args(ApprovalDecision)

_HOW = (
    'Resume with {"decisions": [{"id": "…", "type": "approve"} | {"id": "…", "type": "reject", "message": "why"} | '
    '{"id": "…", "type": "edit", "edited_action": {"name": "…", "args": {…}}} | '
    '{"id": "…", "type": "respond", "message": "the observation"}]}. Each id is that of an action request.'
)


@dataclass(frozen=True, slots=True)
class AskedCall:
    """A call that a person is asked about: `id` is a digest of it (`make_id`), `call_id` its id in the message.

    The text says what is asked, the reason why; `schema` is that of the tool's arguments.
    """

    id: str
    call_id: str
    name: str
    arguments: Mapping[str, Any]
    allow: Sequence[ApprovalDecision]
    text: str
    reason: str
    schema: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person decided, by the id of the call; nothing where the answer has a fault.

    `originals` is what texts in it stand for, which `alpha_umi.nodes.redaction` has put into the answer.
    """

    decisions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    fault: str | None = None
    originals: Mapping[str, Any] = field(default_factory=dict)


def make_id(name: str, arguments: Mapping[str, Any] | str, call_id: str = "") -> str:
    """Return a digest of a call, or of all calls with that name and these arguments if no call id is given."""
    text = json.dumps([call_id, name, arguments], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def ask(calls: Sequence[AskedCall], *, fault: str | None = None) -> Answer:
    """Interrupt the run, or return the answer when it is resumed; call it once in a node that is alone in its step.

    Raises:
        ConfigError: If the run has no checkpointer, so that nobody could answer.
    """
    _check_resumable()
    request, must_name = _make_request(calls, fault), not is_top_level()
    answers = [interrupt(request, response_schema=make_response_schema(calls)), *_read_others(request)]
    if must_name:
        answers = [answer for answer in answers if not _is_about_others(answer, calls)] or answers[:1]
    if any(answer != answers[0] for answer in answers):
        return Answer(fault=f"This question has two answers that differ; give one more, by the ids. {_HOW}")
    read = read_answer(answers[0], calls, must_name=must_name)
    return replace(read, originals=answers[0].get("originals", {}) if isinstance(answers[0], Mapping) else {})


def ask_in_place(call: AskedCall, *, is_alone: bool) -> Mapping[str, Any]:
    """Interrupt the run until there is a decision, in a node that cannot make a step of each answer.

    `is_alone` tells that no other task of this step can ask something.

    Raises:
        ConfigError: If the run has no checkpointer, so that nobody could answer.
    """
    _check_resumable()
    fault = None
    while True:
        answer = interrupt(_make_request([call], fault), response_schema=make_response_schema([call]))
        read = read_answer(answer, [call], must_name=not (is_alone and is_top_level()))
        if not read.fault:
            return read.decisions[call.id]
        fault = read.fault


def name_decisions(answer: Any, asked: Sequence[Interrupt]) -> Any:
    """Write into an answer which calls it is about, where it does not say so: those that are asked about as it comes.

    Args:
        answer: What the run is resumed with, for the one question or by the ids of several.
        asked: The questions that the thread waits with.
    """
    requests = {question.id: question.value for question in asked}
    if isinstance(answer, Mapping) and answer and set(answer) <= set(requests):
        return {key: _name_by_order(part, requests[key]) for key, part in answer.items()}
    return _name_by_order(answer, *requests.values()) if len(requests) == 1 else answer


def _name_by_order(answer: Any, request: Any) -> Any:
    decisions = _list_decisions(answer)
    calls = request.get("action_requests") if isinstance(request, Mapping) else None
    if not decisions or not isinstance(calls, list) or any(each.get("id") for each in decisions):
        return answer
    if len(calls) != len(decisions):
        return answer
    return {"decisions": [{**each, "id": call.get("id")} for each, call in zip(decisions, calls, strict=True)]}


def _list_decisions(answer: Any) -> list[Mapping[str, Any]] | None:
    """Return the decisions of an answer, which may also be a single one; None if there are none."""
    if not isinstance(answer, Mapping):
        return None
    decisions = answer.get("decisions", [answer] if "type" in answer else None)
    is_fit = isinstance(decisions, list) and all(isinstance(decision, Mapping) for decision in decisions)
    return decisions if is_fit else None


def read_answer(answer: Any, calls: Sequence[AskedCall], *, must_name: bool) -> Answer:
    """Read `{"decisions": […]}`; an answer with any fault decides nothing.

    With `must_name` each decision has to name its call; else they may come without ids, one for each call in the order
    of the request.
    """
    try:
        return Answer(_read_decisions(answer, calls, must_name))
    except _AnswerFault as fault:
        return Answer(fault=f"{fault} {_HOW}")


class _AnswerFault(Exception):
    """What is wrong with an answer; the person is asked again."""


def _read_decisions(answer: Any, calls: Sequence[AskedCall], must_name: bool) -> Mapping[str, Mapping[str, Any]]:
    """Return the decisions by the ids of their calls."""
    decisions = _list_decisions(answer)
    if decisions is None:
        raise _AnswerFault("The answer holds no list of decisions.")
    asked = {call.id: call for call in calls}
    decided: dict[str, Mapping[str, Any]] = {}
    for name, decision in zip(_name_decisions(decisions, calls, must_name), decisions, strict=True):
        if not isinstance(name, str) or name not in asked:
            raise _AnswerFault(f"The id {name!r} is of no call that is asked about now.")
        if name in decided:
            raise _AnswerFault("Two decisions name the same call.")
        _check_decision(decision, asked[name])
        decided[name] = decision
    return decided


def _name_decisions(decisions: Sequence[Mapping[str, Any]], calls: Sequence[AskedCall], must_name: bool) -> list[Any]:
    """Return which call each decision is about."""
    named = [decision.get("id") for decision in decisions]
    if any(named):
        return named
    if must_name:
        raise _AnswerFault("Here a decision has to name its call, or it may be an old one.")
    if len(decisions) != len(calls):
        raise _AnswerFault(f"Expected {len(calls)} decision(s) without an id, got {len(decisions)}.")
    return [call.id for call in calls]


def _check_decision(decision: Mapping[str, Any], call: AskedCall) -> None:
    kind, message = decision.get("type"), decision.get("message")
    if kind not in call.allow:
        raise _AnswerFault(f"{kind!r} is not one of {', '.join(call.allow)}, which can be decided on {call.name}.")
    if kind == "edit":
        action = decision.get("edited_action")
        if not isinstance(action, Mapping) or not isinstance(action.get("args"), dict):
            raise _AnswerFault("An edit needs 'edited_action' with 'args'.")
        if not isinstance(action.get("name", ""), str):
            raise _AnswerFault("The name of an edited action is a text.")
    if kind == "respond" and not (isinstance(message, str) and message.strip()):
        raise _AnswerFault("To respond needs a 'message', which becomes the observation.")
    if kind == "reject" and not isinstance(message, str | None):
        raise _AnswerFault("The 'message' of a rejection is a text.")


def asks_nobody() -> bool:
    """Tell whether a run is one that its agent's maker was told cannot ask: in code, without a checkpointer.

    A server gives every thread a checkpointer, but none to a run without a thread, as over MCP; nobody was told that.
    """
    given = get_config()[CONF]
    return given.get(CONFIG_KEY_CHECKPOINTER) is None and _ON_SERVER not in given


def _check_resumable() -> None:
    if get_config()[CONF].get(CONFIG_KEY_CHECKPOINTER) is None:
        raise ConfigError(
            "A call waits for a person's approval, but a run without a checkpointer cannot be resumed: give "
            "create_umi_agent(checkpointer=…) one, for example InMemorySaver(), and the run a thread_id; on a server, "
            "begin the run in a thread. Or let such calls run: declare their tools' effects, or change the rules."
        )


def _make_request(calls: Sequence[AskedCall], fault: str | None) -> dict[str, Any]:
    """Return the payload, whose first two keys are those of LangChain's middleware.

    Where it asks about one call, it is also what that middleware asks for each call (`interrupt_mode="per_call"`).
    """
    request: dict[str, Any] = {
        "action_requests": [
            {
                "name": call.name,
                "args": dict(call.arguments),
                "description": f"{call.text} Asked because {call.reason}.",
                "reason": call.reason,
                "id": call.id,
                "tool_call_id": call.call_id,
            }
            for call in calls
        ],
        "review_configs": [{"action_name": call.name, "allowed_decisions": list(call.allow)} for call in calls],
    }
    if len(calls) == 1:
        (action,) = request["action_requests"]
        alone = {key: action[key] for key in ("tool_call_id", "name", "args", "description")}
        request = {**request, "type": "tool_approval", **alone}
    return {**request, "error": fault} if fault else request


def make_response_schema(calls: Sequence[AskedCall]) -> dict[str, Any]:
    """Return the JSON schema of answers; LangGraph shows it to clients, and we read answers ourselves."""
    decisions = [_describe_decision(call, kind) for call in calls for kind in call.allow]
    answers = _describe_object(decisions={"type": "array", "items": {"anyOf": decisions}, "minItems": 1})
    return {"anyOf": [*decisions, answers]} if len(calls) == 1 else answers


def _describe_decision(call: AskedCall, kind: ApprovalDecision) -> dict[str, Any]:
    own: dict[str, Any] = {}
    if kind == "edit":
        known = {} if "'$ref'" in str(call.schema) else call.schema  # a reference would lead nowhere in here
        arguments = {"type": "object", **known, "default": dict(call.arguments)}
        own = {"edited_action": _describe_object(name={"const": call.name}, args=arguments)}
    elif kind == "respond":
        own = {"message": {"type": "string"}}
    described = _describe_object(type={"const": kind}, **own)
    described["properties"]["id"] = {"const": call.id}
    if kind == "reject":
        described["properties"]["message"] = {"type": "string"}
    return described


def _describe_object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _read_others(request: Mapping[str, Any]) -> list[Any]:
    """Return what else LangGraph has in store for this task: a fork keeps the answer that was given there before."""
    others: list[Any] = []
    while True:
        try:
            others.append(interrupt(request))
        except GraphInterrupt:
            return others


def _is_about_others(answer: Any, calls: Sequence[AskedCall]) -> bool:
    """Tell whether an answer decides on calls, but on none of these."""
    named = [decision.get("id") for decision in _list_decisions(answer) or ()]
    return len(named) > 0 and all(named) and not {call.id for call in calls}.intersection(map(str, named))


def is_top_level() -> bool:
    """Tell whether this is no graph inside another, whose answers would stay in store from one step to the next."""
    info = get_runtime().execution_info
    return info is not None and "|" not in info.checkpoint_ns
