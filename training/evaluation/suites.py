"""Suites of tasks for the agent: instructions, tools that run, and how an outcome is checked.

- ``builtin``, ``world`` and ``gsm8k:FILE`` have known answers, which the last answer must hold.
- ``toolbench:…`` asks ToolBench's queries; its tools are called through its server, and a judge says what was solved.
- ``complexfuncbench-replay`` has recorded tools, and an exact check of the calls that were made.
"""

from __future__ import annotations

import json
import os
import random
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any, TypeAlias

from langchain_core.tools import BaseTool

from alpha_umi.errors import ConfigError, TrajectoryError
from alpha_umi.nodes.format.trajectory import Call, Trajectory, Turn
from alpha_umi.tools.http.breaker import DEFAULT_REMOTE, RemoteSettings
from alpha_umi.tools.load import load_tools
from alpha_umi.tools.replay import ReplayTask, make_key
from alpha_umi.tools.replay.complexfuncbench import load_complexfuncbench
from alpha_umi.tools.spec.arguments import tells_refusal
from alpha_umi.tools.toolbench import find_server, make_query_tools
from alpha_umi.training.data.files import read_records
from alpha_umi.training.data.sheets.load import load_sheets, load_world
from alpha_umi.training.data.sheets.tasks import World
from alpha_umi.training.data.sources.builtin import make_tasks
from alpha_umi.training.data.sources.public.gsm8k import FINAL
from alpha_umi.training.data.tasks.solve import solve
from alpha_umi.training.evaluation.examples import Usage
from alpha_umi.training.evaluation.toolbench import read_queries

N_BUILTIN = 300
REPLAY = "complexfuncbench-replay"
VARIABLE = "COMPLEXFUNCBENCH"
"""File of ComplexFuncBench, for its suite of live tasks."""
_PLACE = "data/complexfuncbench_train.jsonl.gz"
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_TOKEN = re.compile(
    rf"""(?P<iso>(?<!\d)\d{{4}}[-/]\d{{1,2}}[-/]\d{{1,2}}(?!\d))
    | (?P<day_first>\b{_DAY}\s(?:of\s)?{_MONTH},?\s\d{{4}}\b)
    | (?P<month_first>\b{_MONTH}\s{_DAY},?\s\d{{4}}\b)
    | (?P<word>\d{{1,2}}(?::\d{{2}}){{1,2}}(?!\d) | \d+(?:\.\d+){{2,}} | [^\W\d_]\w*)
    | (?P<number>(?:(?<![\w.)])[-+])?(?:(?:\d{{1,3}}(?:,\d{{3}})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?:e[-+]?\d{{1,3}}(?!\w))?)
    """,
    re.VERBOSE,
)

Check: TypeAlias = Callable[[Trajectory], Mapping[str, float]]


def holds(answer: str, expected: str) -> bool:
    """Tell whether an answer holds an expected text: its tokens, one after the other, however they are written.

    Example:
        >>> holds("It comes to $1,234.50.", "1234.5"), holds("It comes to 12345.", "1234")
        (True, False)
    """
    wanted, found = read_tokens(expected), read_tokens(answer)
    if not wanted:
        return expected.strip() in answer
    return any(found[i : i + len(wanted)] == wanted for i in range(len(found) - len(wanted) + 1))


def ends_with_number(answer: str, expected: str) -> bool:
    """Tell whether the last number of an answer is the expected one, as is customary for GSM8K."""
    numbers = [token for token in read_tokens(answer) if re.fullmatch(r"-?\d+(\.\d+)?", token)]
    return numbers[-1:] == read_tokens(expected)


