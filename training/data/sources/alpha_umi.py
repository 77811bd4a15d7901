"""The α-UMi paper's own conversations: `{tools, instruction, conversations: [{from, value}]}`, JSON or JSON Lines.

Source: X-PLUG/Multi-LLM-Agent:GLPFT/process_data/toolbench/prepro_raw_stage_2.py writes this format.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, cast

from alpha_umi.errors import TrajectoryError
from alpha_umi.nodes.format.parsing import parse_calls, parse_plan
from alpha_umi.nodes.format.trajectory import Call, Decision, Observation, Step, Trajectory, Turn
from alpha_umi.tools.spec import ToolSpec, clean_name
from alpha_umi.training.data.dataset import Example, Tally
from alpha_umi.training.data.files import Record, read_records
from alpha_umi.training.data.tool_specs import make_schema, make_spec, parse_arguments, parse_type

_OTHER_ACTION_PROMPT = "This is not the first time you try this task"


def read(location: str, tally: Tally, *, seed: int) -> Iterator[Example]:
    """Yield one example per conversation; every tool argument counts as optional, as the format does not say."""
    for number, (where, record) in enumerate(read_records(location, tally.skip)):
        with tally.reading(where):
            conversations = record.get("conversations")
            if not isinstance(conversations, list):
                raise TrajectoryError("no 'conversations' list; is this the α-UMi format?")
            tools = tuple(_make_tool(tool) for tool in record["tools"])
            turns = _ConversationReader(tally).read(str(record.get("instruction", "")).strip(), conversations)
            yield Example(f"alpha_umi-{number}", "alpha_umi", Trajectory(tools, turns), where)


def _make_tool(tool: Record) -> ToolSpec:
    properties = {name: _make_property(text) for name, text in (tool.get("input") or {}).items()}
    return make_spec(str(tool.get("Name", "")), tool.get("function"), make_schema(properties, ()))


def _make_property(text: Any) -> Record:
    """Read ``"string, the city"``."""
    kind, _, description = str(text).partition(",")
    description = description.strip()
    return parse_type(kind) | ({"description": description} if description else {})


@dataclass
class _ConversationReader:
    """Turns one conversation into turns and steps, counting what it has to repair."""

    _tally: Tally
    _n_calls: int = 0
    _turns: list[tuple[str, list[Step]]] = field(default_factory=list)

    def read(self, instruction: str, conversations: Sequence[Record]) -> tuple[Turn, ...]:
        for message, following in pairwise([*conversations, {}]):
            value = str(message.get("value") or "").strip()
            match message.get("from"):
                case "user" if value.startswith(_OTHER_ACTION_PROMPT):
                    self._tally.repair("prompt for a different action removed")
                case "user":
                    self._turns.append((value if self._turns else instruction or value, []))
                case "assistant":
                    self._read_plan(value, following.get("from"))
                case "caller":
                    self._read_calls(value)
                case "observation":
                    self._read_observation(value)
                case "conclusion":
                    self._read_conclusion(value)
                case other:
                    raise TrajectoryError(f"unknown speaker {other!r} in 'conversations'.")
        return tuple(Turn(text, tuple(steps)) for text, steps in self._turns)

    @property
    def _steps(self) -> list[Step]:
        if not self._turns:
            raise TrajectoryError("'conversations' must start with the user.")
        return self._turns[-1][1]

    def _read_plan(self, value: str, next_speaker: Any) -> None:
        plan = parse_plan(value)
        decision = plan.decision
        if decision is None and next_speaker in ("caller", "conclusion"):
            self._tally.repair("plan without a decision given the one that was followed")
            decision = cast(Decision, next_speaker)
        if decision is None:
            self._tally.repair("plan without a decision removed")
        else:
            self._steps.append(Step(plan.rationale, decision))

    def _read_calls(self, value: str) -> None:
        if not self._steps or self._steps[-1].decision != "caller" or self._steps[-1].calls:
            self._tally.repair("call without a plan given one")
            self._steps.append(Step("", "caller"))
        calls: list[Call] = []
        for parsed in parse_calls(value):
            self._n_calls += 1
            arguments = str(parsed.arguments) if parsed.fault else parsed.arguments
            calls.append(Call(f"call_{self._n_calls}", clean_name(parsed.name), arguments))
        calls.sort(key=lambda call: isinstance(call.arguments, str))
        self._steps[-1] = replace(self._steps[-1], calls=tuple(calls))

    def _read_observation(self, value: str) -> None:
        """Answer the first open call."""
        calls = list(self._steps[-1].calls) if self._steps else []
        for i, call in enumerate(calls):
            if call.observation is None:
                is_error = bool((parse_arguments(value) or {}).get("error"))
                calls[i] = replace(call, observation=Observation(value, is_error))
                self._steps[-1] = replace(self._steps[-1], calls=tuple(calls))
                return

    def _read_conclusion(self, value: str) -> None:
        if not self._steps or self._steps[-1].decision != "conclusion" or value in ("", "none"):
            self._tally.repair("conclusion without an answer or a plan removed")
        else:
            self._steps[-1] = replace(self._steps[-1], answer=value)
