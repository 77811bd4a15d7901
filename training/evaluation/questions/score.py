"""How an agent does on a file of questions: stand-ins for tools with effects, the exact checks, and the table.

A question becomes a task of `alpha_umi.training.evaluation.suites`, so that the results are those of ``eval tasks``.
Where several calls or values are right, the right way is settled after the run: the one nearest to what was done.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool

from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn
from alpha_umi.tools.convert import make_tool, spec_from_tool
from alpha_umi.training.data.files import Record
from alpha_umi.training.data.sheets.form import ToolSheet
from alpha_umi.training.data.sheets.request import fill_reply, flatten, make_sheet_tool
from alpha_umi.training.evaluation.evaluator import RunAgent, Scorer, evaluate_tasks, make_answer_scorer
from alpha_umi.training.evaluation.examples import Usage
from alpha_umi.training.evaluation.metrics.causes import is_asking
from alpha_umi.training.evaluation.questions.accepted import ANY, MATCHES, accepts, read_operator
from alpha_umi.training.evaluation.questions.file import KINDS, Question, QuestionFile, WantedCall, Way, show_answer
from alpha_umi.training.evaluation.render import TITLES, interval, number, percent, render_columns
from alpha_umi.training.evaluation.result_folder import OUTCOMES, ResultFolder, read_rows
from alpha_umi.training.evaluation.suites import EvalOutcome, EvalTask, check_ran_calls, holds, list_ran_calls

_NOTHING_FITS = Step("No tool can do this.", "give up")
_NOT_SAID = Step("The request does not say what is needed.", "give up")
_NO_SHEETS: Mapping[str, ToolSheet] = {}
_SHARES = ("tools_exact", "calls_exact", "solved", "refused", "false_refusal", "wrong_effect")


def make_stand_in(tool: BaseTool, reply: Any = None) -> BaseTool:
    """Return a tool that reads the same to a model and is not run: it replies.

    Args:
        tool: The tool.
        reply: A text or JSON, with arguments in braces; by default an object with what it was called with.
    """

    def run(**arguments: Any) -> str:
        said = {"status": "done", **arguments} if reply is None else fill_reply(reply, flatten(arguments) | arguments)
        return said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)

    return make_tool(spec_from_tool(tool), run).model_copy(update={"return_direct": tool.return_direct})


def make_safe_tools(
    tools: Sequence[BaseTool], replies: Mapping[str, Any], sheets: Mapping[str, ToolSheet] = _NO_SHEETS
) -> list[BaseTool]:
    """Return tools of which none changes anything: those with effects, and those with a reply, are not run.

    Args:
        tools: The tools.
        replies: What some of them reply, by name.
        sheets: Sheets of some of them, by name: what those reply that have effects and no reply here.
    """

    def make_safe(tool: BaseTool) -> BaseTool:
        if tool.name in replies or not _has_effects(tool):
            return make_stand_in(tool, replies[tool.name]) if tool.name in replies else tool
        sheet = sheets.get(tool.name)
        return make_sheet_tool(sheet) if sheet and not sheet.is_run else make_stand_in(tool)

    return [make_safe(tool) for tool in tools]


def _has_effects(tool: BaseTool) -> bool:
    return spec_from_tool(tool).effects != "none"


def list_effects(tools: Iterable[BaseTool]) -> set[str]:
    """Return the names of the tools that do not say that they have no effects."""
    return {tool.name for tool in tools if _has_effects(tool)}


def make_question_tasks(
    file: QuestionFile, tools: Sequence[BaseTool], sheets: Mapping[str, ToolSheet] = _NO_SHEETS
) -> list[EvalTask]:
    """Return one task for each question; none of the tools changes anything, see `make_safe_tools`."""
    return [
        EvalTask(
            question.text,
            question.kind,
            (question.text,),
            partial(make_safe_tools, tools, {**file.replies, **question.replies}, sheets),
            None if question.refuse else tuple(map(show_answer, question.answer)),
            _make_matcher(question),
        )
        for question in file.questions
    ]


def _make_matcher(question: Question) -> Callable[[str, str], bool]:
    parts = {show_answer(part): part for part in question.answer}
    return lambda answer, expected: _holds(answer, parts[expected])


def _holds(answer: str, part: Any) -> bool:
    operator, operand = read_operator(part)
    if operator == ANY:
        return any(_holds(answer, each) for each in operand)
    return accepts(part, answer) if operator == MATCHES else holds(answer, str(part))


def check_questions(
    run: RunAgent,
    file: QuestionFile,
    tools: Sequence[BaseTool],
    out: Path,
    *,
    identity: Mapping[str, Any],
    sheets: Sequence[ToolSheet] = (),
    n_workers: int = 1,
) -> dict[str, Any]:
    """Ask the agent every question and write what ``eval tasks`` writes; see `evaluate_tasks`.

    Args:
        run: Runs the agent on one task.
        file: The questions.
        tools: The agent's tools; those with effects are not run.
        out: Folder to write into; what is there is not asked again, but held against what the file now says.
        identity: What the outcomes depend on besides file and tools.
        sheets: What tools reply that are not run and have no reply in the file.
        n_workers: How many questions at the same time.

    Returns:
        The metrics, and under ``questions`` what became of each, in the order of the file.

    Raises:
        ConfigError: If the folder holds other results.
        ModelNotAvailable: If the weights of a model are not here.
    """
    by_name = {sheet.spec.name: sheet for sheet in sheets}
    tasks = make_question_tasks(file, tools, by_name)
    scorer = make_question_scorer(file, list_effects(tools))
    specs = [spec_from_tool(tool) for tool in tools]
    identity = {"tools": [[spec.to_openai()["function"], spec.effects] for spec in specs], **identity}
    if replies := {name: [sheet.tool.reply, sheet.tool.returns] for name, sheet in by_name.items()}:
        identity["sheets"] = replies
    with ResultFolder(out, OUTCOMES, {"kind": scorer.kind, **identity}) as folder:
        fresh = [*_score_again(folder.rows.values(), {task.key: task for task in tasks}, scorer)]
        if fresh != [*folder.rows.values()]:
            folder.replace(fresh)
    metrics = evaluate_tasks(run, tasks, out, identity=identity, scorer=scorer, n_workers=n_workers)
    rows = {row["key"]: row for row in read_rows(out / OUTCOMES)}
    return {**metrics, "questions": [_tell(question, rows[question.text]) for question in file.questions]}


def _score_again(rows: Iterable[Record], tasks: Mapping[str, EvalTask], scorer: Scorer) -> Iterator[Record]:
    """Yield earlier outcomes, held against what is right now; without those whose tools have other replies."""
    for row in rows:
        task = tasks.get(row["key"])
        question = scorer.describe(task) if task else row
        if task is None or row["error"] is not None:
            yield row | question
        elif row.get("replies") == question["replies"]:
            usage = Usage(row["input_tokens"], row["cached_tokens"], row["output_tokens"])
            run = Trajectory.from_row(row["trajectory"])
            outcome = EvalOutcome(run, usage, row["finish"], certainty=row["certainty"])
            yield row | question | scorer.score(task, outcome)


def _tell(question: Question, row: Record) -> Record:
    calls = list_ran_calls(Trajectory.from_row(row["trajectory"]).turns)
    names = ("answer", "gave_up", "finish", "cause", "seconds", "error")
    return {
        "question": question.text,
        "line": question.line,
        "kind": question.kind,
        "right": row["success"],
        "expected": str(question),
        "calls": [{"name": call.name, "arguments": call.arguments} for call in calls],
        **{name: row[name] for name in names},
    }


def make_question_scorer(file: QuestionFile, effects: Collection[str]) -> Scorer:
    """Return what holds each run against its question: a success is right in calls, and in answer or refusal."""
    base = make_answer_scorer()
    questions, replies = {question.text: question for question in file.questions}, file.replies

    def describe(task: EvalTask) -> Record:
        question = questions[task.key]
        return {**base.describe(task), "right": str(question), "replies": {**replies, **question.replies}}

    def score(task: EvalTask, outcome: EvalOutcome) -> Record:
        right = settle_right(questions[task.key], outcome.trajectory)
        expected = task.expected if right.gave_up else task.expected or ()
        settled = replace(task, right=right, expected=expected, check=partial(_check, right, effects))
        row = base.score(settled, outcome)
        return {**row, "success": row["success"] and row["checks"]["calls_exact"] == 1.0}

    return replace(base, describe=describe, score=score)


def _check(right: Trajectory, effects: Collection[str], trajectory: Trajectory) -> dict[str, float]:
    wanted, made = (Counter(call.name for call in list_ran_calls(each.turns)) for each in (right, trajectory))
    return {"tools_exact": float(wanted == made), **check_ran_calls(right, effects, trajectory)}


def settle_right(question: Question, run: Trajectory) -> Trajectory:
    """Return the right way through a question that is nearest to what an agent did."""
    made = list_ran_calls(run.turns)
    calls = max((_settle_way(way, made) for way in question.ways), key=lambda calls: _rank(calls, made))
    end = Step("All parts are done.", "conclusion", answer="")
    if question.refuse == "no tool":
        end = _NOTHING_FITS
    elif question.refuse:  # to ask for the value is as right as to say that it is missing
        asks = run.end is not None and is_asking(run.end)
        end = replace(_NOT_SAID, decision="conclusion", answer="") if asks else _NOT_SAID
    steps = [Step("", "caller", (call,)) for call in calls]
    return Trajectory(run.tools, (Turn(question.text, (*steps, end)),))


def make_reference(question: Question) -> Trajectory:
    """Return one right way through a question; what its tools reply is left empty."""
    right = settle_right(question, Trajectory((), (Turn(question.text),)))
    steps = [
        replace(step, calls=tuple(replace(call, observation=Observation("")) for call in step.calls))
        for step in right.turns[0].steps
    ]
    return replace(right, turns=(Turn(question.text, tuple(steps)),))


def _rank(right: Sequence[Call], made: Sequence[Call]) -> tuple[int, int]:
    """Rank a way by how few tools differ, then by how many calls are the same."""
    wanted, done = (Counter(call.name for call in calls) for calls in (right, made))
    return -((wanted - done) + (done - wanted)).total(), sum(call in made for call in right)


def _settle_way(way: Way, made: Sequence[Call]) -> list[Call]:
    """Return the right calls of a way, in its order; one that may be missing only if it was made."""
    pairs = _pair(way, made)
    left = [call for i, call in enumerate(made) if i not in pairs.values()]
    settled: list[Call] = []
    for n, wanted in enumerate(way):
        if n in pairs:
            settled.append(made[pairs[n]])
        elif not wanted.may_miss:
            near = max((c for c in left if c.name == wanted.tool.name), key=partial(_count_right, wanted), default=None)
            settled.append(replace(wanted.settle(near), id=f"right_{n}"))
            left = [call for call in left if call is not near]
    return settled


def _count_right(wanted: WantedCall, call: Call) -> int:
    made = call.arguments if isinstance(call.arguments, dict) else {}
    return sum(name in made and accepts(part, made[name]) for name, part in wanted.arguments.items())


def _pair(way: Way, made: Sequence[Call]) -> dict[int, int]:
    """Match as many wanted calls with made ones as can be, those that must be made first (augmenting paths)."""
    owner: dict[int, int] = {}

    def place(n: int, tried: set[int]) -> bool:
        for i, call in enumerate(made):
            if i not in tried and way[n].accepts(call):
                tried.add(i)
                if i not in owner or place(owner[i], tried):
                    owner[i] = n
                    return True
        return False

    for n in sorted(range(len(way)), key=lambda n: way[n].may_miss):
        place(n, set())
    return {n: i for i, n in owner.items()}


def render_check(checked: Mapping[str, Any], file: Path) -> str:
    """Return the shares as a table, by kind of question and by what was right, and every question that went wrong."""
    strict, asked = checked["strict"], checked["questions"]
    shares = [["right, of all", strict["success"]]]
    kinds = checked["by_kind"]
    shares += [[f"  {kind}", kinds[kind]["success"]] for kind in KINDS if kind in kinds]
    shares += [[TITLES[name], strict[name]] for name in _SHARES if strict[name]["n"]]
    rows = [[title, percent(share["value"]), interval(share), f"{share['n']:,}"] for title, share in shares]
    longest = max(each["seconds"] for each in asked)
    parts = [
        render_columns([["%", "share", "95% interval", "questions"], *rows], (22, 8, 18, 10)),
        f"Seconds a question: {number(strict['seconds']['value'])}, the longest {number(longest)}.",
    ]
    wrong = [each for each in asked if not each["right"]]
    return "\n\n".join([*parts, *(_render_wrong(each, file) for each in wrong)])


def _render_wrong(told: Record, file: Path) -> str:
    calls = ", ".join(f"{call['name']} {json.dumps(call['arguments'], ensure_ascii=False)}" for call in told["calls"])
    end = (
        "gave up" if told["gave_up"] else f"answer: {told['answer']}" if told["answer"] else told["finish"] or "failed"
    )
    lines = [f"{file}, line {told['line']}: {told['cause'] or told['error']}"]
    lines += [f"  asked     {told['question']}", f"  expected  {told['expected']}"]
    return "\n".join([*lines, f"  came      {'; '.join(filter(None, [calls, ' '.join(end.split())]))}"])
