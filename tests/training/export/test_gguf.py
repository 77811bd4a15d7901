"""Exported files in llama.cpp: through its C interface for numbers, through its server for everything else."""

from __future__ import annotations

import json
import random
import shutil
import threading
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast
from typer.testing import CliRunner

from alpha_umi.cli import models
from alpha_umi.errors import ConfigError, ModelNotAvailable
from alpha_umi.nodes.format.escaping import Style
from alpha_umi.nodes.format.render import encode_prompt, load_template, render_messages
from alpha_umi.nodes.format.trajectory import ROLES, Role, Trajectory, Turn
from alpha_umi.nodes.models.engine.checkpoint import TEMPLATE, hash_file
from alpha_umi.nodes.models.engine.decode import open_sequence
from alpha_umi.nodes.models.engine.llamacpp.gguf import Quantization
from alpha_umi.nodes.models.engine.llamacpp.header import load_library
from alpha_umi.nodes.models.engine.pytorch.backbone import TorchBackbone
from alpha_umi.nodes.models.engine.tokenizer import Tokenizer
from alpha_umi.nodes.models.engine.weights import resolve
from alpha_umi.nodes.models.local import LocalChatModel
from alpha_umi.nodes.models.request import make_request
from alpha_umi.tools.convert import spec_from_tool
from alpha_umi.tools.load import load_tools
from alpha_umi.training.export.gguf import export_gguf, merge_gguf
from tests.llama_server import post, read, render_rows, serve
from tests.training.conftest import make_trajectory

Trained = Callable[..., tuple[Path, Any, list[Any]]]
Logits = np.ndarray[Any, np.dtype[np.float32]]
N_VOCAB = 300
"""So many tokens at least has the tests' tokenizer."""
TOLERANCE = 2e-2
N_TOKENS = 30
ALL_KINDS = [("lora", "alora"), ("lora", "lora"), ("full", "full")]


def compute(model: Path, ids: Sequence[int], adapter: Path | None = None, start: int = 0) -> Logits:
    """Return llama.cpp's logits after the last token; an adapter computes from `start` on."""
    ffi, library = load_library()
    settings = library.llama_model_default_params()
    settings.n_gpu_layers = 0
    loaded = library.llama_model_load_from_file(str(model).encode(), settings)
    assert loaded != ffi.NULL
    context = library.llama_init_from_model(loaded, library.llama_context_default_params())
    begin = start if adapter else len(ids)
    for first, last in ((0, begin), (begin, len(ids))):
        if adapter and first == begin:
            lora = library.llama_adapter_lora_init(loaded, str(adapter).encode())
            assert lora != ffi.NULL
            adapters = ffi.new("struct llama_adapter_lora *[]", [lora])
            library.llama_set_adapters_lora(context, adapters, 1, ffi.new("float[]", [1.0]))
        batch = library.llama_batch_init(len(ids), 0, 1)
        for i in range(last - first):
            batch.token[i], batch.pos[i], batch.logits[i] = ids[first + i], first + i, i == last - first - 1
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
        batch.n_tokens = last - first
        assert last == first or library.llama_decode(context, batch) == 0
    found = np.frombuffer(ffi.buffer(library.llama_get_logits_ith(context, -1), 4 * N_VOCAB), np.float32).copy()
    library.llama_free(context)
    library.llama_model_free(loaded)
    return found


def compute_torch(checkpoint: Path, ids: list[int], role: Role | None) -> Logits:
    backbone = TorchBackbone(checkpoint, torch.device("cpu"), torch.float32)
    adapter = backbone.find_adapter(None, role) if role else None
    with open_sequence(backbone, adapter, ids) as sequence:
        return cast(Logits, backbone.compute([sequence.make_span(threading.Event())])[0][-1][:N_VOCAB])


def make_prompt(checkpoint: Path, role: Role) -> tuple[list[int], int]:
    """Return a prompt for a role, and where its marker begins."""
    card = json.loads((checkpoint / "umi.json").read_text("utf-8"))
    marker = card["roles"][role].get("invocation_tokens") or []
    rng = random.Random(1)
    ids = [rng.randrange(20, N_VOCAB) for _ in range(50)]
    return [*ids, *marker], len(ids) if marker else 0


@pytest.mark.parametrize(("backbone", "roles"), ALL_KINDS)
def test_every_exported_file_computes_what_torch_computes(
    trained: Trained, backbone: str, roles: str, tmp_path: Path
) -> None:
    checkpoint = trained("umi", backbone, roles)[0]
    written = export_gguf(checkpoint, tmp_path / "out", quantization="f16")
    assert [file.name for file in written] == ["backbone.gguf", *(f"{role}.gguf" for role in ROLES)]
    for role in ROLES:
        ids, start = make_prompt(checkpoint, role)
        folder = checkpoint / role if roles == "full" else checkpoint
        expected = compute_torch(folder, ids, None if roles == "full" else role)
        if roles == "full":
            found = compute(tmp_path / "out" / f"{role}.gguf", ids)
        else:
            found = compute(written[0], ids, tmp_path / "out" / f"{role}.gguf", start)
        assert np.abs(found - expected).max() < TOLERANCE
        assert np.abs(compute(written[0], ids) - expected).max() > 10 * TOLERANCE


