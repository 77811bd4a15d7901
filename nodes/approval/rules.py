"""Which calls a person is asked about: rules over tool, source, effects and arguments.

Rules that can be written down (`ApprovalRule`) come with a run and are kept in its state; rules that are Python
functions (`ask_when`) belong to the agent. How a person is asked is in `alpha_umi.nodes.approval.questions`.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeAlias

from langchain_core.messages import BaseMessage, ToolCall
from pydantic import BaseModel, ConfigDict, Field, model_validator

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.approval.observed import find_observed
from alpha_umi.nodes.approval.questions import APPROVAL_DECISIONS, ApprovalDecision
from alpha_umi.tools.names import fold_name
from alpha_umi.tools.spec import Effects, ToolSpec

Patterns: TypeAlias = str | list[str]
Predicate: TypeAlias = Callable[[ToolCall], bool]

_logger = logging.getLogger("alpha_umi.nodes")


class ApprovalRule(BaseModel):
    """One rule: for which calls it holds, and whether a person is asked about them.

    Example:
        >>> ApprovalRule(tool="delete_*", allow=["approve", "reject"]).ask
        'always'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tool: Patterns = Field(default="*", description="Name of the tools, or a pattern such as delete_*; or a list.")
    source: Patterns = Field(
        default="*", description="builtin, openapi, mcp, toolbench, replay, langchain; mcp:SERVER; or a list."
    )
    effects: Effects | list[Effects] | None = Field(default=None, description="none, idempotent or once; or a list.")
    ask: Literal["always", "never", "when", "unless", "observed"] = Field(
        default="always",
        description="when, unless: the arguments match the JSON Schema in `arguments`. observed: the tool has effects, "
        "and an argument comes from what a tool returned and not from the user.",
    )
    arguments: dict[str, Any] | None = Field(default=None, description="JSON Schema, for when and unless.")
    allow: list[ApprovalDecision] = Field(
        default=list(APPROVAL_DECISIONS), min_length=1, description="What the person may decide."
    )

    @model_validator(mode="after")
    def _check_arguments(self) -> ApprovalRule:
        if (self.arguments is not None) != (self.ask in ("when", "unless")):
            raise ValueError("'arguments' is a JSON Schema for 'ask: when' or 'ask: unless', which need one")
        if self.arguments is not None:
            ToolSpec("arguments", "", self.arguments)
        return self


@dataclass(frozen=True, slots=True)
class AskWhen:
    """A rule that asks where a function says so; make one by `ask_when`."""

    predicate: Predicate
    rule: ApprovalRule


AnyRule: TypeAlias = ApprovalRule | AskWhen
Approvals: TypeAlias = bool | Sequence[AnyRule] | None
"""All calls, none, or rules; None: those of tools that do not declare that they change nothing, or nothing twice."""


@dataclass(frozen=True, slots=True)
class Wish:
    """That a person is asked about a call: what the person may decide, and why."""

    allow: Sequence[ApprovalDecision]
    reason: str


def ask_when(
    predicate: Predicate,
    *,
    tool: Patterns = "*",
    source: Patterns = "*",
    effects: Effects | list[Effects] | None = None,
    allow: Sequence[ApprovalDecision] = APPROVAL_DECISIONS,
) -> AskWhen:
    """Make a rule for `create_umi_agent(approvals=…)` that asks a person where a function says so.

    Args:
        predicate: Is given the call (``name``, ``args``, ``id``) and returns whether to ask. Where it raises, or
            returns anything but False, the person is asked.
        tool: As in `ApprovalRule`, and so are the others.
        source: Where the tool comes from.
        effects: What the tool declares.
        allow: What the person may decide.

    Raises:
        ConfigError: If the predicate is a coroutine function, or no decision is allowed.

    Example:
        >>> rule = ask_when(lambda call: call["args"]["sum"] > 100, tool="transfer")
    """
    if inspect.iscoroutinefunction(predicate):
        raise ConfigError("The predicate of a rule cannot be a coroutine function; give one that returns a bool.")
    return AskWhen(predicate, ApprovalRule(tool=tool, source=source, effects=effects, allow=list(allow)))


def list_wishes(
    call: ToolCall, spec: ToolSpec | None, *policies: Approvals, messages: Sequence[BaseMessage] = ()
) -> list[Wish]:
    """Return who wants a person to be asked about a call of a tool, None if unknown; empty if nobody has to be asked.

    Of the policies True asks about every call, False about none, None about those with effects; of a list every rule
    that asks counts, in any order, and a call for which none holds is asked about. `messages` are those before the
    call.
    """
    return [wish for policy in policies for wish in _judge(call, spec, policy, messages)]


