"""One valid file of each data source, as lists of records, for the fuzzer to spoil."""

from __future__ import annotations

import json
from typing import Any

_ARGUMENTS = {"type": "object", "properties": {"town": {"type": "string", "description": "Where", "enum": ["Graz"]}}}
_FUNCTION = {"name": "find", "description": "Finds.", "parameters": _ARGUMENTS}
_CALL = {"name": "find", "arguments": '{"town": "Graz"}'}
_FINISH = {"name": "Finish", "arguments": '{"return_type": "give_answer", "final_answer": "South."}'}
_PET = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string", "example": "Rex"}}}
_OPENAPI = {
    "paths": {
        "/pets/{id}": {
            "get": {
                "description": "Gets a pet.",
                "parameters": [
                    {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}},
                    {"$ref": "#/components/parameters/Lang"},
                ],
            },
            "post": {
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}}
            },
        },
    },
    "components": {
        "parameters": {
            "Lang": {"name": "lang", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}}
        },
        "schemas": {"Pet": _PET},
        "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-Key"}},
    },
}
OPENAPI = {
    "openapi": "3.0.1",
    "servers": [{"url": "https://{h}.example", "variables": {"h": {"default": "a"}}}],
} | _OPENAPI
TRAJECTORY = {
    "system": "",
    "tools": [_FUNCTION],
    "turns": [
        {
            "instruction": "Where is Graz?",
            "steps": [
                {
                    "rationale": "I look.",
                    "decision": "caller",
                    "calls": [
                        {
                            "id": "1",
                            "name": "find",
                            "arguments": {"town": "Graz"},
                            "observation": {"text": "South", "is_error": False},
                        },
                        {"id": "2", "name": "find", "arguments": "{"},
                    ],
                },
                {"rationale": "Found.", "decision": "conclusion", "answer": "South."},
            ],
        }
    ],
}
MESSAGES = [
    {"type": "system", "content": "Be brief."},
    {"type": "human", "content": "Where?"},
    {
        "type": "ai",
        "content": [{"type": "reasoning", "reasoning": "I look."}, {"type": "text", "text": "So."}],
        "tool_calls": [{"name": "find", "args": {"town": "Graz"}, "id": "1", "type": "tool_call"}],
        "additional_kwargs": {"decision": "caller"},
    },
    {"type": "tool", "content": "South", "tool_call_id": "1", "name": "find", "status": "success"},
    {"type": "ai", "content": "South."},
]
TOOLBENCH_API = {
    "category_name": "Travel",
    "tool_name": "Towns",
    "api_name": "find",
    "api_description": "Finds.",
    "required_parameters": [{"name": "town", "type": "STRING", "description": "Where", "default": "Graz"}],
    "optional_parameters": [{"name": "n", "type": "NUMBER", "description": "", "default": ""}],
    "method": "GET",
}