@pytest.mark.parametrize(("backbone", "roles"), ALL_KINDS[1:])
def test_every_merged_model_computes_what_torch_computes(
    trained: Trained, backbone: str, roles: str, tmp_path: Path
) -> None:
    checkpoint = trained("umi", backbone, roles)[0]
    merge_gguf(checkpoint, tmp_path / "out", quantization="f16")
    for role in ROLES:
        ids, _ = make_prompt(checkpoint, role)
        folder = checkpoint / role if roles == "full" else checkpoint
        expected = compute_torch(folder, ids, None if roles == "full" else role)
        assert np.abs(compute(tmp_path / "out" / f"{role}.gguf", ids) - expected).max() < TOLERANCE


def test_roles_without_weights_of_their_own_are_the_backbone(trained: Trained, tmp_path: Path) -> None:
    checkpoint = trained("single", "lora", "none")[0]
    assert [file.name for file in export_gguf(checkpoint, tmp_path / "out", quantization="f16")] == ["backbone.gguf"]
    with pytest.warns(UserWarning, match="No Modelfile for ollama"):
        merge_gguf(checkpoint, tmp_path / "merged", quantization="f16")
    ids = list(range(20, 60))
    expected = compute_torch(checkpoint, ids, None)
    for file in (tmp_path / "out" / "backbone.gguf", tmp_path / "merged" / "caller.gguf"):
        assert np.abs(compute(file, ids) - expected).max() < TOLERANCE


@pytest.mark.parametrize(("quantization", "share"), [("q8_0", 0.05), ("q4_0", 0.6)])
def test_quantised_files_say_nearly_the_same(
    trained: Trained, quantization: Quantization, share: float, tmp_path: Path
) -> None:
    checkpoint = trained()[0]
    export_gguf(checkpoint, tmp_path / "out", quantization=quantization)
    ids, start = make_prompt(checkpoint, "planner")
    found = compute(tmp_path / "out" / "backbone.gguf", ids, tmp_path / "out" / "planner.gguf", start)
    expected = compute_torch(checkpoint, ids, "planner")
    assert np.abs(found - expected).max() < share * np.abs(expected).max()


