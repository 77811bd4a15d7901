"""ToolVerifier: requests, up to eight tools, a thought and the choice, as text in the column `text` of a CSV file.

Tools have names and descriptions only, so they take no arguments, and a trajectory ends with the call, which was never
run. Of a thought the sentences are kept that come before it turns to the other tools.

Source: facebookresearch/ToolVerifier.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from alpha_umi.nodes.format.trajectory import Call, Step, Trajectory, Turn
from alpha_umi.tools.spec import ToolSpec, clean_name
from alpha_umi.training.data.clean import describe_calls, shorten_rationale
from alpha_umi.training.data.dataset import Example, Tally
from alpha_umi.training.data.explain import explain_calls
from alpha_umi.training.data.files import read_table
from alpha_umi.training.data.tool_specs import make_schema, make_spec

_RECORD = re.compile(
    r"User:(?P<request>.*?)\n###\s*Tool Choices:(?P<tools>.*?)\n###\s*"
    r'Thought:(?P<thought>.*)\nAct: CALLTOOL\["(?P<name>.*?)"\]',
    re.DOTALL,
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_TURNS_AWAY = re.compile(r"\bother (?:available )?tools?\b|\bin contrast\b", re.IGNORECASE)


def read(location: str, tally: Tally, *, seed: int) -> Iterator[Example]:
    """Yield one example per choice."""
    for number, (where, row) in enumerate(read_table(location, tally.skip)):
        with tally.reading(where):
            match = _RECORD.search(row["text"])
            if match is None:
                tally.drop("text of another form")
                continue
            descriptions = dict(_read_tools(match["tools"]))
            if match["name"] not in descriptions:
                tally.drop("calls a tool that is not in the list")
                continue
            request, call = match["request"].strip(), Call("call_1", clean_name(match["name"]), {})
            thought = _shorten(match["thought"], match["name"], list(descriptions))
            if not thought:
                tally.repair("thought about other tools replaced")
            rationale = f"{thought} {describe_calls([call])}" if thought else explain_calls([call], request)
            tools = tuple(_make_tool(name, text) for name, text in descriptions.items())
            steps = (Step(rationale, "caller", (call,)),)
            yield Example(f"toolverifier-{number}", "toolverifier", Trajectory(tools, (Turn(request, steps),)), where)


def _read_tools(text: str) -> Iterator[tuple[str, str]]:
    for line in text.strip().splitlines():
        name, separator, description = line.partition(" = ")
        if separator:
            yield name.strip(), description.strip()


def _make_tool(name: str, description: str) -> ToolSpec:
    return make_spec(name, description, make_schema({}, ()))


def _shorten(thought: str, name: str, names: Sequence[str]) -> str:
    """Keep the sentences before the first that speaks of another tool, with the tool's name as it is offered."""
    others = [other for other in names if other != name and other not in name]
    kept: list[str] = []
    for sentence in _SENTENCE.split(" ".join(thought.split())):
        if _TURNS_AWAY.search(sentence) or any(other in sentence for other in others):
            break
        kept.append(sentence)
    return shorten_rationale(" ".join(kept).replace(name, clean_name(name)), clean_name(name))
