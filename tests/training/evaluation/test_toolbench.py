from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.evaluation.toolbench import make_answer, parse_answer, read_answers, write_answers

SPEC = ToolSpec("add", "Adds.", {"type": "object", "properties": {"a": {"type": "number"}, "b": {}}, "required": ["a"]})
CALLS = (
    Step("I add.", "caller", (Call("c1", "add", {"a": 1}, Observation("2")), Call("c2", "add", {"a": "é"}))),
    Step("Again.", "caller", (Call("c3", "sub", "{broken", Observation("No tool.", is_error=True)),)),
)


def make_run(*steps: Step) -> Trajectory:
    return Trajectory((SPEC,), (Turn("Add it.", steps),))


def read_as_tooleval_does(answer: dict[str, Any]) -> tuple[list[dict[str, str]], str, bool]:
    """Follow the steps of ToolEval's own reader.

    Source: OpenBMB/ToolBench, toolbench/tooleval/utils.py (`get_steps`), evaluators/registered_cls/rtl.py.
    """
    node, steps = answer["answer"]["answer_details"][0], []
    roles = [node["role"]]
    while node["next"]:
        node = node["next"][0]
        roles.append(node["role"])
        if node["role"] == "tool":
            steps.append(node["message"])
    assert roles[:2] == ["system", "user"]
    offered = {tool["name"] for tool in answer["available_tools"]}
    final = f"Final step: {steps[-1]}" if steps else ""
    return steps, final, all(step["name"] in offered for step in steps)


def test_an_answered_run_is_what_tooleval_reads() -> None:
    answer = make_answer(make_run(*CALLS, Step("Done.", "conclusion", answer='It is "2".')), "react")
    steps, final, is_honest = read_as_tooleval_does(answer)
    assert "'name': 'Finish'" in final
    assert [step["name"] for step in steps] == ["add", "add", "sub", "Finish"]
    assert [step["response"] for step in steps] == ["2", "", "No tool.", ""]
    assert json.loads(steps[1]["arguments"]) == {"a": "é"}
    assert not is_honest, "sub was not offered"
    assert json.loads(answer["answer"]["final_answer"]) == {"return_type": "give_answer", "final_answer": 'It is "2".'}
    assert (answer["query"], answer["answer"]["method"], answer["answer"]["total_steps"]) == ("Add it.", "react", 6)
    assert answer["available_tools"][0]["parameters"]["optional"] == ["b"]


@pytest.mark.parametrize("end", [Step("No.", "give up"), Step("Done.", "conclusion", answer=" ")])
def test_a_run_without_an_answer_gave_up(end: Step) -> None:
    answer = make_answer(make_run(*CALLS, end), "react")
    assert "give_up_and_restart" in answer["answer"]["final_answer"]
    assert "'name': 'Finish'" in read_as_tooleval_does(answer)[1]


@pytest.mark.parametrize("steps", [(), CALLS])
def test_a_run_without_an_end_has_no_finish(steps: tuple[Step, ...]) -> None:
    answer = make_answer(make_run(*steps), "react")
    assert "Finish" not in read_as_tooleval_does(answer)[1]
    assert answer["answer"]["final_answer"] == ""


def test_written_answers_are_read_back_without_plans(tmp_path: Path) -> None:
    run = make_run(*CALLS, Step("Done.", "conclusion", answer="It is 2."))
    write_answers(tmp_path / "answers", {"G1_tool": {"7": make_answer(run, "react")}})
    (found,) = read_answers(tmp_path).values()
    assert list(read_answers(tmp_path / "answers")) == ["G1_tool/7"]
    steps = found.turns[0].steps
    assert found.turns[0].instruction == "Add it."
    assert [call.name for step in steps for call in step.calls] == ["add", "add", "sub"]
    assert steps[0].calls[0].arguments == {"a": 1}
    assert steps[2].calls[0].arguments == "{broken"
    assert (steps[-1].decision, steps[-1].answer, steps[0].rationale) == ("conclusion", "It is 2.", "")
    assert [tool.name for tool in found.tools] == ["add"]


@pytest.mark.parametrize(
    ("final", "answer"),
    [
        ('{"return_type": "give_answer", "final_answer": "5"}', "5"),
        ('{"return_type": "give_up_and_restart"}', None),
        (
            '{"return_type": "give_answer", "final_answer": "it\'s 5',
            '{"return_type": "give_answer", "final_answer": "it\'s 5',
        ),
        ("give_up_and_restart {", None),
        ("", None),
        (None, None),
        ("42", "42"),
    ],
)
def test_a_final_answer_of_other_agents_is_read(final: str | None, answer: str | None) -> None:
    parsed = parse_answer(
        {"query": "?", "available_tools": [], "answer": {"final_answer": final, "answer_details": []}}
    )
    assert parsed.turns[0].steps[-1].answer == answer


def test_older_files_hold_messages_as_cut_text() -> None:
    messages = [
        "{'name': 'add', 'arguments': '{\"a\": 1}', 'response': '2'}",
        "{'name': 'add', 'arguments': '{\"a",
        "?",
    ]
    node: list[dict[str, Any]] = []
    for message in reversed(messages):
        node = [{"role": "tool", "message": message, "next": node}]
    steps = parse_answer({"query": "?", "available_tools": [], "answer": {"answer_details": node}}).turns[0].steps
    calls = [step.calls[0] for step in steps[:-1]]
    assert [call.name for call in calls] == ["add", "add", ""]
    assert calls[0].arguments == {"a": 1}
    assert calls[1].arguments == messages[1]


def test_broken_answers_are_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = make_answer(make_run(Step("", "conclusion", answer="5")), "react")
    (tmp_path / "G1_tool.json").write_text(json.dumps({"1": good, "2": {}, "3": [], "4": {**good, "answer": None}}))
    (tmp_path / "G2_tool.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")
    with caplog.at_level(logging.WARNING):
        assert list(read_answers(tmp_path)) == ["G1_tool/1"]
    assert all(f"query {number}" in caplog.text for number in (2, 3, 4))
    assert "G2_tool.json" in caplog.text
    with pytest.raises(ConfigError, match="no converted answers"):
        read_answers(tmp_path / "nothing")
