"""GSM8K: `{"question", "answer"}` in JSON Lines; every `<<48/2=24>>` becomes a call of the built-in calculator.

The people's own words are the rationales, up to the result, which the planner must not know before the call. Where
they do not say the expression, it is added, since the caller finds it nowhere else. The calculator really runs; a
problem where it disagrees with the stated value is dropped. Other tools are offered as well.

Source: openai/grade-school-math.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from fractions import Fraction

from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn
from alpha_umi.tools.load import load_tools
from alpha_umi.tools.toolbox import Toolbox
from alpha_umi.training.data.clean import describe_calls
from alpha_umi.training.data.dataset import Example, Tally
from alpha_umi.training.data.files import get_texts, read_records
from alpha_umi.training.data.tasks.toolset import list_offered, make_invented_tool

_CALCULATION = re.compile(r"(?P<equals>\s{0,4}=?\s{0,4}\$?\s{0,4})<<(?P<expression>[^<>=]+)=(?P<value>[^<>=]+)>>")
_RESULT = re.compile(r"^\s?\$?(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)(?:/\d+)?")
_MAX_DISTRACTORS = 5
FINAL = re.compile(r"^####\s*(.+)$", re.MULTILINE)


def read(location: str, tally: Tally, *, seed: int) -> Iterator[Example]:
    """Yield one example per problem that is solved by calculating."""
    invented = [make_invented_tool(tool) for tool in list_offered(held_out=True) if tool.use == "both"]
    toolbox = Toolbox(load_tools(["builtin:*", *invented]))
    others = [spec for spec in toolbox.specs if spec.name != "calculator"]
    (calculator,) = (spec for spec in toolbox.specs if spec.name == "calculator")
    for number, (where, record) in enumerate(read_records(location, tally.skip)):
        with tally.reading(where):
            question, solution = get_texts(record, "question", "answer")
            steps = _read_steps(solution, toolbox, tally)
            if steps is not None:
                rng = random.Random(f"{seed} {question}".encode("utf-8", "replace"))
                tools = [calculator, *rng.sample(others, rng.randint(0, _MAX_DISTRACTORS))]
                trajectory = Trajectory(tuple(rng.sample(tools, len(tools))), (Turn(question.strip(), steps),))
                yield Example(f"gsm8k-{number}", "gsm8k", trajectory, where)


def _read_steps(text: str, toolbox: Toolbox, tally: Tally) -> tuple[Step, ...] | None:
    final = FINAL.search(text)
    if final is None:
        tally.drop("no final answer")
        return None
    steps: list[Step] = []
    thoughts: list[str] = []
    for line in filter(None, map(str.strip, text[: final.start()].splitlines())):
        matches = list(_CALCULATION.finditer(line))
        if not matches:
            thoughts.append(line)
            continue
        if thoughts:
            tally.repair("line without a calculation merged into the next")
        for match in matches:
            call = _calculate(match, len(steps) + 1, toolbox)
            if call is None:
                tally.drop("calculator disagrees with the stated value")
                return None
            said = _without_results(line) if match is matches[0] else ""
            thought = _say_expression(" ".join(filter(None, [*thoughts, said])), match["expression"].strip())
            rationale = f"{thought} {describe_calls([call])}"
            steps.append(Step(rationale, "caller", (call,)))
            thoughts = []
    if not steps:
        tally.drop("no calculation")
        return None
    if thoughts:
        tally.repair("line without a calculation merged into the next")
    answer = f"The answer is {final[1].strip()}."
    return (*steps, Step(" ".join([*thoughts, answer]), "conclusion", answer=answer))


def _calculate(match: re.Match[str], number: int, toolbox: Toolbox) -> Call | None:
    """Run the calculator; None if it does not return the stated value."""
    arguments = {"expression": match["expression"].strip()}
    message = toolbox.execute("calculator", arguments, f"call_{number}")
    try:
        agrees = Fraction(message.text) == Fraction(match["value"].strip().replace(",", ""))
    except (ValueError, ZeroDivisionError):
        return None
    return Call(f"call_{number}", "calculator", arguments, Observation(message.text)) if agrees else None


def _say_expression(thought: str, expression: str) -> str:
    """Add the expression to a thought that does not say it.

    Example:
        >>> _say_expression("They are worth 6 x 1.5.", "6*1.5")
        'They are worth 6 x 1.5. I work out 6*1.5.'
    """
    spaced = r"\s*".join(map(re.escape, "".join(expression.split())))
    is_said = re.search(rf"(?<![\w.,*/+-]){spaced}(?!\s*[%*/+-]|[.,]?\w)", thought)
    return thought if is_said else f"{thought} I work out {expression}.".lstrip()


def _without_results(line: str) -> str:
    """Take ``= $<<48/2=24>>24`` out of a line and make it a sentence.

    Example:
        >>> _without_results("Natalia sold 48/2 = <<48/2=24>>24 clips in May.")
        'Natalia sold 48/2 clips in May.'
    """
    for match in reversed(list(_CALCULATION.finditer(line))):
        line = line[: match.start()] + _RESULT.sub("", line[match.end() :])
    line = " ".join(line.split())
    return line if not line or line[-1] in ".!?" else f"{line}."
