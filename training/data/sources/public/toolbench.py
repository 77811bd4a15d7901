"""ToolBench answers: a folder or tar of `G1_answer/<id>_<method>.json` files.

Source: OpenBMB/ToolBench, the layout that its inference writes; the rules for what counts as a step are those of
X-PLUG/Multi-LLM-Agent:GLPFT/process_data/toolbench, without its losses (FACTS: give-ups, optional-only tools).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import PurePath

from alpha_umi.errors import TrajectoryError
from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.clean import shorten_rationale
from alpha_umi.training.data.dataset import Example, Tally
from alpha_umi.training.data.files import Record, read_members, to_text
from alpha_umi.training.data.tool_specs import make_schema, make_spec, parse_arguments

_BOILERPLATE = re.compile(
    r'This is the subfunction for tool "(?P<tool>[^"]*)", you can use this tool\.'
    r'(?:The description of this function is: "(?P<text>.*?)"?)?',
    re.DOTALL,
)
_LABEL = re.compile(r"\s*Thought:\s*")
_LEAKED_FORMAT = re.compile(r"(?:^|\n)\s*(?:Action(?: Input)?:|Function:|Thought:|Finish\b|```).*", re.DOTALL)
_LOST_BEGINNING = re.compile(r"^[^.\n]{1,160}?, ")
_CUT_STRING = re.compile(r'"final_answer"\s*:\s*"((?:[^"\\]|\\.)*)', re.DOTALL)
_CUT_RESPONSE = re.compile(r'"response"\s*:\s*"(.*)', re.DOTALL)
_MAX_EXAMPLE_CHARS = 40


def read(location: str, tally: Tally, *, seed: int) -> Iterator[Example]:
    """Yield one example per answer file: the last chain of `train_messages`."""
    for where, record in read_members(location, tally.skip):
        with tally.reading(where):
            answer = record.get("answer_generation")
            if not isinstance(answer, dict) or not isinstance(answer.get("train_messages"), list):
                raise TrajectoryError("no 'answer_generation.train_messages'; is this a ToolBench answer file?")
            tools = tuple(_make_tool(tool) for tool in answer["function"] if tool["name"] != "Finish")
            instruction = str(answer["query"]).strip()
            chain = answer["train_messages"][-1] if answer["train_messages"] else []
            steps = _ChainReader({tool.name for tool in tools}, tally).read(chain)
            member = PurePath(where.rpartition("!")[2])
            yield Example(
                id=f"toolbench-{member.parent.name}-{member.stem}",
                source="toolbench",
                trajectory=Trajectory(tools, (Turn(instruction, steps),)),
                where=where,
                task_id=member.stem.split("_")[0],
            )


def _make_tool(function: Record) -> ToolSpec:
    parameters = function.get("parameters", {})
    properties = {name: _make_property(value) for name, value in parameters.get("properties", {}).items()}
    schema = make_schema(properties, parameters.get("required", []))
    return make_spec(function["name"], _shorten_description(function.get("description", "")), schema)


def _make_property(value: Record) -> Record:
    """Keep type and description; a short example goes into the description, the only place a prompt shows."""
    schema = {key: value[key] for key in ("type", "enum", "description") if value.get(key)}
    example = value.get("example_value")
    if example not in (None, "") and len(str(example)) <= _MAX_EXAMPLE_CHARS:
        schema["description"] = f"{schema.get('description', '')} (example: {example})".strip()
    return schema


def _shorten_description(text: str) -> str:
    """Take the sentence that every ToolBench description starts with away; it says nothing that the name does not."""
    match = _BOILERPLATE.fullmatch(text.strip())
    return (match["text"] or match["tool"].replace("_", " ")) if match else text


class _ChainReader:
    """Turns one chain of messages into steps, counting what it has to repair."""

    def __init__(self, tool_names: Collection[str], tally: Tally) -> None:
        self._tool_names = tool_names
        self._tally = tally
        self._steps: list[Step] = []
        self._thoughts: list[str] = []

    def read(self, chain: list[Record]) -> tuple[Step, ...]:
        for message in chain:
            if message["role"] == "user" and message.get("valid") is False:
                self._tally.repair("prompt for a different action removed")
            elif message["role"] == "assistant":
                self._read_assistant(message)
            elif message["role"] == "function":
                self._read_function(message.get("content") or "")
            if self._steps and self._steps[-1].decision != "caller":
                break
        return tuple(self._steps)

    def _read_assistant(self, message: Record) -> None:
        thought = self._clean_thought(message.get("content") or "")
        call = message.get("function_call")
        if not call:
            self._tally.repair("thought without a call merged into the next")
            self._thoughts.append(thought)
            return
        thoughts = "\n".join(filter(None, [*self._thoughts, thought]))
        rationale = shorten_rationale(thoughts, call["name"], tally=self._tally)
        step = self._finish(rationale, call) if call["name"] == "Finish" else self._call(rationale, call)
        self._thoughts = [] if step else [thoughts]
        if step is not None:
            self._steps.append(step)

    def _clean_thought(self, text: str) -> str:
        """Cut off where ToolLLaMA continues with the action as text, or with the next turn."""
        text = text.strip()
        label = _LABEL.match(text)
        text = text[label.end() :] if label else text
        cut = _LEAKED_FORMAT.sub("", text).strip()
        cut = "" if cut in self._tool_names else cut
        if cut != text:
            self._tally.repair("action text cut from the thought")
        if cut[:1].islower():
            self._tally.repair("thought without its beginning made a sentence")
            cut = _LOST_BEGINNING.sub("", cut)
            cut = cut[:1].upper() + cut[1:]
        return cut

    def _call(self, rationale: str, call: Record) -> Step:
        arguments = parse_arguments(call["arguments"] or "{}")
        call_id = f"call_{len(self._steps) + 1}"
        raw = str(call["arguments"]) if arguments is None else arguments
        return Step(rationale, "caller", (Call(call_id, str(call["name"]), raw),))

    def _finish(self, rationale: str, call: Record) -> Step | None:
        text = call["arguments"] if isinstance(call["arguments"], str) else json.dumps(call["arguments"])
        arguments = parse_arguments(text or "{}")
        answer = str(arguments.get("final_answer") or "") if arguments is not None else self._salvage(text)
        if "give_up_and_restart" in (arguments or {}).get("return_type", text if not answer else ""):
            return Step(rationale, "give up")
        if "give up and restart" in answer.lower():
            self._tally.repair("answer that gives up made a give-up")
            return Step(rationale, "give up")
        if not answer.strip():
            self._tally.repair("Finish without an answer removed")
            return None
        return Step(rationale, "conclusion", answer=answer.strip())

    def _salvage(self, text: str) -> str:
        """Read the answer out of arguments that were cut off, up to its last complete line or sentence."""
        match = _CUT_STRING.search(text)
        if match is None:
            return ""
        self._tally.repair("answer cut off in the record shortened to its last full line")
        try:
            answer = str(json.loads(f'"{match[1]}"', strict=False))
        except json.JSONDecodeError:
            return ""
        end = max(answer.rfind("\n"), answer.rfind(". ") + 1)
        return answer if text.rstrip().endswith('"') else answer[:end]

    def _read_function(self, content: str) -> None:
        step = self._steps[-1] if self._steps else None
        if step is None or not step.calls or step.calls[-1].observation is not None:
            return
        answered = replace(step.calls[0], observation=_parse_observation(content))
        self._steps[-1] = replace(step, calls=(answered,))


def _parse_observation(content: str) -> Observation:
    """Unwrap `{"error", "response"}`; one that the recorder cut off is no JSON, and keeps its start."""
    parsed = parse_arguments(content or "{}")
    if parsed is None:
        match = _CUT_RESPONSE.search(content)
        return Observation(match[1].strip() if match else content.strip())
    error, response = ("" if parsed.get(key) is None else to_text(parsed[key]).strip() for key in ("error", "response"))
    return Observation(" ".join(filter(None, [error, response])), is_error=bool(error))
