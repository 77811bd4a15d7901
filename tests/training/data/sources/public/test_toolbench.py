"""Every fault that the real answer files have, in small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from alpha_umi.errors import TrajectoryError
from alpha_umi.nodes.format.trajectory import Step, Turn
from alpha_umi.training.data.dataset import Tally
from tests.training.data.conftest import Read

QUERY = "Which pets can I adopt in Graz?"
FUNCTIONS = [
    {
        "name": "list_pets_for_shelter",
        "description": 'This is the subfunction for tool "shelter", you can use this tool.'
        'The description of this function is: "Lists pets"',
        "parameters": {
            "type": "object",
            "properties": {
                "town": {"type": "string", "description": "Where", "example_value": "Linz"},
                "limit": {"type": "integer", "description": ""},
            },
            "required": [],
            "optional": ["town", "limit"],
        },
    },
    {
        "name": "pet_for_shelter",
        "description": 'This is the subfunction for tool "pet_shelter", you can use this tool.',
        "parameters": {"type": "object", "properties": {}, "required": [], "optional": []},
    },
    {"name": "Finish", "description": "", "parameters": {"type": "object", "properties": {}, "required": []}},
]
CALL = {"name": "list_pets_for_shelter", "arguments": '{"town": "Graz"}'}
RESULT = {"role": "function", "name": "list_pets_for_shelter", "content": '{"error": "", "response": "[\'Rex\']"}'}


def think(text: str | None, call: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"role": "assistant", "content": text} | ({"function_call": call} if call else {})


def finish(arguments: dict[str, Any] | str) -> dict[str, Any]:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {"name": "Finish", "arguments": text}


ANSWER = think("Found.", finish({"return_type": "give_answer", "final_answer": "Rex."}))


def read_chain(read: Read, tmp_path: Path, *messages: dict[str, Any]) -> tuple[Turn, Tally]:
    chain = [{"role": "system", "content": "…"}, {"role": "user", "content": f"\n{QUERY}\nBegin!\n"}, *messages]
    record = {"answer_generation": {"query": QUERY, "function": FUNCTIONS, "train_messages": [[], chain]}}
    path = tmp_path / "G1_answer" / "82_gpt4_CoT@1.json"
    path.parent.mkdir()
    path.write_text(json.dumps(record))
    examples, tally = read("toolbench", str(path.parent.parent))
    assert len(examples) == 1
    assert examples[0].id == "toolbench-G1_answer-82_gpt4_CoT@1"
    assert examples[0].task_id == "82"
    return examples[0].trajectory.turns[0], tally


def decisions(turn: Turn) -> list[str]:
    return [step.decision for step in turn.steps]


def test_toolbench_reads_call_observation_and_answer(read: Read, tmp_path: Path) -> None:
    turn, tally = read_chain(read, tmp_path, think("I list the pets.", CALL), RESULT, ANSWER)
    assert turn.instruction == QUERY
    assert decisions(turn) == ["caller", "conclusion"]
    call = turn.steps[0].calls[0]
    assert (call.name, call.arguments) == ("list_pets_for_shelter", {"town": "Graz"})
    assert call.observation is not None
    assert (call.observation.text, call.observation.is_error) == ("['Rex']", False)
    assert turn.steps[1] == Step("Found.", "conclusion", answer="Rex.")
    assert not tally.repaired


def test_toolbench_tools_lose_finish_and_boilerplate_but_no_optional_argument(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "1_x.json"
    chain = [think("I list.", CALL), RESULT, ANSWER]
    path.write_text(
        json.dumps({"answer_generation": {"query": QUERY, "function": FUNCTIONS, "train_messages": [chain]}})
    )
    (example,), _ = read("toolbench", str(path))
    first, second = example.trajectory.tools
    assert (first.description, second.description) == ("Lists pets", "pet shelter")
    assert first.parameters == {
        "type": "object",
        "properties": {
            "town": {"type": "string", "description": "Where (example: Linz)"},
            "limit": {"type": "integer"},
        },
    }


def test_toolbench_merges_a_thought_without_a_call_and_words_a_call_without_a_thought(
    read: Read, tmp_path: Path
) -> None:
    turn, tally = read_chain(read, tmp_path, think("First."), think("Second.", CALL), RESULT, think(None, CALL), RESULT)
    assert [step.rationale for step in turn.steps] == [
        "First.\nSecond.",
        "I call list_pets_for_shelter.",
    ]
    assert tally.repaired["thought without a call merged into the next"] == 1
    assert tally.repaired["missing rationale written from the calls"] == 1


def test_toolbench_removes_prompts_for_a_different_action(read: Read, tmp_path: Path) -> None:
    prompt = {"role": "user", "content": "This is not the first time you try this task…", "valid": False}
    turn, tally = read_chain(read, tmp_path, prompt, think("I list.", CALL), RESULT, prompt, ANSWER)
    assert decisions(turn) == ["caller", "conclusion"]
    assert tally.repaired["prompt for a different action removed"] == 2


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (
            {"name": "invalid_hallucination_function_name", "arguments": "{}"},
            "call of a tool that does not exist removed",
        ),
        ({"name": "pet_for_shelter", "arguments": "e town: Graz"}, "call with malformed arguments removed"),
    ],
)
def test_toolbench_removes_calls_that_must_not_be_learnt(
    read: Read, tmp_path: Path, call: dict[str, Any], reason: str
) -> None:
    failed = {"role": "function", "name": "x", "content": '{"error": "No such function name", "response": ""}'}
    turn, tally = read_chain(read, tmp_path, think("Bad.", call), failed, think("I list.", CALL), RESULT, ANSWER)
    assert [step.rationale for step in turn.steps] == ["I list.", "Found."]
    assert tally.repaired[reason] == 1


@pytest.mark.parametrize(
    "final",
    [
        finish({"return_type": "give_up_and_restart"}),
        finish('{\n  "return_type": "give_up_and_restart",\n'),
        finish({"return_type": "give_answer", "final_answer": "I give up and restart"}),
    ],
)
def test_toolbench_reads_give_ups_in_all_forms(read: Read, tmp_path: Path, final: dict[str, Any]) -> None:
    turn, _ = read_chain(read, tmp_path, think("I list.", CALL), RESULT, think("No use.", final))
    assert turn.steps[-1] == Step("No use.", "give up")


def test_toolbench_shortens_an_answer_that_was_cut_off(read: Read, tmp_path: Path) -> None:
    cut = finish('{\n "return_type": "give_answer",\n "final_answer": "Two \\"pets\\".\\nRex\\nMi')
    turn, tally = read_chain(read, tmp_path, think("I list.", CALL), RESULT, think("Done.", cut))
    assert turn.steps[-1].answer == 'Two "pets".\nRex'
    assert tally.repaired["answer cut off in the record shortened to its last full line"] == 1


def test_toolbench_ends_at_the_decision_even_if_messages_follow(read: Read, tmp_path: Path) -> None:
    turn, _ = read_chain(read, tmp_path, think("I list.", CALL), RESULT, ANSWER, think("More.", CALL), RESULT)
    assert decisions(turn) == ["caller", "conclusion"]


@pytest.mark.parametrize(
    ("content", "text", "is_error"),
    [
        ('{"error": "Unsubscribed error...", "response": "Pay."}', "Unsubscribed error... Pay.", True),
        ('{"error": "", "response": "{\'pets\': [\'Rex\', \'Mi...', "{'pets': ['Rex', 'Mi...", False),
        ('{"error": "", "response": ""}', "(no output)", False),
        ("", "(no output)", False),
        ('{"error": "", "response": {"n": 1}}', '{"n": 1}', False),
    ],
)
def test_toolbench_observations(read: Read, tmp_path: Path, content: str, text: str, is_error: bool) -> None:
    turn, _ = read_chain(read, tmp_path, think("I list.", CALL), {**RESULT, "content": content}, ANSWER)
    observation = turn.steps[0].calls[0].observation
    assert observation is not None
    assert (observation.text, observation.is_error) == (text, is_error)


@pytest.mark.parametrize(
    ("thought", "rationale"),
    [
        ("Thought: I list.\nAction: Call it.\n", "I list."),
        ("list_pets_for_shelter\nAction Input: {", "I call list_pets_for_shelter."),
        ("e last action, I see that nothing works. I try again.", "I see that nothing works. I try again."),
        ("the list of pets is needed", "The list of pets is needed"),
    ],
)
def test_toolbench_cleans_what_small_models_left_in_thoughts(
    read: Read, tmp_path: Path, thought: str, rationale: str
) -> None:
    turn, _ = read_chain(read, tmp_path, think(thought, CALL), RESULT, ANSWER)
    assert turn.steps[0].rationale == rationale


def test_toolbench_file_of_another_kind_is_named(read: Read, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"query": "x"}')
    with pytest.raises(TrajectoryError, match=r"other\.json: no 'answer_generation\.train_messages'"):
        read("toolbench", str(tmp_path))
