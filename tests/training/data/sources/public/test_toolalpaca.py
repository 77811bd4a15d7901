from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from alpha_umi.errors import TrajectoryError
from alpha_umi.nodes.format.trajectory import Step
from alpha_umi.training.data.dataset import Example, Tally
from tests.training.data.conftest import Read

DOCUMENT = {
    "paths": {
        "/pets/{id}": {
            "get": {
                "description": "Gets a pet.",
                "parameters": [
                    {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}, "description": "Id."},
                    {"$ref": "#/components/parameters/Lang"},
                ],
            }
        },
        "/pets": {
            "post": {
                "summary": "Adds a pet.",
                "requestBody": {
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}},
                },
            }
        },
    },
    "components": {
        "parameters": {"Lang": {"name": "lang", "in": "query", "schema": {"type": "string", "enum": ["de", "en"]}}},
        "schemas": {
            "Pet": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "required": True, "example": "Rex"},
                    "tags": {"type": "array", "items": {"$ref": "#/components/schemas/Tag"}},
                },
            },
            "Tag": {"type": "object", "properties": {"label": {"type": "str"}}},
        },
    },
}
API: dict[str, Any] = {
    "Name": "Pet Shop",
    "Documentation": json.dumps(DOCUMENT),
    "Function_Projection": {"getPet": ["/pets/{id}", "get"], "addPet": ["/pets", "post"]},
    "Function_Description": {"getPet": "Gets.", "addPet": "Adds.", "components": ""},
}


def step(name: str, arguments: str, observation: str, thought: str = "I look it up.") -> list[Any]:
    text = f" {thought}\nAction: {name}\nAction Input: {arguments}"
    return [[name, arguments, text], observation]


def run(*steps: list[Any], **fields: Any) -> dict[str, Any]:
    return {
        "input": "Who is pet 3?",
        "output": "Rex.",
        "Final Thought": "",
        "intermediate_steps": list(steps),
        **fields,
    }


GET = step("getPet", '{"id": "3"}', 'Status Code: 200. Response: {"name": "Rex"}')


def read_api(read: Read, tmp_path: Path, **fields: Any) -> tuple[list[Example], Tally]:
    path = tmp_path / "train_data.json"
    path.write_text(json.dumps([{**API, **fields}]))
    return read("toolalpaca", str(path))


def test_toolalpaca_reads_thought_call_observation_and_answer(read: Read, tmp_path: Path) -> None:
    (example,), _ = read_api(read, tmp_path, Instances=[run(GET, input="Who is pet 3?\nHint: use getPet")])
    assert example.id == "toolalpaca-Pet_Shop-0"
    call, answer = example.trajectory.turns[0].steps
    assert example.trajectory.turns[0].instruction == "Who is pet 3?"
    assert (call.rationale, call.calls[0].arguments) == ("I look it up.", {"id": 3})
    assert call.calls[0].observation is not None
    assert not call.calls[0].observation.is_error
    assert answer == Step("I have what I need to answer.", "conclusion", answer="Rex.")


def test_toolalpaca_takes_arguments_from_the_openapi_document(read: Read, tmp_path: Path) -> None:
    (example,), _ = read_api(read, tmp_path, Instances=[run(GET)])
    get, add, ask = example.trajectory.tools
    assert get.description == "Gets a pet."
    assert get.parameters["required"] == ["id"]
    assert get.parameters["properties"] == {
        "id": {"type": "integer", "description": "Id."},
        "lang": {"type": "string", "enum": ["de", "en"]},
    }
    tags = {"type": "array", "items": {"type": "object", "properties": {"label": {"type": "string"}}}}
    assert add.parameters["properties"] == {"name": {"type": "string"}, "tags": tags}
    assert add.parameters["required"] == ["name"]
    assert ask.name == "getDetails"


def test_toolalpaca_marks_failed_calls(read: Read, tmp_path: Path) -> None:
    failed = step("getPet", '{"id": 4}', "Status Code: 404. Response: none")
    (example,), _ = read_api(read, tmp_path, Instances=[run(failed, GET)])
    observations = [call.observation for step in example.trajectory.turns[0].steps for call in step.calls]
    assert [observation.is_error for observation in observations if observation] == [True, False]


def test_toolalpaca_drops_and_counts_unusable_runs(read: Read, tmp_path: Path) -> None:
    asked = step("getDetails", '{"Question": "Which pet?"}', "Number 3.")
    instances = ["broken", run(), run(GET, output=""), run(*[GET] * 6), run(asked), run(GET)]
    examples, tally = read_api(read, tmp_path, Instances=instances)
    assert [example.id for example in examples] == ["toolalpaca-Pet_Shop-5"]
    assert tally.dropped == {
        "instance that is no run": 1,
        "no steps, no answer, or more than 5 steps": 3,
        "only asks the user": 1,
    }


def test_toolalpaca_removes_calls_that_must_not_be_learnt(read: Read, tmp_path: Path) -> None:
    bad = [step("getPet", "{id: 3", "Invalid JSON format."), step("flyPet", "{}", "`flyPet` is not a valid action.")]
    (example,), tally = read_api(read, tmp_path, Instances=[run(*bad, GET)])
    assert len(example.trajectory.turns[0].steps) == 2
    assert tally.repaired["step without a call removed"] == 2


def test_toolalpaca_golden_answers_become_calls_without_results(read: Read, tmp_path: Path) -> None:
    golden = [[{"Action": "getPet", "Action_Input": '{"id": 3}'}, {"Action": "addPet", "Action_Input": "{}"}]]
    (example,), _ = read_api(read, tmp_path, Instructions=["Do it."], Golden_Answers=golden)
    (turn,) = example.trajectory.turns
    assert [step.rationale for step in turn.steps] == ["I call getPet.", "I call addPet."]
    assert all(call.observation is None for step in turn.steps for call in step.calls)


@pytest.mark.parametrize(
    ("record", "message"),
    [({"Name": "x"}, "no 'Documentation'"), ({**API, "Documentation": "{"}, "'Documentation' is not JSON text")],
)
def test_toolalpaca_api_of_another_kind_is_named(
    read: Read, tmp_path: Path, record: dict[str, Any], message: str
) -> None:
    path = tmp_path / "train_data.json"
    path.write_text(json.dumps([record]))
    with pytest.raises(TrajectoryError, match=rf"train_data\.json\[0\]: {message}"):
        read("toolalpaca", str(path))
