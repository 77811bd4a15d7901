"""FireAct's search text: `{"instruction", "output"}` in JSON Lines, output = Thought/Action/Observation lines.

Source: anchen1011/FireAct, data/finetune.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.clean import describe_calls, shorten_rationale
from alpha_umi.training.data.dataset import Example, Tally
from alpha_umi.training.data.files import get_texts, read_records
from alpha_umi.training.data.tool_specs import make_schema

SEARCH = ToolSpec(
    "search",
    "Search the web and get a short passage about the query.",
    make_schema({"query": {"type": "string", "description": "What to look for."}}, ["query"]),
)
_PART = re.compile(r"^(Thought|Action|Observation)(?: \d+)?:[ \t]*", re.MULTILINE)
_ACTION = re.compile(r"(\w+)\[(.*)\]", re.DOTALL)


def read(location: str, tally: Tally, *, seed: int) -> Iterator[Example]:
    """Yield one example per record that ends in a right answer."""
    for number, (where, record) in enumerate(read_records(location, tally.skip)):
        with tally.reading(where):
            instruction, output = get_texts(record, "instruction", "output")
            turn = _read_turn(instruction, output, tally)
            if turn is not None:
                yield Example(f"fireact-{number}", "fireact", Trajectory((SEARCH,), (turn,)), where)


def _read_turn(instruction: str, output: str, tally: Tally) -> Turn | None:
    if "reward = False" in output:
        tally.drop("wrong answer")
        return None
    options, *parts = (part.strip() for part in _PART.split(output))
    if options:
        tally.repair("answer options moved into the instruction")
    steps = tuple(_read_steps(parts, tally))
    if not steps or steps[-1].decision != "conclusion":
        tally.drop("no answer")
        return None
    return Turn("\n".join(filter(None, [instruction.strip(), options])), steps)


def _read_steps(parts: list[str], tally: Tally) -> Iterator[Step]:
    """Read labels and texts, which alternate."""
    thoughts: list[str] = []
    call: Call | None = None
    for i, (label, text) in enumerate(zip(parts[::2], parts[1::2], strict=True)):
        match = _ACTION.fullmatch(text)
        if label == "Thought":
            if thoughts:
                tally.repair("thought without an action merged into the next")
            thoughts.append(text)
        elif label == "Observation" and call is not None:
            rationale = " ".join([shorten_rationale(" ".join(thoughts)), describe_calls([call])])
            yield Step(rationale, "caller", (replace(call, observation=Observation(text)),))
            thoughts, call = [], None
        elif label == "Action" and match is None:
            tally.repair("action that is no call removed")
        elif match is not None and label == "Action" and match[1] == "finish":
            rationale = shorten_rationale(" ".join(thoughts))
            yield Step(rationale, "conclusion", answer=match[2].strip())
            return
        elif match is not None and label == "Action":
            call = Call(f"call_{i}", SEARCH.name, {"query": match[2].strip()})
