from __future__ import annotations

import json
from typing import Any

import pytest

from alpha_umi.errors import TrajectoryError
from alpha_umi.nodes.format.trajectory import Call, Step
from alpha_umi.training.data.clean import READY
from tests.training.data.conftest import Read, WriteLines

FUNCTION = {"name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {"a": {}}}}
TOOLS = [{"type": "function", "function": FUNCTION}]
USER = {"role": "user", "content": [{"type": "text", "text": "2 and 2?"}]}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "4"}
NULLS = {"name": None, "arguments": None}
ANSWER = {"role": "assistant", "content": "It is 4."}


def dialogue(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"messages": [USER, *messages], "tools": TOOLS, **fields}


def read_steps(read: Read, write_lines: WriteLines, record: dict[str, Any]) -> tuple[Step, ...]:
    (example,), _ = read("openai_messages", write_lines([record]))
    (turn,) = example.trajectory.turns
    steps: tuple[Step, ...] = turn.steps
    return steps


def list_results(*steps: Step) -> list[tuple[Any, str | None]]:
    calls = [call for step in steps for call in step.calls]
    return [(call.arguments, call.observation.text if call.observation else None) for call in calls]


def test_openai_dialogue_becomes_steps(read: Read, write_lines: WriteLines) -> None:
    record = dialogue(CALLED, RESULT, {**ANSWER, "reasoning_content": "Hm."}, id="x")
    (example,), tally = read("openai_messages", write_lines([record]))
    call, answer = example.trajectory.turns[0].steps
    assert example.id == "openai_messages-x"
    assert example.trajectory.turns[0].instruction == "2 and 2?"
    assert (call.rationale, call.calls[0].arguments) == ("I call add.", {"a": 2})
    assert call.calls[0].observation is not None
    assert call.calls[0].observation.text == "4"
    assert answer == Step(READY, "conclusion", answer="It is 4.")
    assert tally.repaired == {"missing rationale written from the calls": 2}


def test_openai_older_function_calls_are_linked(read: Read, write_lines: WriteLines) -> None:
    record = dialogue(
        {"role": "assistant", "content": "I add.", "function_call": {"name": "add", "arguments": "{}"}},
        {"role": "function", "name": "add", "content": "0"},
        tools=None,
        functions=[FUNCTION],
    )
    (step,) = read_steps(read, write_lines, record)
    assert step.rationale == "I add."
    assert list_results(step) == [({}, "0")]


def test_openai_thoughts_are_no_call_and_no_text(read: Read, write_lines: WriteLines) -> None:
    thought = '<think>Or <tool_call>{"name": "add", "arguments": {"a": 9}}</tool_call>?</think>'
    called = {"role": "assistant", "content": thought + '<tool_call>{"name": "add", "arguments": {"a": 2}}</tool_call>'}
    blocks = [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "It is 4."}]
    result = {"role": "tool", "content": "4"}
    steps = read_steps(read, write_lines, dialogue(called, result, {"role": "assistant", "content": blocks}))
    assert list_results(*steps) == [({"a": 2}, "4")]
    assert [(step.rationale, step.answer) for step in steps] == [("I call add.", None), (READY, "It is 4.")]


@pytest.mark.parametrize(
    "call",
    [
        {"id": "c1", "name": "add", "arguments": {"a": 2}},
        {"id": "c1", "type": "tool_use", "name": "add", "input": {"a": 2}},
        {"id": "c1", "function": {"name": "add", "arguments": json.dumps(json.dumps({"a": 2}))}},
        {"id": "c1", "function": {"name": "functions.add", "arguments": "{'a': 2}"}},
        {"id": "c1", "function": {"name": "add", "arguments": {"a": 2, "other_tools": None}}},
        json.dumps({"id": "c1", "function": "add", "parameters": {"a": 2}}),
    ],
)
def test_openai_call_of_an_unusual_form_is_read(read: Read, write_lines: WriteLines, call: Any) -> None:
    record = dialogue({"role": "assistant", "content": "", "tool_calls": [call]}, RESULT, ANSWER)
    steps = read_steps(read, write_lines, record)
    assert list_results(*steps) == [({"a": 2}, "4")]
    assert steps[-1].answer == "It is 4."


