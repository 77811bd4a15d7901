"""llama.cpp's own server plays the roles of an exported checkpoint, each under its adapter and within its grammar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.parsing import parse_calls, parse_plan
from alpha_umi.nodes.format.trajectory import ROLES, Role
from alpha_umi.nodes.models.local import LocalChatModel
from alpha_umi.nodes.models.openai import make_openai, make_umi_server
from alpha_umi.nodes.models.request import make_request
from alpha_umi.training.export.gguf import export_gguf
from tests.llama_server import serve
from tests.training.conftest import ADD, CITY, make_trajectory

N_TOKENS = 40
OFFERED = (ADD.name, CITY.name)


@pytest.fixture(scope="module")
def checkpoint(trained: Callable[..., tuple[Path, Any, list[Any]]]) -> Path:
    return trained()[0]


@pytest.fixture(scope="module")
def url(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    backbone, *adapters = export_gguf(checkpoint, tmp_path_factory.mktemp("served") / "gguf", quantization="f32")
    with serve(backbone, adapters[::-1]) as client:
        yield f"{client.base_url}/v1"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


def ask(model: Any, role: Role, **settings: Any) -> str:
    request = make_request(model, role, make_trajectory(2), temperature=settings.pop("temperature", 0.0))
    texts: set[str] = {
        model.invoke(request.messages, **request.kwargs, **settings).text,
        "".join(chunk.text for chunk in model.stream(request.messages, **request.kwargs, **settings)),
    }
    assert len(texts) == 1
    return texts.pop()


@pytest.mark.parametrize("role", ROLES)
def test_each_role_writes_with_its_adapter_what_the_engine_writes(url: str, checkpoint: Path, role: Role) -> None:
    options: dict[str, Any] = {"constrained": False, "max_tokens": N_TOKENS}
    local = LocalChatModel(model=str(checkpoint), engine="torch", device="cpu", dtype="float32", **options)
    for _ in range(2):  # what is cached from the others must not show
        assert ask(make_umi_server(role, role, options, base_url=url), role) == ask(local, role) != ""


def test_a_server_without_an_adapter_of_that_name_is_refused(url: str) -> None:
    model = make_umi_server("mine", "planner", {}, base_url=url)
    with pytest.raises(ConfigError, match=r"adapters summarizer, caller, planner.*'\{role\}', before the @"):
        ask(model, "planner")


@pytest.mark.parametrize("constrained", [True, False])
def test_a_planner_decides_and_ends(url: str, tokenizer: PreTrainedTokenizerFast, *, constrained: bool) -> None:
    ids: Any = tokenizer.convert_tokens_to_ids(["Next", ":"])
    options = {"constrained": constrained, "max_tokens": N_TOKENS, "seed": 1}
    model = make_umi_server("planner", "planner", options, base_url=url)
    text = ask(model, "planner", temperature=1.0, logit_bias=dict.fromkeys(map(str, ids), 60))
    assert (parse_plan(text).decision is not None) is constrained
    assert text.endswith((" caller.", " conclusion.", " give up.")) is constrained


@pytest.mark.parametrize("constrained", [True, False])
def test_a_caller_calls_an_offered_tool_with_values_of_its_types(url: str, *, constrained: bool) -> None:
    options = {"constrained": constrained, "max_tokens": N_TOKENS}
    model: Any = make_umi_server("caller", "caller", options, base_url=url)
    text = ask(model, "caller", logit_bias={})
    calls = parse_calls(text)
    is_right = calls[0].fault is None and calls[0].name in OFFERED
    assert is_right is constrained


def test_general_prompts_are_held_to_the_grammars_too(url: str) -> None:
    model = make_openai("any", {"max_tokens": N_TOKENS, "temperature": 0.0}, base_url=url)
    only_planner: Any = {"extra_body": {"lora": [{"id": 2, "scale": 1.0}]}}
    text = ask(model, "caller", **only_planner)
    assert parse_calls(text)[0].name in OFFERED
