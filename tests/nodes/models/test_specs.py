from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.language_models.fake import FakeListLLM
from langchain_openai import ChatOpenAI

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.trajectory import ROLES
from alpha_umi.nodes.models.local import LocalChatModel
from alpha_umi.nodes.models.openai import CompletionChatModel
from alpha_umi.nodes.models.request import is_role_aware
from alpha_umi.nodes.models.scripted import ScriptedChatModel
from alpha_umi.nodes.models.specs import SCHEMES, load_model, load_models

URL = "http://127.0.0.1:1/v1"
ALL_LOCAL: dict[str, Any] = dict.fromkeys(ROLES, "hf:x")


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "demo.yaml"
    path.write_text("planner: [a]\ncaller: [b]\nsummarizer: [c]\n", "utf-8")
    return f"scripted:{path}"


@pytest.mark.parametrize(
    ("spec", "model", "adapter"),
    [
        ("hf:smollm2-135m", "smollm2-135m", None),
        ("hf:/some/folder", "/some/folder", None),
        ("hf:org/name#caller", "org/name", "caller"),
        ("hf:C:\\models\\x#/elsewhere/adapter", "C:\\models\\x", "/elsewhere/adapter"),
    ],
)
def test_local_spec_names_model_and_adapter_and_loads_nothing(spec: str, model: str, adapter: str | None) -> None:
    loaded = load_model(spec, "caller", temperature=0.5, max_tokens=7, dtype="float32", device="cpu")
    assert isinstance(loaded, LocalChatModel)
    assert (loaded.model, loaded.adapter, loaded.role) == (model, adapter, "caller")
    assert (loaded.temperature, loaded.max_tokens, loaded.dtype, loaded.device) == (0.5, 7, "float32", "cpu")


@pytest.mark.parametrize("spec", ["openai:org/name@main@" + URL, "umi-server:org/name@main@" + URL])
def test_server_spec_names_model_and_url(spec: str) -> None:
    loaded = load_model(spec, "planner", temperature=0.0, max_tokens=7, constrained=True, device="cpu")
    assert isinstance(loaded, ChatOpenAI)
    assert (loaded.model_name, loaded.openai_api_base, loaded.max_tokens) == ("org/name@main", URL, 7)
    assert is_role_aware(loaded) == spec.startswith("umi-server")


@pytest.mark.parametrize(
    ("spec", "field", "expected"),
    [
        ("hf:base#ckpt/{role}", "adapter", "ckpt/summarizer"),
        ("hf:ckpt/{role}", "model", "ckpt/summarizer"),
        (f"umi-server:umi-{{role}}@{URL}", "model_name", "umi-summarizer"),
    ],
)
def test_role_in_a_spec_becomes_the_role(spec: str, field: str, expected: str) -> None:
    assert getattr(load_models(spec)["summarizer"], field) == expected


@pytest.mark.parametrize("spec", ["hf:x", f"umi-server:x@{URL}"])
def test_setting_of_wrong_type_or_range_is_refused_by_name(spec: str) -> None:
    with pytest.raises(ConfigError, match=r"max_tokens|max_completion_tokens"):
        load_model(spec, "planner", max_tokens="many")


def test_openai_spec_without_url_is_openai_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    loaded = load_model("openai:gpt-4.1-mini", "planner")
    assert isinstance(loaded, ChatOpenAI)
    assert (loaded.model_name, loaded.root_client.base_url.host) == ("gpt-4.1-mini", "api.openai.com")


def test_scripted_spec_plays_the_role_it_was_loaded_for(script: str) -> None:
    assert load_model(script, "caller", temperature=0.0).invoke("?").text == "b"


@pytest.mark.parametrize(
    "spec", ["", "smollm2-135m", "hf:", "HF:x", "gguf:x", "openai", ":x", "/a/path", "http://x/v1"]
)
def test_unknown_spec_is_refused_with_every_known_one(spec: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_model(spec, "planner")
    assert repr(spec) in str(caught.value)
    for scheme in SCHEMES.values():
        assert scheme.example in str(caught.value)


@pytest.mark.parametrize("spec", ["umi-server:model", "umi-server:model@localhost:8000", "umi-server:@http://x"])
def test_umi_server_spec_without_url_is_refused(spec: str) -> None:
    with pytest.raises(ConfigError, match="umi-server:MODEL@http"):
        load_model(spec, "planner")


@pytest.mark.parametrize("options", [{"temprature": 1.0}, {"max_steps": 3}])
def test_unknown_setting_is_refused_with_the_known_ones(options: dict[str, Any], script: str) -> None:
    with pytest.raises(ConfigError, match=r"Unknown generation setting.*max_rationale_tokens"):
        load_model(script, "planner", **options)


def test_missing_script_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        load_model("scripted:nowhere.yaml", "planner")


def test_one_spec_serves_all_roles_each_with_its_own() -> None:
    loaded = load_models("hf:smollm2-135m", temperature=0.0)
    assert list(loaded) == list(ROLES)
    assert [getattr(model, "role", None) for model in loaded.values()] == list(ROLES)


def test_one_model_serves_all_roles() -> None:
    model = ScriptedChatModel(script=["x"])
    assert all(loaded is model for loaded in load_models(model).values())


def test_roles_may_mix_specs_and_models(script: str) -> None:
    foreign = FakeListChatModel(responses=["x"])
    loaded = load_models({"summarizer": foreign, "planner": "hf:smollm2-135m", "caller": script})
    assert list(loaded) == list(ROLES)
    assert loaded["summarizer"] is foreign
    assert isinstance(loaded["planner"], LocalChatModel)
    assert isinstance(loaded["caller"], ScriptedChatModel)


def test_models_loaded_once_pass_through_again() -> None:
    loaded = load_models("hf:smollm2-135m")
    assert load_models(loaded) == loaded


def test_completion_llm_is_wrapped() -> None:
    llm: Any = FakeListLLM(responses=["x"])
    assert isinstance(load_models(llm)["planner"], CompletionChatModel)


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ({"planner": "hf:x"}, "no model for caller, summarizer; give one for each of planner, caller, summarizer"),
        ({}, "no model for planner, caller, summarizer"),
        ({**ALL_LOCAL, "cook": "hf:x"}, "unknown role cook"),
        ({**ALL_LOCAL, "caller": "nope"}, "'nope' is not understood"),
        ({**ALL_LOCAL, "caller": None}, "A NoneType cannot play a role"),
        (7, "A int cannot play a role"),
    ],
)
def test_wrong_models_are_refused(specs: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_models(specs)
