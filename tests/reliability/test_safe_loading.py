from __future__ import annotations

import ast
import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.trajectory import ROLES
from alpha_umi.nodes.models.engine.checkpoint import (
    FORMAT,
    CheckpointPart,
    hash_file,
    hash_weights,
    load_merged,
    merge_adapter,
    read_checkpoint,
    resolve_base,
)
from alpha_umi.nodes.models.engine.fit import quiet_peft
from alpha_umi.nodes.models.engine.pytorch.backbone import TorchBackbone

ROOT = Path(__file__).parents[2]
FOLDERS = ("graph", "nodes", "tools", "training", "src/alpha_umi")
Names = dict[str, str]


class Trap:
    """What a pickle file can do to who reads it."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return pytest.fail, ("a pickle was read",)


def make_model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    return LlamaForCausalLM(LlamaConfig.from_dict({"vocab_size": 512, **sizes}))


@pytest.fixture
def model(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    folder = tmp_path / "model"
    make_model().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    config = LoraConfig(r=2, target_modules=["q_proj"])
    with quiet_peft():
        adapted = get_peft_model(make_model(), config)
    config.alora_invocation_tokens = [1, 2]
    adapted.save_pretrained(str(tmp_path / "adapter"))
    return tmp_path / "adapter"


def set_trap(folder: Path) -> None:
    """Put pickles where the weights were, under every name that libraries look for."""
    for file in folder.glob("*.safetensors"):
        file.unlink()
    for name in ("pytorch_model.bin", "adapter_model.bin", "model.pt"):
        torch.save({"weight": Trap()}, folder / name)


def load(folder: Path) -> TorchBackbone:
    return TorchBackbone(folder, torch.device("cpu"), torch.float32)


def test_model_in_pickles_is_refused(model: Path) -> None:
    load(model)
    set_trap(model)
    assert hash_weights(model) == ""
    with pytest.raises(ConfigError, match=r"no \*\.safetensors, the only kind of weights that is loaded"):
        load(model)
    with pytest.raises(ConfigError, match=r"no \*\.safetensors"):
        load_merged(model, CheckpointPart("none"), dtype=torch.float32)


def test_index_that_names_pickles_is_not_followed(model: Path) -> None:
    weights = {name: "pytorch_model.bin" for name in make_model().state_dict()}
    set_trap(model)
    (model / "decoy.safetensors").touch()
    (model / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weights}))
    with pytest.raises(ConfigError, match=r"names 'pytorch_model\.bin', which is no safetensors file"):
        load(model)


def test_adapter_in_pickles_is_refused(model: Path, adapter: Path) -> None:
    set_trap(adapter)
    (adapter / "decoy.safetensors").touch()
    with pytest.raises(ConfigError, match=r"no adapter_model\.safetensors"):
        load(model).find_adapter(str(adapter), "planner")
    with pytest.raises(ConfigError, match=r"no adapter_model\.safetensors"):
        merge_adapter(make_model(), adapter)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "is no LoRA adapter"),
        ({"megatron_config": {"x": 1}, "megatron_core": "os"}, "names a module to import"),
    ],
)
def test_adapter_with_odd_settings_is_refused(
    model: Path, adapter: Path, changes: dict[str, Any], message: str
) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ConfigError, match=message):
        load(model).find_adapter(str(adapter), "planner")
    with pytest.raises(ConfigError, match=message):
        merge_adapter(make_model(), adapter)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_that_comes_with_a_model_is_not_run(model: Path, file: str, capfd: pytest.CaptureFixture[str]) -> None:
    code = "import sys\nprint('foreign code ran', file=sys.stderr)\nclass Thing:\n    pass\n"
    (model / "foreign.py").write_text(code)
    classes = ("AutoConfig", "AutoModelForCausalLM", "AutoTokenizer")
    content = json.loads((model / file).read_text())
    content |= {"model_type": "foreign", "auto_map": {name: "foreign.Thing" for name in classes}}
    content["auto_map"]["AutoTokenizer"] = ["foreign.Thing", None]
    (model / file).write_text(json.dumps(content))
    with contextlib.suppress(ConfigError):  # what is left of the model may do without it
        load(model)
    assert "foreign code ran" not in capfd.readouterr().err


@pytest.fixture
def checkpoint(tmp_path: Path, model: Path, adapter: Path) -> Path:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "chat_template.jinja").write_text("template")
    for role in ROLES:
        (folder / role).mkdir()
        for file in ("adapter_config.json", "adapter_model.safetensors"):
            (folder / role / file).write_bytes((adapter / file).read_bytes())
    entry = {"kind": "alora", "sha256": hash_weights(adapter), "invocation_tokens": [1, 2]}
    card = {
        "format": FORMAT,
        "base": {"name": str(model), "sha256": hash_weights(model)},
        "template": {"style": "umi", "sha256": hash_file(folder / "chat_template.jinja")},
        "backbone": {"kind": "none"},
        "roles": {role: {**entry, "path": role} for role in ROLES},
    }
    (folder / "umi.json").write_text(json.dumps(card))
    read_checkpoint(folder)
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": "../adapter"}, "is outside the checkpoint"),
        ({"sha256": ""}, "holds other weights"),
        ({"sha256": "0" * 64}, "holds other weights"),
        ({"invocation_tokens": [3]}, "is switched on by other tokens"),
    ],
)
def test_part_that_the_card_does_not_describe_is_refused(
    checkpoint: Path, changes: dict[str, Any], message: str
) -> None:
    path = checkpoint / "umi.json"
    card = json.loads(path.read_text())
    card["roles"]["caller"] |= changes
    path.write_text(json.dumps(card))
    with pytest.raises(ConfigError, match=message):
        read_checkpoint(checkpoint)


def test_part_and_base_in_pickles_match_no_card(checkpoint: Path, model: Path) -> None:
    path = checkpoint / "umi.json"
    card = json.loads(path.read_text())
    card["base"]["sha256"] = card["roles"]["caller"]["sha256"] = ""
    path.write_text(json.dumps(card))
    set_trap(checkpoint / "caller")
    with pytest.raises(ConfigError, match=r"no adapter_model\.safetensors"):
        read_checkpoint(checkpoint)
    for file in (checkpoint / "planner").iterdir():
        (checkpoint / "caller" / file.name).write_bytes(file.read_bytes())
    card["roles"]["caller"] = card["roles"]["planner"] | {"path": "caller"}
    path.write_text(json.dumps(card))
    set_trap(model)
    with pytest.raises(ConfigError, match=r"no \*\.safetensors"):
        resolve_base(read_checkpoint(checkpoint))


# What can run code, or read a format that can. The value says what to use.
FORBIDDEN: Names = {
    "eval": "a parser",
    "exec": "a function",
    "compile": "a function",
    "__import__": "import_module with a fixed prefix",
    **dict.fromkeys(("pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"), "JSON"),
    **dict.fromkeys(("torch.load", "torch.save"), "safetensors"),
    **dict.fromkeys(("yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load"), "yaml.safe_load"),
    **dict.fromkeys(("yaml.Loader", "yaml.FullLoader", "yaml.UnsafeLoader", "yaml.CLoader"), "yaml.SafeLoader"),
    **dict.fromkeys(("os.system", "os.popen", "subprocess.getoutput"), "subprocess.run([…])"),
    "tempfile.mktemp": "tempfile.mkstemp",
}


def find_faults(source: str) -> Iterator[str]:
    """Yield what a module must not hold."""
    tree = ast.parse(source)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules = {alias.asname or alias.name for node in imports for alias in node.names}  # one of ours is named `eval`
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None) or ""
            names = [alias.name for alias in node.names]
            found = [module, *(f"{module}.{name}" for name in names)] if module else names
        elif isinstance(node, ast.Name | ast.Attribute):
            found = [name for name in (ast.unparse(node),) if name not in modules]
        elif isinstance(node, ast.Call):
            found = []
            yield from _find_call_faults(node)
        else:
            continue
        yield from (f"line {node.lineno}: {name}: use {FORBIDDEN[name]}" for name in found if name in FORBIDDEN)


def _find_call_faults(call: ast.Call) -> Iterator[str]:
    given = {word.arg: ast.unparse(word.value) for word in call.keywords}
    name = ast.unparse(call.func)
    for word in ("shell", "trust_remote_code", "allow_pickle"):
        if given.get(word, "False") != "False":
            yield f"line {call.lineno}: {word}={given[word]}"
    if name.startswith("Auto") and name.endswith(".from_pretrained"):
        if given.get("trust_remote_code") != "False":
            yield f"line {call.lineno}: {name} without trust_remote_code=False"
        if "Model" in name and given.get("use_safetensors") != "True":
            yield f"line {call.lineno}: {name} without use_safetensors=True"


def test_the_product_runs_no_foreign_code() -> None:
    files = [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))]
    assert len(files) > 150
    faults = [f"{file.relative_to(ROOT)}, {fault}" for file in files for fault in find_faults(file.read_text("utf-8"))]
    assert faults == []


@pytest.mark.parametrize(
    "source",
    [
        "eval('1')",
        "import builtins\nexec('1')",
        "import pickle",
        "from pickle import loads",
        "import torch\ntorch.load('x')",
        "from torch import load",
        "yaml.load(x, Loader=yaml.Loader)",
        "subprocess.run('x', shell=True)",
        "AutoTokenizer.from_pretrained('x', trust_remote_code=True)",
        "AutoTokenizer.from_pretrained('x')",
        "AutoModelForCausalLM.from_pretrained('x', trust_remote_code=False)",
        "numpy.load('x', allow_pickle=True)",
    ],
)
def test_the_search_for_foreign_code_finds_it(source: str) -> None:
    assert list(find_faults(source))