def read_tokens(text: str) -> list[str]:
    """Return the tokens of a text in their one normal form.

    - dates, ISO or with an English month's name, become ``YYYY-MM-DD``;
    - numbers lose thousands separators, a plus sign, exponents and zeros without meaning;
    - words are case-folded; a digit inside a word (``m2``), a clock time and a version number belong to one token;
    - all other characters separate tokens.

    Example:
        >>> read_tokens("On March 3, 2027 at 09:30: 1,200.0 m2")
        ['on', '2027-03-03', 'at', '09:30', '1200', 'm2']
    """
    text = unicodedata.normalize("NFKC", text).replace("\u2212", "-").casefold()
    return [_normalize(match) for match in _TOKEN.finditer(text)]


def _normalize(match: re.Match[str]) -> str:
    kind, text = match.lastgroup, match[0]
    if kind == "number":
        return _normalize_number(text)
    if kind == "word":
        return text
    numbers = re.findall(r"\d+", text)
    if kind == "iso":
        year, month, day = map(int, numbers)
    else:
        day, year = map(int, numbers)
        month = 1 + next(i for i, name in enumerate(_MONTHS) if name in text)
    return f"{year:04d}-{month:02d}-{day:02d}"


def _normalize_number(text: str) -> str:
    digits = format(Decimal(text.replace(",", "")), "f")
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    sign, digits = ("-", digits[1:]) if digits.startswith("-") else ("", digits)
    digits = digits.lstrip("0") or "0"
    digits = f"0{digits}" if digits.startswith(".") else digits
    return digits if digits == "0" else sign + digits


@dataclass(frozen=True, slots=True)
class EvalTask:
    """One task for the agent.

    Args:
        key: Unique in the suite.
        group: Tasks of one kind, or of one query file, are reported together.
        instructions: What the user says, one text per turn.
        make_tools: Returns the tools for one run of the task; recorded tools count which answers were given.
        expected: What the last answer must hold, or None if giving up is right. Empty if any answer will do.
        matches: Tells whether an answer is an expected one.
        check: Scores a finished run by metric, where the calls that were made can be checked.
        right: The right way through the task, where the suite knows it.
    """

    key: str
    group: str
    instructions: tuple[str, ...]
    make_tools: Callable[[], Sequence[BaseTool]]
    expected: tuple[str, ...] | None = ()
    matches: Callable[[str, str], bool] = holds
    check: Check | None = None
    right: Trajectory | None = None

    @property
    def id_in_group(self) -> str:
        """The key without the group that it may begin with."""
        return self.key.removeprefix(f"{self.group}/")

    def is_answered_by(self, answer: str | None) -> bool:
        """Tell whether an answer is right; a task without one is never answered."""
        if self.expected is None or answer is None or not answer.strip():
            return False
        return all(self.matches(answer, text) for text in self.expected)


@dataclass(frozen=True, slots=True)
class EvalOutcome:
    """What the agent did with one task: all turns, the tokens of its calls, and in the graph's words why it stopped.

    The tree is the whole search as an answer file of ToolBench, if the strategy is one; the certainty that of the least
    certain plan, None where no model told it.
    """

    trajectory: Trajectory
    usage: Usage
    finish: str | None = None
    reason: str | None = None
    tree: Mapping[str, Any] | None = None
    certainty: float | None = None


def load_suite(name: str, *, n_tasks: int | None, seed: int, folder: Path, held_out: bool = True) -> list[EvalTask]:
    """Return the first tasks of a suite with known answers, ``builtin``, ``world`` or ``gsm8k:FILE``.

    By default they are `N_BUILTIN` of ``builtin`` and all of a file; for seed and folder see `make_builtin_suite`.
    Those of ``builtin`` and ``world`` that are not `held_out` may be trained on.
    """
    kind, _, location = name.partition(":")
    if kind == "builtin" and not location:
        return list(make_builtin_suite(n_tasks or N_BUILTIN, folder, seed=seed, held_out=held_out))
    if kind == "gsm8k" and location:
        return list(islice(load_gsm8k_suite(Path(location)), n_tasks))
    if kind == "world":
        return list(
            make_world_suite(n_tasks or N_BUILTIN, Path(location) if location else None, seed=seed, held_out=held_out)
        )
    raise ConfigError(f"Unknown suite {name!r}; give builtin, world, world:SHEETS, or gsm8k:FILE in JSON Lines.")