@pytest.mark.parametrize("function", [{"name": "add", "arguments": '{"a": '}, {"name": "sub", "arguments": "{}"}, {}])
def test_no_answer_is_left_without_the_call_it_rests_on(
    read: Read, write_lines: WriteLines, function: dict[str, Any]
) -> None:
    lost = {"role": "assistant", "content": "I look.", "tool_calls": [CALL, {"id": "c0", "function": function}]}
    results = RESULT, {"role": "tool", "tool_call_id": "c0", "content": "7"}
    later = {"role": "user", "content": "And twice that?"}
    record = dialogue(CALLED, RESULT, ANSWER, {"role": "user", "content": "?"}, lost, *results, ANSWER, later, ANSWER)
    (kept,), tally = read("openai_messages", write_lines([record, dialogue(lost, *results, ANSWER, id=2)]))
    assert [step.answer for turn in kept.trajectory.turns for step in turn.steps] == [None, "It is 4."]
    assert sum(n for reason, n in tally.repaired.items() if reason.startswith("trajectory cut before a call")) == 2
    assert tally.dropped == {"no usable step": 1}


def test_a_failed_call_that_cannot_be_used_leaves_the_others(read: Read, write_lines: WriteLines) -> None:
    wrong = {"id": "c0", "function": {"name": "sub", "arguments": "{}"}}
    record = dialogue(
        {"role": "assistant", "content": "I look.", "tool_calls": [wrong]},
        {"role": "tool", "tool_call_id": "c0", "content": '{"error": "no such tool"}'},
        CALLED,
        RESULT,
        ANSWER,
    )
    steps = read_steps(read, write_lines, record)
    assert [step.decision for step in steps] == ["caller", "conclusion"]


def test_results_without_ids_go_to_calls_by_name_and_order(read: Read, write_lines: WriteLines) -> None:
    calls = [{"id": "0", "name": name, "arguments": {"a": i}} for i, name in enumerate(["add", "add", "other"])]
    tools = [FUNCTION, {**FUNCTION, "name": "other"}]
    texts = ({"name": "other", "content": "third"}, {"content": "first"}, {"name": "add", "content": "second"})
    results = ({"role": "tool", **text} for text in texts)
    record = dialogue({"role": "assistant", "tool_calls": calls}, *results, tools=tools)
    (step,) = read_steps(read, write_lines, record)
    assert list_results(step) == [({"a": 0}, "first"), ({"a": 1}, "second"), ({"a": 2}, "third")]
    assert len({call.id for call in step.calls}) == 3


@pytest.mark.parametrize("mark", [{"weight": 0}, {"weight": "0"}, {"weight": 0.0}, {"loss": False}, {"train": "false"}])
def test_a_message_of_weight_0_is_context_only(read: Read, write_lines: WriteLines, mark: dict[str, Any]) -> None:
    wrong = {**CALLED, **mark, "tool_calls": [{**CALL, "id": "c0"}]}
    record = dialogue(wrong, {**RESULT, "tool_call_id": "c0"}, {**CALLED, "weight": 1}, RESULT, ANSWER)
    masked = dialogue({**ANSWER, **mark}, id=2)
    (example,), tally = read("openai_messages", write_lines([record, masked]))
    assert [step.weight for step in example.trajectory.turns[0].steps] == [0, 1, 1]
    assert tally.repaired["step with weight 0 kept as context, not trained"] == 2
    assert tally.dropped == {"every step has weight 0": 1}


