"""ToolRL's supervised steps: `{"instruction", "input", "output"}` in JSON Lines, tools and history written as text.

Each record is one dialogue up to one step: the history becomes turns and steps, the output the last step. The history's
thoughts are all the same two sentences, so they are replaced; the output's are long, so they are shortened.

Source: qiancheng0/ToolRL, dataset rlla_sft.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace

from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn
from alpha_umi.tools.spec import ToolSpec, clean_name
from alpha_umi.training.data.clean import describe_calls, shorten_rationale
from alpha_umi.training.data.dataset import Example, Tally
from alpha_umi.training.data.files import get_texts, read_records, to_text
from alpha_umi.training.data.tool_specs import fit_arguments, make_parameters, make_spec

_TOOL = re.compile(r"^\d+\. Name: (.*)\nDescription: (.*)\nParameters: (.*)$", re.MULTILINE)
_PART = re.compile(r"<(user|think|tool_call|obs|response)>(.*?)</\1>", re.DOTALL)
_STOCK_THOUGHT = re.compile(r"I should (?:use the appropriate tool|directly respond)\b")


def read(location: str, tally: Tally, *, seed: int) -> Iterator[Example]:
    """Yield one example per record."""
    for number, (where, record) in enumerate(read_records(location, tally.skip)):
        with tally.reading(where):
            instruction, history, output = get_texts(record, "instruction", "input", "output")
            tools = _parse_tools(instruction, tally)
            # The output's thought quotes tags, so it ends at its last closing tag.
            thought, _, rest = output.rpartition("</think>")
            parts = [*_PART.findall(history), ("think", thought.replace("<think>", "")), *_PART.findall(rest)]
            turns = _Dialogue(tools, tally).read(parts)
            yield Example(f"toolrl-{number}", "toolrl", Trajectory(tools, turns), where)


def _parse_tools(instruction: str, tally: Tally) -> tuple[ToolSpec, ...]:
    tools: dict[str, ToolSpec] = {}
    for name, description, parameters in _TOOL.findall(instruction):
        try:
            properties = json.loads(parameters)
        except json.JSONDecodeError:
            tally.repair("tool whose parameters do not parse removed")
            continue
        spec = make_spec(name, description, make_parameters(properties))
        tools.setdefault(spec.name, spec)
    return tuple(tools.values())


class _Dialogue:
    """Turns tagged parts into turns and steps."""

    def __init__(self, tools: tuple[ToolSpec, ...], tally: Tally) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._tally = tally
        self._turns: list[tuple[str, list[Step]]] = []
        self._n_calls = 0

    def read(self, parts: list[tuple[str, str]]) -> tuple[Turn, ...]:
        thought = ""
        for tag, text in ((tag, text.strip()) for tag, text in parts):
            if tag == "user":
                self._turns.append((text, []))
            elif not self._turns:
                continue
            elif tag == "think":
                thought = self._clean_thought(text)
            elif tag == "tool_call":
                self._turns[-1][1].append(self._read_calls(thought, text))
            elif tag == "obs":
                self._answer(text)
            elif text:
                self._turns[-1][1].append(Step(thought, "conclusion", answer=text))
        return tuple(Turn(instruction, tuple(steps)) for instruction, steps in self._turns)

    def _clean_thought(self, text: str) -> str:
        if _STOCK_THOUGHT.match(text):
            self._tally.repair("stock thought replaced")
            return ""
        return shorten_rationale(text, tally=self._tally)

    def _read_calls(self, thought: str, text: str) -> Step:
        calls = [self._read_call(line) for line in map(str.strip, text.splitlines()) if line]
        calls.sort(key=lambda call: isinstance(call.arguments, str))
        return Step(" ".join(filter(None, [thought, describe_calls(calls)])), "caller", tuple(calls))

    def _read_call(self, line: str) -> Call:
        self._n_calls += 1
        try:
            raw = json.loads(line)
            name, values = clean_name(raw["name"]), dict(raw["parameters"])
        except (ValueError, LookupError, TypeError):
            return Call(f"call_{self._n_calls}", "", line)
        return Call(f"call_{self._n_calls}", name, fit_arguments(values, self._tools.get(name)))

    def _answer(self, text: str) -> None:
        """Give every result to the call of its name; results come as one list."""
        steps = self._turns[-1][1]
        if not steps or not steps[-1].calls:
            return
        try:
            results = {clean_name(result["name"]): result["results"] for result in json.loads(text)}
        except (ValueError, KeyError, TypeError):
            results = {}
        calls = tuple(
            replace(call, observation=Observation(to_text(results.get(call.name, text)))) for call in steps[-1].calls
        )
        steps[-1] = replace(steps[-1], calls=calls)
