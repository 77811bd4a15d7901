"""The six sets of tools in ``benchmarks/teach``, and their questions."""

import re
from collections import Counter
from pathlib import Path

import pytest
from langchain_core.tools import BaseTool

from alpha_umi.tools.convert import spec_from_tool
from alpha_umi.tools.load import load_tools
from alpha_umi.tools.toolbox import Toolbox
from alpha_umi.training.data.sheets.load import load_sheets
from alpha_umi.training.data.sheets.request import list_wordings
from alpha_umi.training.evaluation.questions import QuestionFile, load_questions
from alpha_umi.training.evaluation.questions.accepted import list_variants
from alpha_umi.training.evaluation.questions.score import make_question_tasks
from benchmarks import changed_tools
from benchmarks.teach.__main__ import main

FOLDER = Path(__file__).resolve().parents[4] / "benchmarks" / "teach"
SETS = sorted(path.parent.name for path in FOLDER.glob("*/tools.py"))
_N_WORDS = 5


def load(name: str) -> tuple[list[BaseTool], QuestionFile]:
    tools = load_tools([f"benchmarks.teach.{name}.tools:TOOLS"])
    return tools, load_questions(FOLDER / name / "questions.yaml", [spec_from_tool(tool) for tool in tools])


def list_runs(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + _N_WORDS]) for i in range(len(words) - _N_WORDS + 1)}


def test_there_are_six_sets() -> None:
    assert len(SETS) == 6


@pytest.mark.parametrize("name", SETS)
def test_questions_of_a_set_are_of_every_kind_and_ask_for_every_tool(name: str) -> None:
    tools, file = load(name)
    assert 5 <= len(tools) <= 8
    kinds = Counter(question.kind for question in file.questions)
    assert kinds["one call"] >= 24
    assert kinds["several calls"] >= 10
    assert kinds["no tool"] + kinds["missing value"] >= 8
    asked = {call.tool.name for question in file.questions for way in question.ways for call in way}
    assert asked == {tool.name for tool in tools}


@pytest.mark.parametrize("name", SETS)
def test_right_calls_run_and_hold_what_the_answer_needs(name: str) -> None:
    tools, file = load(name)
    for question, task in zip(file.questions, make_question_tasks(file, tools), strict=True):
        toolbox = Toolbox(list(task.make_tools()))
        said = []
        for call in question.ways[0]:
            if "$matches" not in str(call.arguments):
                message = toolbox.execute(call.tool.name, list_variants(call.arguments)[0], "c")
                assert message.status == "success", f"line {question.line}: {message.text}"
                said.append(message.text)
        assert not question.answer or task.is_answered_by(" ".join(said)), f"line {question.line}: {said}"


@pytest.mark.parametrize("name", SETS)
def test_no_question_is_worded_as_a_description_is(name: str) -> None:
    tools, file = load(name)
    told = {run for tool in tools for run in list_runs(spec_from_tool(tool).description)}
    assert [question.text for question in file.questions if list_runs(question.text) & told] == []


def test_an_agent_that_always_gives_up_is_right_where_that_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "script.yaml").write_text('planner: ["No.\\nNext: give up."]\n')
    model = f"scripted:{tmp_path / 'script.yaml'}"
    monkeypatch.setattr("sys.argv", ["teach", "apiary", "roastery", "--model", model, "--out", str(tmp_path)])
    main()
    *_, apiary, _, together = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert apiary[:7] == ["apiary", "before", "19.0", "0.0", "0.0", "100.0", "100.0"]
    assert together[:3] == ["all", "before", "19.0"]


@pytest.mark.parametrize("name", SETS)
def test_sheets_of_a_set_can_be_used_and_do_not_ask_its_questions(name: str) -> None:
    tools, file = load(name)
    sheets = load_sheets(FOLDER / name / "sheets")
    assert {sheet.spec.name for sheet in sheets} == {tool.name for tool in tools}
    assert all(list_wordings(sheet, held_out=True) for sheet in sheets)
    told = {run for sheet in sheets for text in (*sheet.tool.ask, *sheet.tool.again) for run in list_runs(text)}
    same = [question.text for question in file.questions if list_runs(question.text) & told]
    assert len(same) < len(file.questions) / 10, same


def test_tools_that_changed_have_sheets_and_questions(tmp_path: Path) -> None:
    specs = {tool.name: spec_from_tool(tool) for tool in load_tools(["benchmarks.changed_tools:TOOLS"])}
    before = {tool.name for tool in load("roastery")[0]}
    assert before - specs.keys() == {"get_bean_stock", "list_orders"}
    assert specs.keys() - before == {"check_green_beans", "find_open_orders", "book_tasting"}
    assert "batch_kg" in specs["schedule_roast"].parameters["properties"]
    sheets, questions = changed_tools.write_files(tmp_path)
    assert {sheet.spec.name for sheet in load_sheets(sheets)} == specs.keys()
    asked = load_questions(questions, list(specs.values())).questions
    assert len(asked) == len(load("roastery")[1].questions) + 6
    assert {call.tool.name for question in asked for way in question.ways for call in way} == specs.keys()
