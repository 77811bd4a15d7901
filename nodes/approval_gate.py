"""The gate before any tool runs: asks a person where a rule says so.

A separate node, because LangGraph runs an interrupted node again from its beginning on resume. It works in moves,
each a checkpoint: first the rules are applied, once, and what they say is kept in the state; then each answer is a
move. So a rule cannot change its mind while a person thinks, and an answer belongs to one question. A call runs only if
the state holds a review of exactly this call that lets it run, whoever sent it to the tools (`find_decided`). Request
and answer have the shape of LangChain's human-in-the-loop middleware, with ids added; see
`alpha_umi.nodes.approval.questions`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, cast

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolCall, ToolMessage
from langgraph.config import get_config
from langgraph.types import Send

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.approval import (
    APPROVAL_DECISIONS,
    ApprovalRule,
    Approvals,
    AskedCall,
    AskWhen,
    Wish,
    ask,
    asks_nobody,
    find_idle,
    list_decisions,
    list_wishes,
    make_id,
)
from alpha_umi.nodes.redaction import find_live, read_originals
from alpha_umi.nodes.role import Update
from alpha_umi.nodes.role.tool_selection import list_callable_names
from alpha_umi.nodes.role.unsure import does, find_doubt
from alpha_umi.nodes.state import Gate, Outcome, Review, ToolTask, UmiState
from alpha_umi.tools.observation import render_observation
from alpha_umi.tools.pii import BlockedError, Mask, Redaction, hide, reveal
from alpha_umi.tools.refused import trace_refused
from alpha_umi.tools.spec import log_omissions
from alpha_umi.tools.toolbox import Toolbox

REJECTED = "The user rejected this"
"""How the observation of a call begins that a person did not let run."""
_AGAIN = f"{REJECTED} very call before, so it does not run. Plan differently."
_RAN = "This very call ran before in this turn and must not run twice, so it did not run again. What came out of it:"
_SAME_STEP = Outcome(text="see the same call of this step.", is_error=False)


def start_gate() -> Gate:
    """Return what a turn begins with: nothing reviewed, nothing rejected."""
    return Gate(reviews={}, rejected=[], fault=None)


def get_calling(state: UmiState) -> AIMessage:
    """Return the message whose calls are open."""
    return next(message for message in reversed(state["messages"]) if isinstance(message, AIMessage))


def list_open_calls(state: UmiState) -> list[ToolCall]:
    """Return the calls of the newest step that no tool message answers yet."""
    answered: set[str] = set()
    for message in reversed(state["messages"]):
        if isinstance(message, ToolMessage):
            answered.add(message.tool_call_id)
        elif isinstance(message, AIMessage):
            return [call for call in message.tool_calls if call["id"] not in answered]
        elif isinstance(message, HumanMessage):
            break
    return []


class ApprovalGate:
    """The node `approval`: reviews the open calls, or takes one answer of the person.

    Args:
        toolbox: Knows what the tools take, where they come from and what they do.
        approvals: Rules that hold for every run; a call is asked about if they, the run's settings or the planner's
            doubts say so.
        redaction: What models must not read of a person's answer. Rules and people see what texts stand for.

    Raises:
        ConfigError: If these are no rules.
    """

    def __init__(self, toolbox: Toolbox, approvals: Approvals = None, redaction: Redaction | None = None) -> None:
        """Check the rules."""
        rules = () if approvals is None or isinstance(approvals, bool) else approvals
        if not isinstance(rules, Sequence) or not all(isinstance(rule, ApprovalRule | AskWhen) for rule in rules):
            raise ConfigError(
                f"approvals is True, False, None or a list of ApprovalRule(…) and ask_when(…), not {approvals!r}."
            )
        log_omissions("Approvals", find_idle(approvals, toolbox.specs))
        self._toolbox = toolbox
        self._approvals = approvals
        self._redaction = redaction

    def __call__(self, state: UmiState) -> Update:
        """Make one move."""
        calls = list_open_calls(state)
        reviews = [_find_review(state, call) for call in calls]
        if None in reviews:
            return self._review(state, calls)
        asked = {review["id"]: call for call, review in zip(calls, reviews, strict=True) if review and review["allow"]}
        return self._take_answer(state, asked) if asked else {}

    def _review(self, state: UmiState, calls: Sequence[ToolCall]) -> Update:
        """Apply the rules to every open call; one that was rejected before, ran before or cannot run is answered."""
        gate = _get_gate(state)
        reviews: dict[str, Review] = {}
        messages: list[ToolMessage] = []
        ran = dict(state.get("ran") or {})
        for call in calls:
            wishes = self._list_wishes(state, call)
            allow = list_decisions(wishes)
            digest = make_id(call["name"], call["args"])
            fault = _AGAIN if digest in gate["rejected"] else ""
            if fault := fault or (self._find_fault(state, call) if allow else ""):
                messages.append(self._make_observation(call, fault, is_error=True))
                trace_refused(call["name"], call["args"], call["id"] or "", fault, get_config())
            elif self._toolbox.runs_once(call["name"]) and (outcome := ran.get(digest)):
                messages.append(self._make_observation(call, f"{_RAN} {outcome['text']}", is_error=outcome["is_error"]))
            else:
                if not allow:  # a person may want two at once
                    ran[digest] = _SAME_STEP
                reason = ", and ".join(dict.fromkeys(wish.reason for wish in wishes))
                reviews[call["id"] or ""] = Review(
                    id=_make_call_id(call), allow=allow, is_asked=bool(allow), reason=reason
                )
        return _make_update(Gate(reviews=reviews, rejected=gate["rejected"], fault=None), messages)

    def _take_answer(self, state: UmiState, asked: Mapping[str, ToolCall]) -> Update:
        """Ask about the calls that are not decided yet, and do all that the answer decides, or nothing."""
        gate = _get_gate(state)
        schemas = {spec.name: spec.parameters for spec in self._toolbox.specs}
        n_asked = 1 if state["settings"].get("interrupt_mode") == "per_call" else len(asked)
        asked_calls = [
            AskedCall(
                id=key,
                call_id=call["id"] or "",
                name=call["name"],
                arguments=call["args"],
                allow=gate["reviews"][call["id"] or ""]["allow"],
                text=f"Run tool {call['name']!r}?",
                reason=gate["reviews"][call["id"] or ""].get("reason") or "a rule says so",
                schema=schemas.get(call["name"], {}),
            )
            for key, call in islice(asked.items(), n_asked)
        ]
        answer = ask(asked_calls, fault=gate["fault"])
        decided: list[_DecidedCall] = []
        fault = answer.fault
        decisions, originals = answer.decisions, answer.originals
        if self._redaction and not fault:
            mask = Mask(self._redaction, {**read_originals(state), **originals})
            try:
                decisions = mask.conceal(decisions)
            except BlockedError as error:
                fault = f"The answer cannot be taken: {error}."
            originals = {**originals, **mask.new}
            state = cast("UmiState", {**state, "originals": {**read_originals(state), **originals}})
        for key, decision in decisions.items():
            outcome = self._read_decision(state, asked[key], decision)
            if isinstance(outcome, str):
                fault = fault or outcome
            else:
                decided.append(outcome)
        update: Update = {"gate": {**gate, "fault": fault}} if fault else _apply(state, decided)
        if originals:
            find_live(get_config()).update(originals)
            update["originals"] = originals
        return update

    def _read_decision(self, state: UmiState, call: ToolCall, decision: Mapping[str, Any]) -> _DecidedCall | str:
        """Return what comes of one decision, or what is wrong with it."""
        kind, message = decision["type"], decision.get("message")
        if kind == "reject":
            why = f": {str(message).rstrip('. ')}." if message else "."
            text = f"{REJECTED} call{why} Do not repeat it; plan differently."
            return _DecidedCall(call, self._make_observation(call, text, is_error=True), is_rejected=True)
        if kind == "respond":
            return _DecidedCall(call, self._make_observation(call, str(message), is_error=False))
        return self._edit(state, call, decision["edited_action"]) if kind == "edit" else _DecidedCall(call)

    def _edit(self, state: UmiState, call: ToolCall, action: Mapping[str, Any]) -> _DecidedCall | str:
        """Take the call as the person wrote it, if the rules let a person write it and it can run."""
        edited = ToolCall(name=action.get("name") or call["name"], args=action["args"], id=call["id"], type="tool_call")
        allow = list_decisions(self._list_wishes(state, edited))
        if _make_call_id(edited) == _make_call_id(call):
            can_stay = "approve" in _get_gate(state)["reviews"][call["id"] or ""]["allow"]
            fault = "The edit changes nothing, and the call cannot be approved as it is."
            return _DecidedCall(call) if can_stay else fault
        if fault := self._find_fault(state, edited):
            return f"The edited call cannot run. {fault}"
        if allow and "edit" not in allow:
            return f"The rules let nobody write such a call of {edited['name']}; they allow {', '.join(allow)}."
        return _DecidedCall(edited)

    def _list_wishes(self, state: UmiState, call: ToolCall) -> list[Wish]:
        spec = next((spec for spec in self._toolbox.specs if spec.name == call["name"]), None)
        known, call = reveal((_list_known(state), call), read_originals(state))
        policy = state["settings"]["approve_tools"]
        rules = policy if isinstance(policy, bool) else [ApprovalRule.model_validate(rule) for rule in policy]
        approvals = False if self._approvals is None and asks_nobody() else self._approvals
        wishes = list_wishes(call, spec, approvals, rules, messages=known)
        doubt = find_doubt(state, get_calling(state)) if does(state, "ask") else ""
        return [*wishes, Wish(APPROVAL_DECISIONS, doubt)] if doubt else wishes

    def _find_fault(self, state: UmiState, call: ToolCall) -> str:
        """Say why a call cannot run, so that nobody is asked about it; empty if it can."""
        originals = read_originals(state)
        try:
            fault = self._toolbox.find_fault(call["name"], reveal(call["args"], originals), list_callable_names(state))
            return hide(fault, originals)
        except RecursionError:
            return f"The arguments of {call['name']} are nested too deeply. Write simpler ones."

    def _make_observation(self, call: ToolCall, text: str, *, is_error: bool) -> ToolMessage:
        text = render_observation(text, self._toolbox.max_observation_chars)
        status: Literal["error", "success"] = "error" if is_error else "success"
        return ToolMessage(text, tool_call_id=call["id"], name=call["name"], status=status)


@dataclass(frozen=True, slots=True)
class _DecidedCall:
    """What a decision made of a call: the call as it may run, or the message that answers it instead of its tool."""

    call: ToolCall
    message: ToolMessage | None = None
    is_rejected: bool = False


def _list_known(state: UmiState) -> list[AnyMessage]:
    """Return what the models may know: the messages, and what tools returned to other branches of a search."""
    nodes = tree["nodes"] if (tree := state.get("tree")) else []
    calls = [call for node in nodes for call in (node["step"] or {}).get("calls", ()) if call["observation"]]
    return [*state["messages"], *(ToolMessage(call["observation"]["text"], tool_call_id=call["id"]) for call in calls)]


def _find_review(state: UmiState, call: ToolCall) -> Review | None:
    """Return the review of exactly this call, None if there is none or it is of a call with other arguments."""
    review = _get_gate(state)["reviews"].get(call["id"] or "")
    return review if review and review["id"] == _make_call_id(call) else None


def route_approval(state: UmiState) -> list[Send] | Literal["approval", "planner"]:
    """Send each call to the tools node on its own, so that a resume repeats only unfinished ones; all or none."""
    calls = list_open_calls(state)
    reviews = [_find_review(state, call) for call in calls]
    if not all(review and not review["allow"] for review in reviews):
        return "approval"
    tasks = [
        ToolTask(
            name=call["name"],
            arguments=call["args"],
            id=call["id"] or "",
            approve=bool(review and review["is_asked"]),
            is_alone=len(calls) == 1,
        )
        for call, review in zip(calls, reviews, strict=True)
    ]
    return [Send("tools", task) for task in tasks] or "planner"


def find_decided(state: UmiState, task: Mapping[str, Any]) -> ToolTask | None:
    """Return the call that the gate would send now for a task, None if it holds no decision on exactly this one."""
    sent = route_approval(state) if state.get("messages") else "planner"
    wanted = make_id(task.get("name", ""), task.get("arguments", {}), str(task.get("id")))
    decided: list[ToolTask] = [] if isinstance(sent, str) else [send.arg for send in sent]
    return next((one for one in decided if make_id(one["name"], one["arguments"], one["id"]) == wanted), None)


def _get_gate(state: UmiState) -> Gate:
    return state.get("gate") or start_gate()  # threads of before the gate had a state


def _make_call_id(call: ToolCall) -> str:
    return make_id(call["name"], call["args"], call["id"] or "")


def _apply(state: UmiState, decided_calls: Sequence[_DecidedCall]) -> Update:
    """Write edits into the caller's message, answer what does not run, and let the rest of the decided calls run."""
    gate = _get_gate(state)
    reviews, rejected = dict(gate["reviews"]), list(gate["rejected"])
    for outcome in decided_calls:
        call = outcome.call
        if outcome.is_rejected:
            rejected.append(make_id(call["name"], call["args"]))
        if outcome.message:
            del reviews[call["id"] or ""]
        else:
            reviews[call["id"] or ""] = Review(id=_make_call_id(call), allow=[], is_asked=True)
    decided = {outcome.call["id"]: outcome.call for outcome in decided_calls}
    message = get_calling(state)
    tool_calls = [decided.get(call["id"], call) for call in message.tool_calls]
    edited = [message.model_copy(update={"tool_calls": tool_calls})] if tool_calls != message.tool_calls else []
    answers = [outcome.message for outcome in decided_calls if outcome.message]
    return _make_update(Gate(reviews=reviews, rejected=rejected, fault=None), [*edited, *answers])


def _make_update(gate: Gate, messages: Sequence[AnyMessage]) -> Update:
    return {"gate": gate, "messages": messages} if messages else {"gate": gate}
