from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from langchain_core.messages import ChatMessage
from peft import PeftModel
from transformers import LlamaForCausalLM

from alpha_umi.errors import ConfigError, ModelNotAvailable
from alpha_umi.nodes.format.render import encode_prompt, load_template
from alpha_umi.nodes.models.engine.fit import quiet_peft
from alpha_umi.nodes.models.engine.pytorch.backbone import TorchBackbone
from alpha_umi.nodes.models.engine.scheduler import close_engines, get_engine
from tests.nodes.models.conftest import Write, Written, generate_reference

Copy = Callable[[str], Path]
PROMPT = [1, 60, 61, 62, 63]
CPU = torch.device("cpu")


def generate(write: Write, backbone: TorchBackbone, adapter: str | None, n: int = 24) -> list[int]:
    order = Written(PROMPT, adapter, n)
    write(backbone, [order])
    return order.ids


def test_each_adapter_has_its_own_words(model_folder: Path, backbone: TorchBackbone, write: Write) -> None:
    base = LlamaForCausalLM.from_pretrained(model_folder)
    expected: dict[str | None, list[int]] = {None: generate_reference(base, PROMPT, 24)}
    for name in ("one", "two"):
        with quiet_peft():
            alone = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(model_folder), str(model_folder / name))
        expected[name] = generate_reference(alone, PROMPT, 24)
    assert len({tuple(ids) for ids in expected.values()}) == 3
    for adapter in (None, "one", None, "two", "one", str(model_folder / "two"), None):
        key = Path(adapter).name if adapter else None
        assert generate(write, backbone, adapter) == expected[key], adapter


def test_use_of_a_missing_adapter_lists_those_there_are(backbone: TorchBackbone) -> None:
    with pytest.raises(ConfigError, match=r"no adapter 'three'.*one, planner, two"):
        backbone.find_adapter("three", "planner")


def test_use_of_an_adapter_of_another_model_leaves_the_base_unharmed(
    backbone: TorchBackbone, model_folder: Path, tmp_path: Path, write: Write
) -> None:
    before = generate(write, backbone, None), generate(write, backbone, "one")
    bad = tmp_path / "bad"
    bad.mkdir()
    config = json.loads((model_folder / "one" / "adapter_config.json").read_text())
    (bad / "adapter_config.json").write_text(json.dumps(config | {"r": 8}))
    (bad / "adapter_model.safetensors").write_bytes((model_folder / "one" / "adapter_model.safetensors").read_bytes())
    with pytest.raises(ConfigError, match=r"lora_A\.weight is"):
        backbone.find_adapter(str(bad), "planner")
    assert (generate(write, backbone, None), generate(write, backbone, "one")) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peft_type": "IA3"}, "no LoRA adapter"),
    ],
)
def test_use_refuses_other_kinds_of_adapters(
    backbone: TorchBackbone, model_folder: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    config = json.loads((model_folder / "one" / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | change))
    with pytest.raises(ConfigError, match=r"no adapter_model\.safetensors"):
        backbone.find_adapter(str(tmp_path), "planner")
    (tmp_path / "adapter_model.safetensors").touch()
    with pytest.raises(ConfigError, match=message):
        backbone.find_adapter(str(tmp_path), "planner")


def load(folder: Path) -> TorchBackbone:
    return TorchBackbone(folder, CPU, torch.float32)


def test_backbone_refuses_what_is_no_model(copy_model: Copy, model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no config\.json"):
        load(tmp_path)
    with pytest.raises(ConfigError, match=r"holds an adapter.*hf:BASE#"):
        load(model_folder / "one")
    folder = copy_model("pickled")
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"\*\.safetensors, the only kind"):
        load(folder)
    folder = copy_model("damaged")
    (folder / "model.safetensors").write_bytes(b"half a file")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        load(folder)
    folder = copy_model("mute")
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ConfigError, match=r"cannot be loaded|fast tokenizer"):
        load(folder)
    folder = copy_model("remote")
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "own", "auto_map": {"AutoConfig": "x.Y"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="cannot be loaded"):
        load(folder)


def test_find_template_of_a_plain_model_is_that_of_the_style(copy_model: Copy) -> None:
    folder = copy_model("plain")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert load(folder).find_template("umi") == load_template("umi")
    assert load(folder).find_template("toolbench") == load_template("toolbench")