FIND = {
    "name": "Find Town",
    "description": "Finds.",
    "parameters": {"type": "dict", "properties": {"name": {"type": "str"}, "n": {"type": "int"}}, "required": ["name"]},
}
FOUND = {"name": "Graz", "n": 2}
DIALECTS: dict[str, dict[str, Any]] = {
    "sharegpt": {
        "system": "Be brief.",
        "tools": json.dumps([FIND]),
        "conversations": [
            {"from": "human", "value": "Where?"},
            {"from": "gpt", "value": "I look."},
            {"from": "function_call", "value": json.dumps({"name": "Find Town", "arguments": FOUND})},
            {"from": "observation", "value": '{"at": "south"}'},
            {"from": "gpt", "value": "South."},
        ],
    },
    "hermes": {
        "conversations": [
            {
                "from": "system",
                "value": f"Within <tools></tools> are tools. Write <tool_call>. <tools>\n{json.dumps(FIND)}\n</tools>",
            },
            {"from": "human", "value": "Where?"},
            {
                "from": "gpt",
                "value": f"I look.\n<tool_call>\n{ {'arguments': FOUND, 'name': 'Find Town'} }\n</tool_call>",
            },
            {
                "from": "tool",
                "value": '<tool_response>\n{"name": "Find Town", "content": {"at": "south"}}\n</tool_response>',
            },
            {"from": "gpt", "value": "South."},
        ],
    },
    "toolace": {
        "system": f"Be brief. You can invoke:\n[{json.dumps(FIND)}]. \nWrite [f(a=1)].",
        "conversations": [
            {"from": "user", "value": "Where?"},
            {"from": "assistant", "value": "I look."},
            {"from": "assistant", "value": '[Find Town(name="Graz", n=2)]'},
            {"from": "tool", "value": '[{"name": "Find Town", "results": {"at": "south"}}]'},
            {"from": "assistant", "value": "South."},
        ],
    },
    "ms-swift": {
        "tools": json.dumps([{"type": "function", "function": FIND}]),
        "messages": [
            {"role": "user", "content": "Where?"},
            {"role": "assistant", "content": "I look."},
            {"role": "tool_call", "content": json.dumps({"name": "Find Town", "arguments": json.dumps(FOUND)})},
            {"role": "tool_response", "content": '{"at": "south"}'},
            {"role": "assistant", "content": "South.", "loss": None},
        ],
    },
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_dialogue_reads_the_same_in_every_dialect(read: Read, write_lines: WriteLines, dialect: str) -> None:
    (example,), _ = read("openai_messages", write_lines([DIALECTS[dialect]]))
    (turn,), (tool,) = example.trajectory.turns, example.trajectory.tools
    assert turn.instruction == "Where?"
    assert [step.rationale for step in turn.steps] == ["I look.", READY]
    (call,) = turn.steps[0].calls
    assert (call.name, call.arguments) == ("Find_Town", FOUND)
    assert call.observation is not None
    assert json.loads(call.observation.text) == {"at": "south"}
    assert turn.steps[1].answer == "South."
    assert tool.name == "Find_Town"
    assert tool.parameters["properties"] == {"name": {"type": "string"}, "n": {"type": "integer"}}
    assert example.trajectory.system == ("Be brief." if dialect == "sharegpt" else "")


def test_xlam_rows_end_with_their_calls(read: Read, write_lines: WriteLines) -> None:
    parameters = {"name": {"type": "str", "description": "Its name."}, "n": {"type": "int, optional", "default": 3}}
    answers = [
        {"name": "find", "arguments": {"name": "Graz"}},
        {"name": "find", "arguments": {"name": "Linz", "n": "2"}},
    ]
    tools = json.dumps([{"name": "find", "description": "Finds.", "parameters": parameters}])
    row = {"id": 7, "query": "Where?", "tools": tools, "answers": json.dumps(answers)}
    (example,), _ = read("openai_messages", write_lines([row]))
    (step,) = example.trajectory.turns[0].steps
    assert list_results(step) == [({"name": "Graz"}, None), ({"name": "Linz", "n": 2}, None)]
    (tool,) = example.trajectory.tools
    assert tool.parameters["required"] == ["name"]
    assert tool.parameters["properties"]["n"] == {"type": "integer", "description": " (default: 3)"}


@pytest.mark.parametrize(
    "results",
    [
        [{"from": "observation", "value": '["south", "north"]'}],
        [
            {
                "from": "observation",
                "value": '[{"name": "add", "results": "north"}, {"name": "Find Town", "results": "south"}]',
            }
        ],
        [{"from": "observation", "value": "south"}, {"from": "observation", "value": "north"}],
    ],
)
def test_calls_side_by_side_get_their_results(read: Read, write_lines: WriteLines, results: list[Any]) -> None:
    calls = [{"name": "Find Town", "arguments": FOUND}, {"name": "add", "arguments": {}}]
    for said in ([json.dumps(calls)], list(map(json.dumps, calls))):
        spoken = [{"from": "function_call", "value": value} for value in said]
        row = {"tools": [FIND, FUNCTION], "conversations": [{"from": "human", "value": "Where?"}, *spoken, *results]}
        (step,) = read_steps(read, write_lines, row)
        assert list_results(step) == [(FOUND, "south"), ({}, "north")]


def test_python_calls_may_hold_nested_values_and_text_stays_text(read: Read, write_lines: WriteLines) -> None:
    record = json.loads(json.dumps(DIALECTS["toolace"]))
    record["conversations"][1:3] = [
        {"from": "assistant", "value": '[Find Town(name="a), b(", n=-2), Find Town(name={"k": [true, null]})]'},
        {"from": "assistant", "value": "[Find Town(from=\"a, in=b\", is-near = 'c(d=e')]"},
    ]
    record["conversations"][-1]["value"] = "[see (here)]"
    calls, answer = read_steps(read, write_lines, record)
    assert [call.arguments for call in calls.calls] == [
        {"name": "a), b(", "n": -2},
        {"name": {"k": [True, None]}},
        {"from": "a, in=b", "is-near": "c(d=e"},
    ]
    assert answer.answer == "[see (here)]"


def test_object_results_greetings_and_empty_messages_are_read(read: Read, write_lines: WriteLines) -> None:
    hello, empty = {"role": "assistant", "content": "Hello!"}, {"role": "assistant", "content": "", "tool_calls": []}
    record = dialogue(CALLED, {**RESULT, "content": {"sum": 4, "ok": True}}, empty, ANSWER)
    record["messages"].insert(0, hello)
    (example,), tally = read("openai_messages", write_lines([record]))
    step, answer = example.trajectory.turns[0].steps
    assert list_results(step) == [({"a": 2}, '{"sum":4,"ok":true}')]
    assert answer.answer == "It is 4."
    assert tally.repaired["message before the first request removed"] == 1
    assert tally.repaired["assistant message without text or call removed"] == 1


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": [USER, CALLED, RESULT], "completion": [ANSWER], "tools": TOOLS},
        dialogue(None, CALLED, RESULT, {"role": "assistant", "content": None, "refusal": "It is 4."}),  # type: ignore[arg-type]
        dialogue(
            CALLED, {"role": "ipython", "content": "4", "name": float("nan")}, {"role": "bot", "content": "It is 4."}
        ),
        dialogue(CALLED, RESULT, ANSWER, tools=[*TOOLS, {"type": "web_search"}], functions=float("nan")),
        dialogue(
            CALLED, RESULT, {**ANSWER, "function_call": NULLS, "tool_calls": [{"id": None, "function": NULLS}, None]}
        ),
        dialogue(CALLED, RESULT, ANSWER, tools=[*TOOLS, {"type": None, "function": NULLS}]),
    ],
)
def test_rows_of_other_programs_read_the_same(read: Read, write_lines: WriteLines, record: dict[str, Any]) -> None:
    assert read_steps(read, write_lines, record) == read_steps(read, write_lines, dialogue(CALLED, RESULT, ANSWER))