def list_decisions(wishes: Sequence[Wish]) -> list[ApprovalDecision]:
    """Return what a person may decide; empty if nobody has to be asked.

    Each wish can only narrow the decisions; where none is left, the call can be rejected.
    """
    if not wishes:
        return []
    return [kind for kind in APPROVAL_DECISIONS if all(kind in wish.allow for wish in wishes)] or ["reject"]


def is_harmless(spec: ToolSpec | None) -> bool:
    """Tell whether a tool declares that it changes nothing, or that doing it twice is doing it once."""
    return spec is not None and spec.effects in ("none", "idempotent")


def find_idle(policy: Approvals, specs: Sequence[ToolSpec]) -> list[str]:
    """Return the rules that hold for none of the tools, as a person may read them."""
    rules = (
        []
        if policy is None or isinstance(policy, bool)
        else [rule.rule if isinstance(rule, AskWhen) else rule for rule in policy]
    )
    single = [rule.model_copy(update={"tool": name}) for rule in rules for name in _list(rule.tool)]
    idle = [rule for rule in single if not any(_holds(rule, spec.name, spec, is_strict=True) for spec in specs)]
    return [f"a rule of approval holds for no tool: {rule.model_dump_json(exclude_defaults=True)}" for rule in idle]


def _judge(call: ToolCall, spec: ToolSpec | None, policy: Approvals, messages: Sequence[BaseMessage]) -> Sequence[Wish]:
    if policy is None:
        reason = "it may change something: its effects are not declared as none or idempotent"
        return [] if is_harmless(spec) else [Wish(APPROVAL_DECISIONS, reason)]
    if isinstance(policy, bool):
        return [Wish(APPROVAL_DECISIONS, "all calls of this run are asked about")] if policy else []
    wanted: list[Wish] = []
    is_free = False
    for rule in policy:
        meant = rule.rule if isinstance(rule, AskWhen) else rule
        if _holds(meant, call["name"], spec, is_strict=True) and _asks(rule, call, spec, messages):
            wanted.append(Wish(meant.allow, _describe(rule)))
        else:
            is_free |= _holds(meant, call["name"], spec, is_strict=False)
    return wanted or ([] if is_free else [Wish(APPROVAL_DECISIONS, "no rule says that it may run")])


def _describe(rule: AnyRule) -> str:
    if isinstance(rule, AskWhen):
        return f"the function {getattr(rule.predicate, '__name__', 'of a rule')} says so"
    if rule.ask == "observed":
        return "its arguments come from what a tool returned and not from the user"
    return f"a rule says so: {rule.model_dump_json(exclude_defaults=True)}"


def _holds(rule: ApprovalRule, name: str, spec: ToolSpec | None, *, is_strict: bool) -> bool:
    """Say whether a rule is about a tool.

    A rule that asks is also about what a tool is called where it comes from, and what its name looks like. One that
    sets free is not, unless it names the source: others could give their tools such names.
    """
    effects = [rule.effects] if isinstance(rule.effects, str) else rule.effects
    source = spec.source if spec else ""
    names = {name}
    if spec and (is_strict or rule.source != "*"):
        names.add(spec.own_name or name)
    patterns = set(_list(rule.tool))
    is_named = any(_matches(each, [*patterns]) for each in names)
    if is_strict and not is_named:
        is_named = any(_matches(fold_name(each), [*map(fold_name, patterns)]) for each in names)
    return (
        is_named
        and any(_matches(each, rule.source) for each in (source, source.partition(":")[0]))
        and (effects is None or (spec is not None and spec.effects in effects))
    )


def _matches(text: str, patterns: Patterns) -> bool:
    return any(fnmatchcase(text, pattern) for pattern in _list(patterns))


def _list(patterns: Patterns) -> list[str]:
    return [patterns] if isinstance(patterns, str) else patterns


def _asks(rule: AnyRule, call: ToolCall, spec: ToolSpec | None, messages: Sequence[BaseMessage]) -> bool:
    """Tell whether a rule that holds asks; one that fails, or cannot be checked in full, asks as well."""
    try:
        if isinstance(rule, AskWhen):
            return rule.predicate(deepcopy(call)) is not False
        if rule.ask == "observed":
            has_effects = spec is None or spec.effects != "none" or rule.effects is not None
            return has_effects and bool(find_observed(call["args"], spec.parameters if spec else {}, messages))
        if rule.arguments is None:
            return rule.ask == "always"
        fits = ToolSpec("arguments", "", rule.arguments).make_validator(is_exact=True).is_valid(call["args"])
    except Exception:  # whatever a user's function raises
        _logger.warning("A rule of approval failed on a call of %r, so a person is asked.", call["name"], exc_info=True)
        return True
    return fits == (rule.ask == "when")
