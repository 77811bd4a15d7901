"""What a caller that may only copy (`copy_values`) would do: right values it forbids, wrong ones it prevents, its cost.

Without a model: the right calls of held-out tasks, and of data sets where their files are given.

    python -m benchmarks.copy_values [--suite S] [--tasks N] [--seed S] [--source NAME:LOCATION]... [--limit N]

With the calls that a model made in a run of `alpha-umi eval tasks` (suite world or builtin) without the setting:

    python -m benchmarks.copy_values --results DIR
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeAlias

from llguidance import LLMatcher, LLTokenizer
from transformers import PreTrainedTokenizerFast

from alpha_umi.nodes.format.render import list_said, render_calls, render_messages
from alpha_umi.nodes.format.trajectory import Call, Trajectory
from alpha_umi.nodes.models.engine.copying import MAX_CHARS
from alpha_umi.nodes.models.engine.grammar import GrammarCompiler, caller_grammar
from alpha_umi.nodes.models.engine.weights import resolve
from alpha_umi.training.data.dataset import Tally
from alpha_umi.training.data.files import read_records
from alpha_umi.training.data.sources import load_reader
from alpha_umi.training.evaluation.metrics import estimate_share
from alpha_umi.training.evaluation.metrics.causes import explain_value, find_nearest, flatten
from alpha_umi.training.evaluation.render import percent, render_columns
from alpha_umi.training.evaluation.result_folder import OUTCOMES, SETTINGS, read_json
from alpha_umi.training.evaluation.suites import load_suite, read_tokens

BASE = "smollm2-135m"
N_EXAMPLES = 3
N_TIMED = 7
Verdict: TypeAlias = Literal["free", "allowed", "forbidden", "against the schema"]
_DATE = re.compile(r"\d{4}-\d\d|\d\d[:/]\d\d")


@dataclass(frozen=True)
class Value:
    """One argument of a call, and what had been said before."""

    tool: str
    name: str
    value: Any
    schema: Mapping[str, Any]
    said: tuple[str, ...]

    @property
    def kind(self) -> str:
        """Its type in the schema."""
        return str(self.schema["properties"][self.name].get("type", "other"))

    def judge(self) -> Verdict:
        """Tell what the grammar says of it."""
        if not self._fits(None):
            return "against the schema"
        if "COPIED_" not in self._write(self.said):
            return "free"
        return "allowed" if self._fits(self.said) else "forbidden"

    def explain(self) -> str:
        """Tell why it is no span and no number of what was said."""
        text, leaves = "\n".join(self.said), list(flatten(self.value).values())
        words = {token for leaf in leaves for token in read_tokens(leaf if isinstance(leaf, str) else json.dumps(leaf))}
        if not any(isinstance(leaf, str) for leaf in leaves):
            return "number that was not said"
        if any(_DATE.search(str(leaf)) for leaf in leaves):
            return "date or time"
        if all(str(leaf).casefold() in text.casefold() for leaf in leaves):
            return "other case, or a part of a word"
        known = words & set(read_tokens(text))
        return "words in another order or form" if words == known else "some words said" if known else "not said"

    def _write(self, said: Sequence[str] | None) -> str:
        alone = {**self.schema, "properties": {self.name: self.schema["properties"][self.name]}, "required": []}
        grammar = caller_grammar({self.tool: alone}, said=said)
        assert grammar is not None
        return grammar.lark

    def _fits(self, said: Sequence[str] | None) -> bool:
        matcher = LLMatcher(_BYTES, self._write(said), log_level=0)
        ids = list(render_calls([Call("", self.tool, {self.name: self.value})]).encode())
        return not matcher.is_error() and matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()


_BYTES = LLTokenizer("byte")


def list_values(trajectory: Trajectory) -> Iterator[tuple[Call, Value]]:
    """Yield the arguments of all calls of offered tools."""
    schemas = {tool.name: tool.parameters for tool in trajectory.tools}
    for number, turn in enumerate(trajectory.turns):
        for i, step in enumerate(turn.steps):
            turns = (*trajectory.turns[:number], replace(turn, steps=turn.steps[:i]))
            said = tuple(list_said(render_messages(replace(trajectory, turns=turns))))
            for call in step.calls:
                known = schemas.get(call.name, {}).get("properties", {})
                if isinstance(call.arguments, dict):
                    for name, value in call.arguments.items():
                        if name in known:
                            yield call, Value(call.name, name, value, schemas[call.name], said)


class Table:
    """Verdicts by group, and examples of what is forbidden."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._counts: defaultdict[str, Counter[Verdict]] = defaultdict(Counter)
        self._examples: defaultdict[str, list[str]] = defaultdict(list)

    def add(self, groups: Iterable[str], value: Value) -> None:
        """Count one value in several groups."""
        verdict = value.judge()
        for group in groups:
            self._counts[group][verdict] += 1
        if verdict == "forbidden":
            self._examples[value.explain()].append(f"{value.tool}({value.name}={json.dumps(value.value)})")

    def print(self, title: str, *, with_reasons: bool = True) -> None:
        """Print shares of the forbidden with intervals, by group, then why."""
        rows = [[title, "values", "held", "forbidden", "%", "95% interval"]]
        for group, counts in self._counts.items():
            n = counts.total() - counts["against the schema"]
            measured = estimate_share(counts["forbidden"], n)
            shares = f"[{percent(measured.low)}, {percent(measured.high)}]" if n else "–"
            n_held = counts["allowed"] + counts["forbidden"]
            rows.append([group, f"{n}", f"{n_held}", f"{counts['forbidden']}", percent(measured.value), shares])
        print(render_columns(rows, (46, 7, 7, 10, 6, 15)))
        for reason, found in sorted(self._examples.items(), key=lambda each: -len(each[1])) if with_reasons else ():
            print(
                f"{len(found):>6}  {reason}: {'; '.join(random.Random(0).sample(found, min(N_EXAMPLES, len(found))))}"
            )
        print()