READERS: dict[str, list[Any]] = {
    "alpha_umi": [
        {
            "tools": [{"Name": "find", "function": "Finds.", "input": {"town": "string, where", "n": "integer"}}],
            "instruction": "Where?",
            "conversations": [
                {"from": "user", "value": "Where?"},
                {"from": "assistant", "value": "I look.\n Next: caller."},
                {"from": "caller", "value": 'Action: find\nAction Input: {"town": "Graz"}'},
                {"from": "observation", "value": "South."},
                {"from": "assistant", "value": "Found. Next: conclusion."},
                {"from": "conclusion", "value": "In the south."},
            ],
        }
    ],
    "complexfuncbench": [
        {"specs": [{"name": "find", "description": "", "parameters": {"town": {"type": "string", "required": True}}}]},
        {
            "id": 7,
            "input": "Where?",
            "tools": ["find"],
            "calls": [
                {"name": "find", "arguments": {"town": "Graz"}, "label": "var1", "response": [{"id": "12"}]},
                {"name": "find", "arguments": {"town": "$var1.id$"}, "label": "var2", "response": '{"a": [1, {"b'},
            ],
        },
    ],
    "fireact": [
        {
            "instruction": "When?",
            "output": "Thought: I look.\nAction: search[bridge]\nObservation: In 1900.\nThought: So.\n"
            "Action: finish[1900]\nObservation: Episode finished, reward = True\n",
        }
    ],
    "gsm8k": [{"question": "What is half of 12?", "answer": "It is 12/2 = $<<12/2=6>>6 pears.\n#### 6"}],
    "openai_messages": [
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Where?"}]},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "1", "type": "function", "function": _CALL}],
                },
                {"role": "tool", "tool_call_id": "1", "content": "South"},
                {"role": "assistant", "content": "South.", "reasoning_content": "Found."},
            ],
            "tools": [{"type": "function", "function": _FUNCTION}],
        },
        {
            "messages": [
                {"role": "user", "content": "Where?"},
                {"role": "assistant", "content": "I look.", "function_call": _CALL},
                {"role": "function", "name": "find", "content": "South"},
            ],
            "functions": [_FUNCTION],
        },
        {
            "conversations": [
                {"from": "system", "value": "<tools>[{'name': 'find', 'parameters': {'town': 'str'}}]</tools>"},
                {"from": "human", "value": "Where?"},
                {"from": "gpt", "value": "<tool_call>{'name': 'find', 'arguments': {'town': 'Graz'}}</tool_call>"},
                {"from": "tool", "value": '<tool_response>{"name": "find", "content": 1}</tool_response>'},
                {"from": "gpt", "value": '[find(town="Linz")]'},
                {"from": "observation", "value": '[{"name": "find", "results": 1}]'},
            ],
        },
        {"query": "Where?", "tools": json.dumps([_FUNCTION]), "answers": json.dumps([_CALL])},
    ],
    "own": [
        {"id": "1", "source": "own", "split": "train", "trajectory": TRAJECTORY},
        {"messages": MESSAGES, "tools": [_FUNCTION]},
    ],
    "sealtools": [
        {
            "id": "dev-1",
            "query": "Plant rye.",
            "calling": [{"api": "plant", "parameters": {"crop": "rye", "n": "3"}, "responses": ["API_call_0"]}],
        }
    ],
    "toolalpaca": [
        {
            "Name": "Pets",
            "Documentation": json.dumps(_OPENAPI),
            "Function_Projection": {"getPet": ["/pets/{id}", "get"], "addPet": ["/pets/{id}", "post"]},
            "Function_Description": {"getPet": "Gets.", "components": ""},
            "Instances": [
                {
                    "input": "Who is pet 3?",
                    "output": "Rex.",
                    "Final Thought": "",
                    "intermediate_steps": [
                        [
                            ["getPet", '{"id": "3"}', ' I look.\nAction: getPet\nAction Input: {"id": 3}'],
                            "Status Code: 200.",
                        ]
                    ],
                }
            ],
            "Golden_Answers": [[{"Action": "getPet", "Action_Input": '{"id": 3}'}]],
            "Instructions": ["Who is pet 3?"],
        }
    ],
    "toolbench": [
        {
            "answer_generation": {
                "query": "Where?",
                "function": [_FUNCTION, {"name": "Finish", "description": "", "parameters": {}}],
                "train_messages": [
                    [
                        {"role": "system", "content": "…"},
                        {"role": "user", "content": "Where?"},
                        {"role": "assistant", "content": "I look.", "function_call": _CALL},
                        {"role": "function", "name": "find", "content": '{"error": "", "response": "South"}'},
                        {"role": "assistant", "content": "Found.", "function_call": _FINISH},
                    ]
                ],
            }
        }
    ],
    "toolrl": [
        {
            "instruction": "Tools:\n1. Name: find\nDescription: Finds.\nParameters: "
            '{"town": {"description": "Where", "type": "string, optional", "default": ""}}\n\n**Steps**',
            "input": "**Dialogue Records History**\n<user> Where? </user>\n",
            "output": "<think> I look. </think>\n<tool_call>\n"
            '{"name": "find", "parameters": {"town": "Graz"}}\n</tool_call>',
        }
    ],
}
SEALTOOLS_CATALOGUE = [
    {
        "api_name": name,
        "api_description": "Plants.",
        "field": "Farming",
        "parameters": {"crop": {"type": "str", "description": "Which"}, "n": {"type": "int", "description": ""}},
        "required": ["crop"],
        "responses": {"report": {"type": "str", "description": ""}},
    }
    for name in ("plant", *(f"farm{i}" for i in range(9)))
]