def test_find_template_of_a_checkpoint_is_that_of_the_training(copy_model: Copy, model_folder: Path) -> None:
    folder = copy_model("trained")
    own = load_template("umi") + "{# older #}"
    (folder / "chat_template.jinja").write_text(own)
    claim = {"style": "umi", "sha256": hashlib.sha256(own.encode()).hexdigest()}
    (folder / "umi.json").write_text(json.dumps({"template": claim}))
    backbone = load(folder)
    assert backbone.find_template("umi") == own
    with pytest.raises(ConfigError, match="'umi', not 'toolbench'"):
        backbone.find_template("toolbench")
    (folder / "chat_template.jinja").write_text("changed")
    with pytest.raises(ConfigError, match="not the one of the training"):
        backbone.find_template("umi")


def test_find_template_looks_at_the_adapter_first(backbone: TorchBackbone, model_folder: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "checkpoint" / "planner"
    adapter.mkdir(parents=True)
    for file in (model_folder / "one").iterdir():
        (adapter / file.name).write_bytes(file.read_bytes())
    text = load_template("toolbench") + "{# older #}"
    (adapter.parent / "chat_template.jinja").write_text(text)
    claim = {"style": "toolbench", "sha256": hashlib.sha256(text.encode()).hexdigest()}
    (adapter.parent / "umi.json").write_text(json.dumps({"template": claim}))
    assert backbone.find_template("toolbench", str(adapter)) == text
    assert backbone.find_template("toolbench", "one") == load_template("toolbench")


def test_encode_ends_in_the_role(backbone: TorchBackbone) -> None:
    messages = [ChatMessage(role="user", content="Hi")]
    ids = encode_prompt(messages, backbone.tokenizer, load_template("umi"), "caller", ())
    assert backbone.tokenizer.decode(ids) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>caller\n"


def test_eos_ids_and_window_are_read_from_the_model(backbone: TorchBackbone) -> None:
    assert backbone.eos_ids == {2}
    assert backbone.window_tokens == 65_536


def test_get_engine_is_one_per_folder_device_and_type(model_folder: Path) -> None:
    engine = get_engine(str(model_folder), "cpu", "float32")
    assert get_engine(f"{model_folder}/../{model_folder.name}", "cpu", "float32") is engine
    assert get_engine(str(model_folder), "cpu", "bfloat16") is not engine
    assert engine.submit(lambda backbone: backbone.model.dtype).result() == torch.float32


def test_get_engine_refuses_what_it_cannot_do(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"Unknown dtype 'int3'.*'float32'"):
        get_engine(str(model_folder), dtype="int3")
    with pytest.raises(ConfigError, match="Unknown device 'abacus'"):
        get_engine(str(model_folder), device="abacus")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="no CUDA here"):
        get_engine(str(model_folder), device="cuda")
    with pytest.raises(ModelNotAvailable, match="models pull nobody/none"):
        get_engine("nobody/none")


def test_engine_runs_jobs_in_the_order_they_came(model_folder: Path) -> None:
    engine = get_engine(str(model_folder), "cpu", "float32")
    gate, order = threading.Event(), list[int]()
    first = engine.submit(lambda _: gate.wait(60))
    jobs = [engine.submit(lambda _, i=i: order.append(i)) for i in range(20)]  # type: ignore[misc]
    gate.set()
    first.result()
    for job in jobs:
        job.result()
    assert order == list(range(20))


def test_engine_loads_once_and_survives_a_failing_job(model_folder: Path) -> None:
    engine = get_engine(str(model_folder), "cpu", "float32")
    loaded = engine.submit(lambda backbone: backbone).result()

    def fail(_: TorchBackbone) -> None:
        raise ZeroDivisionError

    assert isinstance(engine.submit(fail).exception(), ZeroDivisionError)
    assert engine.submit(lambda backbone: backbone).result() is loaded


def test_close_engines_unloads(model_folder: Path) -> None:
    engine = get_engine(str(model_folder), "cpu", "float32")
    engine.submit(lambda _: None).result()
    close_engines()
    assert get_engine(str(model_folder), "cpu", "float32") is not engine
    with pytest.raises(RuntimeError):
        engine.submit(lambda _: None)