@pytest.mark.parametrize("repeats", [False, True])
def test_llamacpp_reads_the_token_ids_that_we_read(
    trained: Trained, repeats: bool, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    checkpoint = Path(shutil.copytree(trained()[0], tmp_path / "copy"))
    card = json.loads((checkpoint / "umi.json").read_text("utf-8"))
    (checkpoint / "umi.json").write_text(json.dumps({**card, "repeat_names": repeats}))
    files = export_gguf(checkpoint, tmp_path / "out")
    with serve(files[0]) as client:
        for trajectory, role in product(map(make_trajectory, range(4)), ROLES):
            messages = render_messages(trajectory, repeat_names=repeats)
            expected = encode_prompt(messages, tokenizer, load_template("umi"), role, trajectory.tools)
            assert read(client, trajectory, role) == expected


@pytest.mark.parametrize("style", ["toolbench", "toolalpaca"])
@pytest.mark.parametrize("bos", ["<|im_start|>", None])
def test_the_papers_prompts_are_made_by_llamacpp_as_by_us(
    trained: Trained, style: Style, bos: str | None, tmp_path: Path
) -> None:
    checkpoint, template = Path(shutil.copytree(trained()[0], tmp_path / "copy")), load_template(style)
    (checkpoint / TEMPLATE).write_text(template, "utf-8")
    card = json.loads((checkpoint / "umi.json").read_text("utf-8"))
    claim = {"template": {"style": style, "sha256": hash_file(checkpoint / TEMPLATE)}}
    (checkpoint / "umi.json").write_text(json.dumps({**card, **claim}), "utf-8")
    config = json.loads((checkpoint / "tokenizer_config.json").read_text("utf-8"))
    (checkpoint / "tokenizer_config.json").write_text(json.dumps({**config, "bos_token": bos}), "utf-8")
    files, ours = export_gguf(checkpoint, tmp_path / "out"), Tokenizer(checkpoint)
    with serve(files[0]) as client:
        for trajectory, role in product(map(make_trajectory, range(4)), ROLES):
            messages = render_messages(trajectory, style=style)
            expected = encode_prompt(messages, ours, template, role, trajectory.tools)
            assert read(client, trajectory, role, style) == expected


def test_a_merged_model_answers_in_its_role_where_nobody_names_one(
    trained: Trained, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    checkpoint = trained("umi", "lora", "lora")[0]
    merge_gguf(checkpoint, tmp_path / "out")
    trajectory = make_trajectory(1)
    for role in ROLES:
        with serve(tmp_path / "out" / f"{role}.gguf") as client:
            messages = render_messages(trajectory)
            expected = encode_prompt(messages, tokenizer, load_template("umi"), role, trajectory.tools)
            assert read(client, trajectory) == expected


def test_the_server_switches_adapters_on_at_their_markers_and_writes_what_we_write(
    trained: Trained, tmp_path: Path
) -> None:
    checkpoint, trajectory = trained()[0], make_trajectory(1)
    files = export_gguf(checkpoint, tmp_path / "out", quantization="f32")
    with serve(files[0], files[1:]) as client:
        listed = client.get("/lora-adapters").json()
        for number, role in enumerate(ROLES):
            invocation = json.loads((checkpoint / "umi.json").read_text("utf-8"))["roles"][role]["invocation_tokens"]
            assert listed[number]["alora_invocation_tokens"] == invocation
            assert ask(client, trajectory, role, number) == ask_ours(checkpoint, trajectory, role) != ""
        assert ask(client, trajectory, "planner", 1) != ask_ours(checkpoint, trajectory, "planner")


def ask(client: httpx.Client, trajectory: Trajectory, role: Role, adapter: int) -> str:
    body = {"messages": render_rows(trajectory), "chat_template_kwargs": {"role": role}, "cache_prompt": False}
    body |= {"lora": [{"id": adapter, "scale": 1.0}], "temperature": 0, "max_tokens": N_TOKENS}
    text: str = post(client, "/v1/chat/completions", **body)["choices"][0]["message"]["content"]
    return text


def ask_ours(checkpoint: Path, trajectory: Trajectory, role: Role) -> str:
    model = LocalChatModel(
        model=str(checkpoint),
        role=role,
        engine="torch",
        device="cpu",
        dtype="float32",
        constrained=False,
        max_tokens=N_TOKENS,
    )
    request = make_request(model, role, trajectory, temperature=0.0)
    return model.invoke(request.messages, **request.kwargs).text


def test_a_modelfile_names_the_model_and_its_marker(trained: Trained, tmp_path: Path) -> None:
    checkpoint, out = trained("umi", "lora", "lora")[0], tmp_path / "out"
    arguments = ["export", str(checkpoint), "--out", str(out), "--format", "gguf", "--merged", "--quantize", "q4_0"]
    done = CliRunner().invoke(models.app, arguments)
    assert done.exit_code == 0, done.output
    assert done.stdout.split() == [str(out / f"{role}.{kind}") for role in ROLES for kind in ("gguf", "Modelfile")]
    text = (out / "caller.Modelfile").read_text("utf-8")
    assert text.startswith('FROM ./caller.gguf\nTEMPLATE """{{ range .Messages }}<|im_start|>{{ .Role }}\n')
    assert '{{ end }}<|im_start|>caller\n"""\nPARAMETER stop "<|im_end|>"\n' in text
    assert "PARAMETER num_ctx 2048\n" in text


def test_no_modelfile_is_written_where_ollama_could_not_make_the_prompt(trained: Trained, tmp_path: Path) -> None:
    checkpoint = Path(shutil.copytree(trained("umi", "lora", "lora")[0], tmp_path / "copy"))
    card = json.loads((checkpoint / "umi.json").read_text("utf-8"))
    (checkpoint / "umi.json").write_text(json.dumps({**card, "repeat_names": True}))
    with pytest.warns(UserWarning, match="No Modelfile for ollama"):
        files = merge_gguf(checkpoint, tmp_path / "out")
    assert [file.name for file in files] == [f"{role}.gguf" for role in ROLES]


def test_merging_refuses_activated_adapters(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"planner, caller, summarizer: an activated LoRA .* without --merged"):
        merge_gguf(trained()[0], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", [["--merged"], ["--quantize", "f16"]])
def test_options_of_gguf_are_refused_for_peft(option: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(models.app, ["export", "x", "--out", str(tmp_path / "out"), *option])
    assert done.exit_code == 2
    assert f"{option[0]} is for --format gguf" in done.stderr


def test_a_tokenizer_that_llamacpp_does_not_have_is_refused_for_others(trained: Trained, tmp_path: Path) -> None:
    checkpoint = Path(shutil.copytree(trained()[0], tmp_path / "copy"))
    tokenizer = json.loads((checkpoint / "tokenizer.json").read_text("utf-8"))
    tokenizer["pre_tokenizer"] = {
        "type": "Sequence",
        "pretokenizers": [{"type": "Whitespace"}, tokenizer["pre_tokenizer"]],
    }
    (checkpoint / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    with pytest.raises(ConfigError, match="would read other tokens"):
        export_gguf(checkpoint, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_server_answers_a_recorded_prompt_as_our_engine_does(tmp_path: Path) -> None:
    try:
        resolve("smollm2-135m")
    except ModelNotAvailable as error:
        pytest.skip(str(error))
    shipped, tools = resolve("smollm2-135m-umi"), load_tools(["builtin:calculator", "builtin:calendar"])
    question = "What is 17% of 2340, and which weekday is 2027-03-01?"
    trajectory = Trajectory(tuple(map(spec_from_tool, tools)), (Turn(question),))
    files = export_gguf(shipped, tmp_path / "out", quantization="f16")
    with serve(files[0], files[1:]) as client:
        found = ask(client, trajectory, "planner", 0)
    assert found == ask_ours(shipped, trajectory, "planner")
    assert found.startswith("Part 1 (What is 17% of 2340): I call calculator.")