@pytest.mark.parametrize("value", [10**30, json.loads('{"a":' * 60 + "1" + "}" * 60)])
def test_what_no_caller_can_write_is_not_trained(read: Read, write_lines: WriteLines, value: Any) -> None:
    function = {"name": "add", "arguments": {"a": value}}
    record = dialogue(CALLED, RESULT, {**CALLED, "tool_calls": [{**CALL, "function": function}]}, RESULT, ANSWER)
    (example,), tally = read("openai_messages", write_lines([record]))
    assert list_results(*example.trajectory.turns[0].steps) == [({"a": 2}, "4")]
    assert tally.repaired["trajectory cut before a call with arguments that no caller can write"] == 1


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"tools": TOOLS}, "no 'messages' list"),
        (dialogue({"role": "narrator", "content": "…"}), "unknown role 'narrator'"),
        (dialogue({"role": "tool", "tool_call_id": "c9", "content": "4"}), "answers no call"),
        (dialogue(tools=[{"description": "?"}]), "Not a tool"),
        (dialogue(tools=[{"name": "f", "parameters": ["a"]}]), "must be a JSON Schema, not list"),
    ],
)
def test_openai_wrong_row_is_named_and_left_out(
    read: Read, write_lines: WriteLines, record: dict[str, Any], message: str
) -> None:
    good = dialogue(ANSWER)
    path = write_lines([good, record, good | {"id": 3}])
    with pytest.raises(TrajectoryError, match=f"records\\.jsonl:2: .*{message}"):
        read("openai_messages", path)
    kept, tally = read("openai_messages", path, is_lenient=True)
    assert len(kept) == 2
    assert tally.dropped == {"record that cannot be read": 1}


def test_calls_keep_their_own_ids(read: Read, write_lines: WriteLines) -> None:
    two = {"role": "assistant", "tool_calls": [{**CALL, "id": ""}, {**CALL, "id": "call_1"}, CALL]}
    (step,) = read_steps(read, write_lines, dialogue(two))
    assert [type(call) for call in step.calls] == [Call] * 3
    assert len({call.id for call in step.calls}) == 3


def test_calls_and_results_in_blocks_are_read(read: Read, write_lines: WriteLines) -> None:
    use = {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 2}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "4"}]}
    called = {"role": "assistant", "content": [{"type": "text", "text": "I add."}, use]}
    steps = read_steps(read, write_lines, dialogue(called, {"role": "user", "content": [result]}, ANSWER))
    assert (steps[0].rationale, list_results(*steps), steps[1].answer) == ("I add.", [({"a": 2}, "4")], "It is 4.")


@pytest.mark.parametrize("key", ["tool_name", "recipient_name"])
def test_calls_may_name_their_tool_in_other_keys(read: Read, write_lines: WriteLines, key: str) -> None:
    call = {key: "functions.add", "parameters": {"a": 2}}
    steps = read_steps(read, write_lines, dialogue({**CALLED, "tool_calls": [call]}, RESULT, ANSWER))
    assert list_results(*steps) == [({"a": 2}, "4")]