def make_world_suite(n_tasks: int, sheets: Path | None, *, seed: int, held_out: bool = True) -> Iterator[EvalTask]:
    """Yield tasks for invented tools: of domains that training never has, or of a folder of sheets.

    Their checks say whether the calls that ran were the right ones with the right arguments (``calls_exact``), and
    whether one with effects ran that was not asked for (``wrong_effect``).
    """
    drawn = load_sheets(sheets) if sheets else [sheet for sheet in load_world() if sheet.held_out == held_out]
    world = World(drawn, held_out=held_out)
    effects = {sheet.tool.name for sheet in drawn if sheet.tool.effects != "none"}
    for number in range(n_tasks):
        made = world.make(random.Random(f"{seed} {'suite' if held_out else 'sampled'} {number}"), n_requests=1)
        right = made.trajectory
        instructions = tuple(turn.instruction for turn in right.turns)
        check, tools = partial(check_ran_calls, right, effects), partial(tuple, made.tools)
        key, kind = f"world-{seed}-{number}", made.kinds[-1]
        yield EvalTask(key, kind, instructions, tools, made.expected, check=check, right=right)


def check_ran_calls(right: Trajectory, effects: Collection[str], trajectory: Trajectory) -> dict[str, float]:
    """Score the calls that ran: whether they are the right ones, and whether one with effects is not."""
    wanted, made = (_count_calls(each) for each in (right, trajectory))
    wrong = made - wanted
    return {"calls_exact": float(made == wanted), "wrong_effect": float(any(name in effects for name, _ in wrong))}


def _count_calls(trajectory: Trajectory) -> Counter[tuple[str, str]]:
    calls = list_ran_calls(trajectory.turns)
    return Counter((call.name, json.dumps(call.arguments, sort_keys=True)) for call in calls)


def list_ran_calls(turns: Iterable[Turn]) -> list[Call]:
    """Return the calls whose tool ran, well or not: not those of unknown tools or with arguments it does not accept."""
    return [call for turn in turns for step in turn.steps for call in step.calls if not _was_refused(call)]


def _was_refused(call: Call) -> bool:
    seen = call.observation
    return isinstance(call.arguments, str) or (seen is not None and seen.is_error and tells_refusal(seen.text))


def make_builtin_suite(n_tasks: int, folder: Path, *, seed: int, held_out: bool = True) -> Iterator[EvalTask]:
    """Yield tasks for the built-in tools in wording, with numbers and with tool names that training never has.

    Files and a database that some tasks are about are written into `folder`, which is empty, and have to stay. Another
    seed than that of the training data gives other tasks than its held-out split.
    """
    for number, task in enumerate(make_tasks(n_tasks, folder, seed=seed, held_out=held_out)):
        instructions = tuple(request.instruction for request in task.requests)
        tools, solution = partial(tuple, task.toolset.tools), solve(task)
        key = f"builtin-{seed}-{number}"
        yield EvalTask(key, task.kind, instructions, tools, solution.expected, right=solution.trajectory)