def measure_right(name: str, trajectories: Iterable[Trajectory]) -> None:
    """Print which values of right calls would be forbidden."""
    table = Table()
    for trajectory in trajectories:
        for _, value in list_values(trajectory):
            table.add(("all", value.kind), value)
    table.print(f"right calls of {name}")


def measure_results(folder: Path) -> None:
    """Print which values that a model wrote would be forbidden, the right ones and the wrong ones by their cause."""
    settings, rows = read_json(folder / SETTINGS), [row for _, row in read_records(folder / OUTCOMES)]
    n_tasks = 1 + max(int(row["key"].rpartition("-")[2]) for row in rows)
    right, wrong, needless = Table(), Table(), Table()
    with tempfile.TemporaryDirectory() as place:
        suite = load_suite(settings["suite"], n_tasks=n_tasks, seed=settings["seed"], folder=Path(place))
        wanted = {task.key: task.right for task in suite}
    for row in rows:
        solution = wanted[row["key"]]
        assert solution is not None
        calls = [call for turn in solution.turns for step in turn.steps for call in step.calls]
        for call, value in list_values(Trajectory.from_row(row["trajectory"])):
            nearest = find_nearest(call, [each for each in calls if isinstance(each.arguments, dict)])
            if nearest is None:
                needless.add(("calls that nobody asked for",), value)
            elif value.name not in nearest.arguments:
                wrong.add(("all", "argument that nobody asked for"), value)
            elif value.value == (meant := dict(nearest.arguments)[value.name]):  # type: ignore[arg-type]
                right.add(("all", value.kind), value)
            else:
                cause = explain_value(value.value, meant, "\n".join(value.said[:1]), value.said[1:])
                wrong.add(("all", cause), value)
    right.print("right values: forbidden is bad")
    wrong.print("wrong values: forbidden is good", with_reasons=False)
    needless.print("values of other calls", with_reasons=False)


def measure_cost(trajectories: Sequence[Trajectory]) -> None:
    """Print what a call's grammar costs in milliseconds of CPU time, with and without."""
    folder = resolve(BASE)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    compiler = GrammarCompiler(tokenizer, len(tokenizer), [tokenizer.eos_token_id])
    tools = {tool.name: tool.parameters for each in trajectories for tool in each.tools}
    text = "\n".join(turn.instruction for each in trajectories for turn in each.turns)
    rows = [["milliseconds of CPU, medians", "tools", "characters", "off, first", "off", "on"]]
    for n_tools in (1, 10, 40):
        offered = dict(islice(tools.items(), n_tools))
        for n_chars in (300, 2_000, MAX_CHARS - 1):
            texts = [text[n_chars * i :][:n_chars] for i in range(N_TIMED)]
            off = [_time(compiler, offered, None) for _ in texts]
            on = [_time(compiler, offered, [each]) for each in texts]
            times = [off[0], statistics.median(off[1:]), statistics.median(on)]
            rows.append(["", f"{len(offered)}", f"{n_chars:,}", *(f"{1000 * each:.1f}" for each in times)])
    print(render_columns(rows, (30, 6, 11, 11, 6, 6)))


def _time(compiler: GrammarCompiler, schemas: Mapping[str, Mapping[str, Any]], said: Sequence[str] | None) -> float:
    """Return the seconds that one call's grammar takes this process."""
    started = time.process_time()
    grammar = caller_grammar(schemas, may_omit=True, said=said)
    assert grammar is not None
    compiler.make_mask(grammar, 256)
    return time.process_time() - started


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", default="world", help="world or builtin.")
    parser.add_argument("--tasks", type=int, default=500, help="Of the suite.")
    parser.add_argument("--seed", type=int, default=2, help="Of the suite.")
    parser.add_argument("--source", action="append", default=[], help="A source of 'data build', NAME:LOCATION.")
    parser.add_argument("--limit", type=int, help="Trajectories of each source.")
    parser.add_argument("--results", type=Path, help="A folder of 'alpha-umi eval tasks'.")
    options = parser.parse_args()
    if options.results:
        measure_results(options.results)
        return
    with tempfile.TemporaryDirectory() as place:
        suite = load_suite(options.suite, n_tasks=options.tasks, seed=options.seed, folder=Path(place))
    solutions = [task.right for task in suite if task.right]
    measure_right(options.suite, solutions)
    for source in options.source:
        name, _, location = source.partition(":")
        examples = islice(load_reader(name)(location, Tally(), seed=0), options.limit)
        measure_right(name, (each.trajectory for each in examples))
    measure_cost(solutions)


if __name__ == "__main__":
    main()
