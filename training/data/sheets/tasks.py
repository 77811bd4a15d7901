"""Conversations made from sheets: what is asked, which tools are at hand, and the right way through.

Every observation comes from running the tool. A conversation has one list of tools and one to four requests.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from langchain_core.tools import BaseTool

from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn
from alpha_umi.tools.toolbox import Toolbox
from alpha_umi.training.data.clean import describe_calls, quote_part
from alpha_umi.training.data.sheets.form import ToolSheet
from alpha_umi.training.data.sheets.request import (
    ToolNeed,
    describe_missing,
    draw_chained,
    draw_coordinated,
    draw_follow_up,
    draw_incomplete,
    draw_need,
    draw_worded,
    list_told,
    list_wordings,
    make_answer,
    make_sheet_tool,
    tell_plainly,
)
from alpha_umi.training.data.sheets.wording import join_sentences, say, voice
from alpha_umi.training.data.split import hash_text

PlanKind: TypeAlias = Literal["single", "several", "same tool", "chain", "follow-up", "missing", "no tool", "failure"]
SHARES: Mapping[PlanKind, float] = {
    "single": 0.23,
    "several": 0.23,
    "same tool": 0.05,
    "chain": 0.11,
    "follow-up": 0.04,
    "missing": 0.09,
    "no tool": 0.20,
    "failure": 0.05,
}
"""How often which kind of request is made."""
_TRAINED = {**SHARES, "single": 0.19, "same tool": 0.09}
"""The same for training; the tasks that measure stay as they are."""
_SAME_WORDS = 0.5
"""Share of requests for one tool several times that say it in the same words: "7 nuts to Ann and 9 bolts to Bob"."""
_COORDINATED = 0.4
"""Share of requests for one tool twice that say two values in one sentence, such as "Cancel L-221 and L-222" does."""
_MAX_TRIES = 40
_N_TOOLS = (1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 8, 8, 10, 12, 16, 20, 28, 40)
_N_TOOLS_IN_GROUPS = (1, 2, 3, 4, 5, 6, 6, 8, 8, 10, 12, 16, 24)
_MAX_CHAIN = 3
_JOINS_CHAIN = 0.5
"""Share of groups whose tools are joined by a chain of tools."""
_TELLS_PLAINLY = 60
"""Percentage of objects that an answer tells field by field: that can be done for a tool that nobody has seen."""
_ENDS_WITH_CALL = 0.5
"""Share of conversations in groups that end with their last call: which tool is called how is what is hard."""


@dataclass(slots=True)
class RequestPlan:
    """One request, and what is right.

    Args:
        kind: Of which kind it is.
        text: The user's words.
        needs: What is to be called, in this order.
        quotes: The words of the request that each need is about.
        refusal: Why it cannot be done, if that is clear without a call.
        missing: What the tool needs and the request does not say.
        excluded: A tool that must not be at hand.
        failure: What the tool fails with.
    """

    kind: PlanKind
    text: str
    needs: tuple[ToolNeed, ...] = ()
    quotes: tuple[str, ...] = ()
    refusal: str = ""
    missing: str = ""
    excluded: ToolSheet | None = None
    failure: str = ""


@dataclass(frozen=True, slots=True)
class MadeConversation:
    """Requests for one list of tools, and the right way through them.

    Args:
        kinds: Kind of each request.
        trajectory: What planner, caller and summarizer should write.
        expected: Texts that the last answer must hold, or None if giving up is right.
        tools: The tools at hand, which run.
    """

    kinds: tuple[PlanKind, ...]
    trajectory: Trajectory
    expected: tuple[str, ...] | None
    tools: tuple[BaseTool, ...] = field(compare=False)


class World:
    """Sheets, and what is drawn from them.

    Args:
        sheets: All tools that may be asked for or stand by.
        held_out: Whether to use wordings that never occur in training.
    """

    def __init__(self, sheets: Sequence[ToolSheet], *, held_out: bool = False) -> None:
        """Sort the sheets by domain."""
        self.sheets = tuple(sheets)
        self._held_out = held_out
        self._domains: dict[str, list[ToolSheet]] = {}
        for sheet in sheets:
            self._domains.setdefault(sheet.domain, []).append(sheet)
        self._chained: dict[str, list[ToolSheet]] = {}
        for sheet in sheets:
            for name in dict.fromkeys(tool for tool, _ in sheet.links):
                self._chained.setdefault(name, []).append(sheet)

    def make(self, rng: random.Random, *, n_requests: int | None = None) -> MadeConversation:
        """Return a conversation; the same state of `rng` gives the same one."""
        wanted = n_requests or rng.choice((1, 2, 2, 3, 3, 4, 4))
        home = rng.choice(list(self._domains))
        asks: list[RequestPlan] = []
        for _ in range(_MAX_TRIES):
            ask = self._ask(rng, home if rng.random() < 0.7 else rng.choice(list(self._domains)))
            if _fit([*asks, ask]) and self._share_tools([*asks, ask]):
                asks.append(ask)
                if ask.kind == "follow-up":
                    asks.append(self._follow_up(ask, rng))
            if len(asks) >= wanted:
                break
        return _solve(asks, self._offer(asks, rng, rng.choice(_N_TOOLS)))

    def make_group(self, rng: random.Random, n_conversations: int) -> list[MadeConversation]:
        """Return conversations of one to three requests for one list of tools, which training reads once for all."""
        near = self._domains[rng.choice(list(self._domains))]
        n_near, n_far = rng.choice(((1, 0), (2, 1), (3, 0), (3, 3), (5, 2), (6, 0), (9, 3)))
        pool = rng.sample(near, min(len(near), n_near)) + rng.sample(self.sheets, min(len(self.sheets), n_far))
        if rng.random() < _JOINS_CHAIN:
            pool += self._draw_linked(near, rng)
        offered = World(list({sheet.tool.name: sheet for sheet in pool}.values()), held_out=self._held_out)
        beside = [sheet for sheet in near if sheet not in pool] or self.sheets
        conversations: list[list[RequestPlan]] = []
        before: list[RequestPlan] = []
        for _ in range(_MAX_TRIES):
            asks: list[RequestPlan] = []
            for _ in range(rng.choice((1, 1, 1, 2))):
                ask = offered._ask(rng, rng.choice(offered.sheets).domain)
                asks.append(self._no_tool(rng.choice(beside), rng) if ask.kind == "no tool" else ask)
            if asks[-1].kind == "follow-up":
                asks.append(self._follow_up(asks[-1], rng))
            if _fit(asks) and self._share_tools([*before, *asks]):
                conversations.append(asks)
                before += asks
            if len(conversations) == n_conversations:
                break
        tools = self._offer(before, rng, rng.choice(_N_TOOLS_IN_GROUPS))
        made = [_solve(asks, tools) for asks in conversations]
        return [_end_with_call(each) if rng.random() < _ENDS_WITH_CALL else each for each in made]

    def _draw_linked(self, near: Sequence[ToolSheet], rng: random.Random) -> list[ToolSheet]:
        """Return up to three tools, each taking what the one before returns; the first is near if one there can be."""
        begins = [each for each in self.sheets if each.tool.name in self._chained]
        linked = [rng.choice([each for each in begins if each in near] or begins)] if begins else []
        while linked and len(linked) < _MAX_CHAIN and (nexts := self._chained.get(linked[-1].tool.name)):
            linked.append(rng.choice(nexts))
        return linked

    def _share_tools(self, asks: Sequence[RequestPlan]) -> bool:
        """Tell whether one list of tools, which is not empty, can serve all."""
        needed = {need.sheet.tool.cannot for ask in asks for need in ask.needs}
        cannot = {ask.excluded.tool.cannot for ask in asks if ask.excluded}
        return needed.isdisjoint(cannot) and any(sheet.tool.cannot not in cannot for sheet in self.sheets)

    def _ask(self, rng: random.Random, domain: str) -> RequestPlan:
        shares = SHARES if self._held_out else _TRAINED
        kind = rng.choices(list(shares), list(shares.values()))[0]
        makers: dict[PlanKind, Callable[[ToolSheet, random.Random], RequestPlan | None]] = {
            "single": self._single,
            "several": self._several,
            "same tool": self._same_tool,
            "chain": self._chain,
            "follow-up": self._begin_follow_up,
            "missing": self._missing,
            "no tool": self._no_tool,
            "failure": self._failure,
        }
        near = self._domains[domain]
        for sheet in rng.sample(near, len(near)):
            if ask := makers[kind](sheet, rng):
                return ask
        return self._single(rng.choice(near), rng)

    def _need(self, sheet: ToolSheet, rng: random.Random) -> ToolNeed:
        return draw_need(sheet, rng, held_out=self._held_out, typo=rng.random() < 0.03)

    def _single(self, sheet: ToolSheet, rng: random.Random) -> RequestPlan:
        need = self._need(sheet, rng)
        return RequestPlan("single", self._voice(need.text, [need], rng), (need,), (need.text,))

    def _several(self, sheet: ToolSheet, rng: random.Random) -> RequestPlan | None:
        home = self._domains[sheet.domain] if rng.random() < 0.7 else self.sheets
        others = [each for each in home if each is not sheet]
        if not others:
            return None
        pool = rng.sample(others, min(len(others), 4))
        needs = [self._need(each, rng) for each in [sheet, *pool][: rng.choice((2, 2, 2, 3, 3, 4, 5))]]
        return self._join("several", needs, rng)

    def _same_tool(self, sheet: ToolSheet, rng: random.Random) -> RequestPlan | None:
        if not sheet.sources:
            return None
        is_coordinated = not self._held_out and rng.random() < _COORDINATED
        if is_coordinated and (drawn := draw_coordinated(sheet, rng)):
            both, text, quotes = drawn
            return RequestPlan("same tool", self._voice(text, both, rng), tuple(both), quotes)
        first = self._need(sheet, rng)
        needs = [first]
        n_more = rng.choice((1, 1, 2))
        if not self._held_out and rng.random() < _SAME_WORDS:
            wording = rng.choice(list_wordings(sheet, held_out=False))
            needs = [draw_worded(sheet, wording, rng) for _ in range(n_more + 1)]
        for _ in range(n_more + 1 - len(needs)):
            needs.append(draw_follow_up(first, rng) or self._need(sheet, rng))
        if len({str(need.arguments) for need in needs}) < len(needs):
            return None
        return self._join("same tool", needs, rng)

    def _join(self, kind: PlanKind, needs: Sequence[ToolNeed], rng: random.Random) -> RequestPlan:
        texts = tuple(need.text for need in needs)
        joined = join_sentences(texts, rng, held_out=self._held_out, in_order=kind == "chain", names=_list_said(needs))
        return RequestPlan(kind, self._voice(joined, needs, rng), tuple(needs), texts)

    def _voice(self, text: str, needs: Sequence[ToolNeed], rng: random.Random) -> str:
        return voice(text, rng, held_out=self._held_out, names=_list_said(needs))

    def _chain(self, sheet: ToolSheet, rng: random.Random) -> RequestPlan | None:
        """Two or three tools, each but the first taking what the one before returns."""
        needs = [self._need(sheet, rng)]
        for _ in range(rng.choice((1, 1, _MAX_CHAIN - 1))):
            nexts = [each for each in self._chained.get(needs[-1].sheet.tool.name, ()) if each is not needs[-1].sheet]
            need = draw_chained(needs[-1], rng.choice(nexts), rng) if nexts else None
            needs += [need] if need else []
        return self._join("chain", needs, rng) if len(needs) > 1 else None

    def _begin_follow_up(self, sheet: ToolSheet, rng: random.Random) -> RequestPlan | None:
        return replace(self._single(sheet, rng), kind="follow-up") if sheet.follow_ups else None

    def _follow_up(self, ask: RequestPlan, rng: random.Random) -> RequestPlan:
        need = draw_follow_up(ask.needs[0], rng) or self._need(ask.needs[0].sheet, rng)
        return RequestPlan("follow-up", need.text, (need,), (need.text,))

    def _missing(self, sheet: ToolSheet, rng: random.Random) -> RequestPlan | None:
        need = draw_incomplete(sheet, rng, held_out=self._held_out)
        if need is None:
            return None
        text = self._voice(need.text, [need], rng)
        return RequestPlan("missing", text, (need,), (need.text,), missing=describe_missing(need))

    def _no_tool(self, sheet: ToolSheet, rng: random.Random) -> RequestPlan:
        need = self._need(sheet, rng)
        refusal = f"no tool can {sheet.tool.cannot}."
        text = self._voice(need.text, [need], rng)
        return RequestPlan("no tool", text, quotes=(need.text,), refusal=refusal, excluded=sheet)

    def _failure(self, sheet: ToolSheet, rng: random.Random) -> RequestPlan | None:
        if not sheet.tool.fails:
            return None
        ask = self._single(sheet, rng)
        facts = {path: value.said for path, value in ask.needs[0].values.items()}
        text = rng.choice(sheet.tool.fails)
        for path in sheet.sources:
            text = text.replace(f"{{{path}}}", facts.get(path, ""))
        return replace(ask, kind="failure", failure=text)

    def _offer(self, asks: Sequence[RequestPlan], rng: random.Random, n_tools: int) -> list[ToolSheet]:
        """Return the sheets of the tools at hand, in any order."""
        needed = {need.sheet.tool.name: need.sheet for ask in asks for need in ask.needs}
        excluded = [ask.excluded for ask in asks if ask.excluded]
        cannot = {sheet.tool.cannot for sheet in excluded}
        forbidden = {sheet.tool.name for sheet in self.sheets if sheet.tool.cannot in cannot}
        wanted = max(len(needed), n_tools)
        homes = [each.domain for each in (*needed.values(), *excluded)]
        near = [each for home in dict.fromkeys(homes) for each in self._domains[home]]
        pool = [each for each in rng.sample(near, len(near)) if each.tool.name not in needed.keys() | forbidden]
        near_share = rng.choice((0.0, 0.5, 1.0, 1.0))
        chosen = pool[: round((wanted - len(needed)) * near_share)]
        taken = needed.keys() | forbidden | {each.tool.name for each in chosen}
        others = [
            each for each in rng.sample(self.sheets, min(len(self.sheets), 3 * wanted)) if each.tool.name not in taken
        ]
        chosen += others[: wanted - len(needed) - len(chosen)]
        if not (needed or chosen):  # the few that were drawn all do what must not be at hand
            chosen = [next(each for each in self.sheets if each.tool.name not in forbidden)]
        tools = [*needed.values(), *chosen]
        return rng.sample(tools, len(tools))


def _list_said(needs: Sequence[ToolNeed]) -> list[str]:
    return [value.said for need in needs for value in need.values.values() if value.said]


def _fit(asks: Sequence[RequestPlan]) -> bool:
    """Tell whether one conversation can hold all: a tool that fails is asked for once, as is one that is not there."""
    needed = Counter(need.sheet.tool.name for ask in asks for need in ask.needs)
    asked_once = [ask.needs[0].sheet.tool.name for ask in asks if ask.failure]
    excluded = [ask.excluded.tool.name for ask in asks if ask.excluded]
    return all(needed[name] == 1 for name in asked_once) and len(set(excluded)) == len(excluded)


def _end_with_call(made: MadeConversation) -> MadeConversation:
    """Leave out what follows the last call, if the conversation is answered."""
    *turns, last = made.trajectory.turns
    if last.steps[-1].answer is None or len(last.steps) == 1:
        return made
    step = last.steps[-2]
    step = replace(step, calls=tuple(replace(call, observation=None) for call in step.calls))
    ended = replace(last, steps=(*last.steps[:-2], step))
    return replace(made, trajectory=replace(made.trajectory, turns=(*turns, ended)))


def _solve(asks: Sequence[RequestPlan], sheets: Sequence[ToolSheet]) -> MadeConversation:
    broken = {ask.needs[0].sheet.tool.name: ask.failure for ask in asks if ask.failure}
    tools = [make_sheet_tool(sheet, failure=broken.get(sheet.tool.name, "")) for sheet in sheets]
    toolbox = Toolbox(tools)
    solver = _PlanSolver(toolbox)
    turns = tuple(Turn(ask.text, tuple(solver.solve(ask))) for ask in asks)
    kinds = tuple(ask.kind for ask in asks)
    return MadeConversation(kinds, Trajectory(toolbox.specs, turns), solver.expected, tuple(tools))


@dataclass
class _PlanSolver:
    toolbox: Toolbox
    expected: tuple[str, ...] | None = None
    n_calls: int = field(default=0)

    def solve(self, ask: RequestPlan) -> list[Step]:
        """Return the steps of a perfect agent."""
        self.expected = None
        steps: list[Step] = []
        answers, told = [], []
        if ask.refusal:
            return [Step(f"{quote_part(1, ask.quotes[0], ask.text)}: {ask.refusal}", "give up")]
        for number, (need, quote) in enumerate(zip(ask.needs, ask.quotes, strict=True), 1):
            passed_on = [f" with {say(value.argument)}" for value in need.values.values() if not value.said]
            step = self._call(need, "".join([quote_part(number, quote, ask.text), *passed_on]))
            steps.append(step)
            observation = step.calls[0].observation
            if ask.missing:
                return [*steps, self._refuse_incomplete(ask)]
            if observation is None or observation.is_error:
                reason = observation.text.splitlines()[0].split(". ")[0].rstrip(".") if observation else ""
                return [*steps, Step(f"I cannot answer: {reason}.", "give up")]
            values = list_told(need.sheet, need.arguments)
            plain = tell_plainly(observation.text)
            is_plain = plain is not None and all(value in plain for value in values)
            is_plain = is_plain and hash_text(observation.text, 2) % 100 < _TELLS_PLAINLY
            answers.append(str(plain) if is_plain else make_answer(need.sheet, need.arguments))
            told += values
        self.expected = tuple(told)
        return [*steps, Step("All parts are done.", "conclusion", answer=" ".join(answers))]

    def _refuse_incomplete(self, ask: RequestPlan) -> Step:
        reason = f"The request does not say {ask.missing}."
        if ask.needs[0].sheet.tool.missing != "ask":
            return Step(reason, "give up")
        self.expected = ()
        return Step(reason, "conclusion", answer=f"Please tell me {ask.missing}.")

    def _call(self, need: ToolNeed, part: str) -> Step:
        self.n_calls += 1
        call = Call(f"call_{self.n_calls}", need.sheet.tool.name, need.arguments)
        message = self.toolbox.execute(call.name, need.arguments, call.id)
        observation = Observation(message.text, message.status == "error")
        return Step(f"{part}: {describe_calls([call])}", "caller", (replace(call, observation=observation),))
