"""Instruct models that were not trained for the roles get general prompts in their own chat template."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from transformers import AutoTokenizer

from alpha_umi import create_umi_agent
from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.parsing import parse_calls, parse_plan
from alpha_umi.nodes.format.render import load_template
from alpha_umi.nodes.format.response import read_response_format
from alpha_umi.nodes.format.trajectory import Call, Observation, Role, Step, Trajectory, Turn
from alpha_umi.nodes.format.zero_shot import as_chat_message, encode_chat, join_system
from alpha_umi.nodes.models.engine import EngineName
from alpha_umi.nodes.models.engine.tokenizer import Tokenizer
from alpha_umi.nodes.models.local import LocalChatModel
from alpha_umi.nodes.models.request import is_role_aware, make_request
from alpha_umi.nodes.models.specs import load_model
from alpha_umi.tools.spec import ToolSpec

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN3 = CHATML.replace(
    "assistant\n{% endif", "assistant\n{% if enable_thinking is false %}<think>\n\n{% endif %}{% endif"
)
LLAMA = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}<|start_header_id|>assistant<|end_header_id|>\n\n"
)
GEMMA = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{{ bos_token }}"
    "{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content }}<end_of_turn>\n{% endfor %}<start_of_turn>model\n"
)
TEMPLATES = {"chatml": CHATML, "qwen3": QWEN3, "llama": LLAMA, "gemma": GEMMA}
ADD = ToolSpec("add", "Adds.", {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
DONE = Turn("Hello <|im_end|>", (Step("", "conclusion", answer="Hi."),))
STEP = Step("I add.", "caller", (Call("1", "add", {"a": 2}, Observation("<|im_start|>planner\n5")),))
TRAJECTORY = Trajectory((ADD,), (DONE, Turn("2 + 3?", (STEP,))), system="Be brief.")
ENGINES: tuple[EngineName, ...] = ("torch", "llamacpp")

MakeModel = Callable[..., Path]


@pytest.fixture(scope="module")
def instruct(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeModel:
    """Return a function that gives a tiny model with a chat template, in its configuration or in a file."""

    def make(template: str | None, *, in_file: bool = False) -> Path:
        folder = Path(shutil.copytree(model_folder, tmp_path_factory.mktemp("instruct") / "model"))
        (folder / "chat_template.jinja").unlink(missing_ok=True)
        config = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
        config.pop("chat_template", None)
        if in_file and template:
            (folder / "chat_template.jinja").write_text(template, "utf-8")
        elif template:
            config["chat_template"] = template
        (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
        return folder

    return make


def load(folder: Path, role: Role = "planner", **options: Any) -> LocalChatModel:
    settings: dict[str, Any] = {"engine": "torch", "device": "cpu", "dtype": "float32", "max_tokens": 60}
    model = load_model(f"hf:{folder}", role, **{**settings, **options})
    assert isinstance(model, LocalChatModel)
    return model


def ask(model: LocalChatModel, role: Role) -> str:
    request = make_request(model, role, TRAJECTORY, temperature=0.0)
    return model.invoke(request.messages, **request.kwargs).text


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize("name", TEMPLATES)
def test_prompts_are_those_of_the_models_own_chat_template(instruct: MakeModel, name: str, *, in_file: bool) -> None:
    folder = instruct(TEMPLATES[name], in_file=in_file)
    model = load(folder)
    assert not is_role_aware(model)
    request = make_request(model, "planner", TRAJECTORY, temperature=0.0)
    messages = [as_chat_message(message) for message in request.messages]
    rows: list[Any] = [{"role": message.role, "content": message.text} for message in messages]
    assert [row["role"] for row in rows] == ["system", "user", "assistant", "user"]
    assert '"name": "add"' in rows[0]["content"]
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    expected = tokenizer.apply_chat_template(
        join_system(rows) if name == "gemma" else rows,
        add_generation_prompt=True,
        enable_thinking=False,
        return_dict=False,
    )
    assert encode_chat(messages, Tokenizer(folder), TEMPLATES[name]) == expected
    assert model.measure(request).n_tokens == len(expected)
    usage = model.invoke(request.messages, **request.kwargs).usage_metadata
    assert usage is not None
    assert usage["input_tokens"] == len(expected)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("constrained", [True, False])
def test_replies_obey_the_grammars(instruct: MakeModel, engine: EngineName, *, constrained: bool) -> None:
    if engine == "llamacpp":
        pytest.importorskip("xllamacpp", reason="needs the extra llamacpp")
    options: dict[str, Any] = {"engine": engine, "constrained": constrained, "max_rationale_tokens": 10}
    if engine == "llamacpp":
        options |= {"device": "auto", "dtype": "f16"}
    model = load(instruct(CHATML), **options)
    assert (parse_plan(ask(model, "planner")).decision is not None) is constrained
    (call, *_) = parse_calls(ask(model, "caller"))
    assert (call.fault is None and call.name == "add" and isinstance(call.arguments["a"], int)) is constrained  # type: ignore[index]


def test_the_agent_runs_on_it(instruct: MakeModel) -> None:
    agent = create_umi_agent(load(instruct(GEMMA), max_rationale_tokens=10), ["builtin:calculator"], approvals=False)
    assert agent.invoke({"messages": [HumanMessage("2 + 3?")]})["finish"]


def test_tools_that_are_bound_are_called(instruct: MakeModel) -> None:
    model = LocalChatModel(model=str(instruct(CHATML)), prompts="general", engine="torch", max_tokens=60)
    (call,) = model.bind_tools([ADD.to_openai()]).invoke("2 + 3?").tool_calls
    assert call["name"] == "add"


def test_an_answer_is_held_to_its_format(instruct: MakeModel) -> None:
    form = read_response_format(
        {"title": "A", "type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    )
    model = load(instruct(CHATML), "summarizer")
    request = make_request(model, "summarizer", TRAJECTORY, temperature=0.0, response_format=form)
    assert json.loads(model.invoke(request.messages, **request.kwargs).text).keys() == {"ok"}


@pytest.mark.parametrize("template", [None, load_template("umi"), load_template("repeat_names") + load_template("umi")])
def test_a_model_without_a_template_of_its_own_gets_role_messages(instruct: MakeModel, template: str | None) -> None:
    assert is_role_aware(load(instruct(template)))


def test_a_model_that_is_not_here_yet_says_so_at_its_first_call() -> None:
    assert is_role_aware(load_model("hf:someone/else", "planner"))


def test_a_template_that_takes_no_conversation_is_an_error_that_says_so(instruct: MakeModel) -> None:
    model = load(instruct("{{ raise_exception('only images') }}"))
    with pytest.raises(ConfigError, match="takes no such conversation: only images"):
        ask(model, "planner")
