from pathlib import Path

import pytest

from alpha_umi.errors import ConfigError
from alpha_umi.graph.config import GenerationSettings, LimitSettings, UmiSettings, load_settings
from alpha_umi.nodes.models.specs import OPTIONS
from alpha_umi.nodes.state import UmiContext


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALPHA_UMI_CONFIG", raising=False)


def write(folder: Path, text: str) -> Path:
    path = folder / "umi.yaml"
    path.write_text(text, "utf-8")
    return path


def test_settings_default_to_the_small_local_model_and_offline_tools() -> None:
    settings = load_settings()
    assert settings.models == "hf:smollm2-135m-umi"
    assert settings.tools == ["builtin:calculator", "builtin:calendar", "builtin:convert_units"]
    assert settings.limits.max_steps == UmiContext().max_steps
    assert settings.generation.model_dump(exclude_none=True) == {"temperature": 0.0}


def test_settings_come_from_the_file_given(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "models:\n  planner: hf:a\n  caller: hf:b#c\n  summarizer: openai:d\n"
        "tools: [builtin:calculator]\nlimits: {max_steps: 3}\ngeneration:\n  dtype: float32\n  constrained: false\n",
    )
    settings = load_settings(path)
    assert settings.models == {"planner": "hf:a", "caller": "hf:b#c", "summarizer": "openai:d"}
    assert settings.tools == ["builtin:calculator"]
    assert settings.limits == LimitSettings(max_steps=3)
    assert settings.generation == GenerationSettings(dtype="float32", constrained=False)


def test_settings_come_from_the_file_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPHA_UMI_CONFIG", str(write(tmp_path, "models: scripted:x.yaml\n")))
    assert load_settings().models == "scripted:x.yaml"


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "{}\n", "---\n"])
def test_empty_file_leaves_the_defaults(tmp_path: Path, text: str) -> None:
    assert load_settings(write(tmp_path, text)) == UmiSettings()


def test_environment_wins_over_the_file_setting_by_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPHA_UMI_LIMITS__MAX_STEPS", "5")
    monkeypatch.setenv("ALPHA_UMI_GENERATION__CONSTRAINED", "false")
    monkeypatch.setenv("ALPHA_UMI_MODELS__CALLER", "hf:other")
    monkeypatch.setenv("ALPHA_UMI_TOOLS", "builtin:calendar, my.module:tools")
    path = write(
        tmp_path, "limits: {max_steps: 3, tool_timeout_s: 9}\nmodels: {planner: hf:a, caller: hf:a, summarizer: hf:a}\n"
    )
    settings = load_settings(path)
    assert settings.limits == LimitSettings(max_steps=5, tool_timeout_s=9)
    assert settings.generation.constrained is False
    assert settings.models == {"planner": "hf:a", "caller": "hf:other", "summarizer": "hf:a"}
    assert settings.tools == ["builtin:calendar", "my.module:tools"]


def test_one_spec_in_the_environment_replaces_a_spec_per_role(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPHA_UMI_MODELS", "openai:gpt@http://localhost:1/v1")
    path = write(tmp_path, "models: {planner: hf:a, caller: hf:a, summarizer: hf:a}\n")
    assert load_settings(path).models == "openai:gpt@http://localhost:1/v1"


def test_other_variables_of_the_project_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPHA_UMI_CACHE", "/somewhere")
    assert load_settings().models == "hf:smollm2-135m-umi"


def test_every_generation_setting_is_one_a_model_takes() -> None:
    assert set(GenerationSettings.model_fields) <= OPTIONS


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("limits:\n  max_stepz: 3\n", ["line 2", "limits.max_stepz", "max_steps, tool_timeout_s"]),
        ("tools: []\nmodel: hf:x\n", ["line 2", "model:", "models, tools, checkpointer, isolation, remote"]),
        ("limits:\n\n  max_steps: 0\n", ["line 3", "limits.max_steps", "greater than or equal to 1"]),
        ("limits: {max_steps: many}\n", ["line 1", "limits.max_steps", "integer"]),
        ("limits: 7\n", ["line 1", "limits"]),
        ("generation:\n  dtype: int3\n", ["line 2", "generation.dtype", "'q4_0', 'f16' or 'f32'"]),
        ("generation: {temperature: 3}\n", ["generation.temperature", "less than or equal to 2"]),
        ("models:\n  planner: hf:a\n  cook: hf:a\n", ["line 3", "models.cook", "'planner', 'caller' or 'summarizer'"]),
        ("models:\n  planner: 3\n", ["line 2", "models.planner", "string"]),
        ("models: [1]\n", ["line 1", "models", "string"]),
        ("tools:\n  - builtin:calculator\n  - {a: b}\n", ["line 3", "tools.1", "string"]),
        ("1: 2\n", ["line 1", "1: no such setting"]),
        ("approve_tools:\n- {tool: x}\n- {tools: x}\n", ["line 3", "approve_tools.1.tools", "tool, source, effects"]),
        ("approve_tools:\n- ask: when\n", ["line 2", "approve_tools.0", "JSON Schema"]),
        ("isolation:\n  run:\n    memory: 1\n", ["line 3", "isolation.run.memory", "memory_mb, seconds"]),
        ("approve_tools: sometimes\n", ["line 1", "approve_tools", "boolean"]),
        ("- models\n", ["line 1", "models, tools, checkpointer, isolation, remote"]),
        ("just text\n", ["line 1", "models, tools, checkpointer, isolation, remote"]),
        ("limits: {max_steps: 3\n", ["not valid YAML", "line 2"]),
        ("models: !!python/object:os.system x\n", ["not valid YAML", "line 1"]),
        ("models: 2020-99-99\n", ["not valid YAML"]),
    ],
)
def test_broken_file_is_refused_with_its_place_and_what_is_allowed(tmp_path: Path, text: str, parts: list[str]) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    for part in [str(path), *parts]:
        assert part in str(caught.value)


def test_all_faults_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(write(tmp_path, "limits: {max_steps: 0}\ngeneration: {seed: -1}\nfoo: bar\n"))
    assert len(str(caught.value).splitlines()) == 4


def test_unreadable_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "umi.yaml"
    path.write_bytes(b"models: \xff\xfe\x00")
    with pytest.raises(ConfigError, match="no UTF-8 text"):
        load_settings(path)


def test_missing_file_is_refused_with_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPHA_UMI_CONFIG", str(tmp_path / "none.yaml"))
    with pytest.raises(ConfigError, match=r"none\.yaml.*No such file.*ALPHA_UMI_CONFIG"):
        load_settings()
    with pytest.raises(ConfigError, match="cannot be read"):
        load_settings(tmp_path)


@pytest.mark.parametrize(
    ("variable", "value", "part"),
    [
        ("ALPHA_UMI_LIMITS__MAX_STEPS", "x", "Variable ALPHA_UMI_LIMITS__MAX_STEPS: limits.max_steps"),
        ("ALPHA_UMI_LIMITS__MAX_STEPZ", "3", "settings here are max_steps"),
        ("ALPHA_UMI_LIMITS", '{"max_steps": 0}', "Variable ALPHA_UMI_LIMITS: limits.max_steps"),
        ("ALPHA_UMI_LIMITS", "{broken", "not valid JSON"),
        ("ALPHA_UMI_MODELS__COOK", "hf:a", "Variable ALPHA_UMI_MODELS__COOK"),
    ],
)
def test_broken_variable_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, part: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert part in str(caught.value)