def load_gsm8k_suite(path: Path) -> Iterator[EvalTask]:
    """Yield the problems of a GSM8K file, with a calculator: JSON Lines ``{"question", "answer": "… #### 42"}``.

    Raises:
        ConfigError: If there is no such file.
        TrajectoryError: If a record is no problem with a final answer; the message names file and line.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; give a GSM8K file in JSON Lines.")
    make_tools = partial(tuple, load_tools(["builtin:calculator"]))
    for number, (where, record) in enumerate(read_records(path)):
        final = FINAL.search(str(record.get("answer")))
        if final is None or not isinstance(record.get("question"), str):
            raise TrajectoryError(f"{where}: expected 'question' and an 'answer' that ends in '#### NUMBER'.")
        question, expected = (record["question"].strip(),), (final[1].strip(),)
        yield EvalTask(f"gsm8k-{number}", "gsm8k", question, make_tools, expected, ends_with_number)


def load_live_suite(name: str, *, limit: int | None = None, remote: RemoteSettings = DEFAULT_REMOTE) -> list[EvalTask]:
    """Return the first `limit` tasks of each group of a suite whose tools really answer.

    It is ``toolbench:FILE_OR_FOLDER[#SERVER]`` or ``complexfuncbench-replay[:FILE]``; another is a `ConfigError`.
    """
    kind, _, target = name.partition(":")
    if kind == REPLAY:
        recorded = load_complexfuncbench(Path(target).expanduser() if target else _find_file())
        tasks = [
            EvalTask(f"{REPLAY}/{task.id}", REPLAY, (task.query,), task.make_tools, check=partial(check_calls, task))
            for task in recorded
        ]
    elif kind == "toolbench" and target:
        path, _, url = target.partition("#")
        server = find_server(url or None, remote=remote)
        tasks = [
            EvalTask(f"{group}/{query_id}", group, (query,), partial(make_query_tools, apis, server))
            for group, query_id, query, apis in read_queries(Path(path).expanduser())
        ]
    else:
        raise ConfigError(
            f"There is no live suite {name!r}; write 'toolbench:FILE_OR_FOLDER[#SERVER]' or '{REPLAY}[:FILE]'."
        )
    places: defaultdict[str, Iterator[int]] = defaultdict(count)
    return [task for task in tasks if limit is None or next(places[task.group]) < limit]


def _find_file() -> Path:
    """Return the file that ``COMPLEXFUNCBENCH`` names, or the one in the working directory."""
    named = os.environ.get(VARIABLE)
    if (place := Path(named or _PLACE)).is_file():
        return place
    raise ConfigError(
        f"There is no copy of ComplexFuncBench{f' at {named}' if named else ''}; write {REPLAY}:FILE, or set "
        f"{VARIABLE} to a file of tasks (.jsonl or .jsonl.gz)."
    )


def check_calls(task: ReplayTask, trajectory: Trajectory) -> dict[str, float]:
    """Score the calls of one run.

    - ``completeness``: share of the task's calls that were made, each after those it takes arguments from.
    - ``call_accuracy``: share of the calls made that belong to the task; absent if none was made.
    - ``solved``: 1 if all were made, no other one was, and an answer was given.
    """
    steps = trajectory.turns[-1].steps
    made = [(number, _make_key(call)) for number, step in enumerate(steps) for call in step.calls]
    ways: dict[int, set[str]] = {}
    for recording in task.recordings:
        ways.setdefault(recording.step, set()).add(make_key(recording.tool, recording.arguments))
    known = set().union(*ways.values())
    times = {position: [number for number, key in made if key in keys] for position, keys in ways.items()}
    complete = [position for position in ways if _is_made(times, position, task.sources.get(position, ()))]
    n_known = sum(key in known for _, key in made)
    answered = bool((trajectory.answer or "").strip())
    scores = {
        "solved": float(len(complete) == len(ways) and n_known == len(made) and answered),
        "completeness": len(complete) / len(ways) if ways else 1.0,
    }
    return scores | ({"call_accuracy": n_known / len(made)} if made else {})


def _make_key(call: Call) -> str | None:
    return make_key(call.name, call.arguments) if isinstance(call.arguments, dict) else None


def _is_made(times: Mapping[int, Sequence[int]], position: int, sources: Iterable[int]) -> bool:
    """Tell whether a call was made, and at least once after everything it takes arguments from."""
    first = [times.get(source, ())[:1] for source in sources]
    return any(all(earliest and earliest[0] < number for earliest in first) for number in times[position])
