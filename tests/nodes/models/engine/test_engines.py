"""What holds whoever computes: torch or llama.cpp. The tiny model in float32, so that both write the same tokens."""

from __future__ import annotations

import json
import os
import random
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from alpha_umi.errors import ConfigError, ModelFault
from alpha_umi.nodes.models.engine.backbone import Backbone
from alpha_umi.nodes.models.engine.decode import Decoding, decode_tokens, make_sampler, open_sequence
from alpha_umi.nodes.models.engine.grammar import Grammar, caller_grammar, planner_grammar
from alpha_umi.nodes.models.engine.llamacpp.backbone import LlamaCppBackbone, _count_threads
from alpha_umi.nodes.models.engine.llamacpp.gguf import Quantization
from alpha_umi.nodes.models.engine.prefix_cache import PrefixCache
from alpha_umi.nodes.models.engine.pytorch.backbone import TorchBackbone
from alpha_umi.nodes.models.engine.scheduler import ContinuousBatch, GenerationJob
from alpha_umi.nodes.models.engine.spans import Cancelled, Logits, Span
from tests.nodes.models.conftest import ADAPTERS, Write, Written

pytest.importorskip("xllamacpp", reason="needs the extra llamacpp")

Load = Callable[[Path], Backbone]
GRAMMARS = [
    None,
    planner_grammar(20),
    caller_grammar({"add": {"type": "object", "properties": {"a": {"type": "integer"}}}}),
]


def load_torch(folder: Path) -> Backbone:
    return TorchBackbone(folder, torch.device("cpu"), torch.float32)


def load_llamacpp(folder: Path) -> Backbone:
    return LlamaCppBackbone(folder, "f32")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPHA_UMI_CACHE", str(tmp_path / "cache"))


@pytest.fixture(params=[load_torch, load_llamacpp], ids=["torch", "llamacpp"])
def load(request: pytest.FixtureRequest) -> Load:
    found: Load = request.param
    return found


def make_prompt(rng: random.Random, name: str | None) -> list[int]:
    return [*(rng.randrange(20, 60) for _ in range(rng.randrange(1, 90))), *(ADAPTERS.get(name or "") or [])]


@pytest.mark.parametrize("name", [None, *ADAPTERS])
def test_llamacpp_computes_the_logits_of_torch(model_folder: Path, name: str | None) -> None:
    rng = random.Random(1)
    both = load_torch(model_folder), load_llamacpp(model_folder)
    for _ in range(5):
        prompt, rows = make_prompt(rng, name), []
        for backbone in both:
            adapter = backbone.find_adapter(name, "planner") if name else None
            with open_sequence(backbone, adapter, prompt) as sequence:
                rows += backbone.compute([sequence.make_span(threading.Event(), [30, 31])])
        assert rows[0].shape == rows[1].shape == (3, both[0].n_vocab)
        assert np.abs(rows[0] - rows[1]).max() < 1e-4 * np.abs(rows[0]).max()


def test_adapters_of_another_scale_are_computed_alike(model_folder: Path, tmp_path: Path) -> None:
    folder, rows = shutil.copytree(model_folder, tmp_path / "model"), []
    config = folder / "one" / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "use_rslora": True}))
    for load in (load_torch, load_llamacpp):
        backbone = load(folder)
        with open_sequence(backbone, backbone.find_adapter("one", "planner"), list(range(20, 60))) as sequence:
            rows += backbone.compute([sequence.make_span(threading.Event())])
    assert np.abs(rows[0] - rows[1]).max() < 1e-4 * np.abs(rows[0]).max()


@pytest.mark.parametrize("setting", [{"use_dora": True}, {"alpha_pattern": {"q_proj": 32}}])
def test_adapters_that_llamacpp_would_compute_otherwise_are_refused(
    model_folder: Path, tmp_path: Path, setting: dict[str, object]
) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "model")
    config = folder / "one" / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **setting}))
    with pytest.raises(ConfigError, match=f"no plain LoRA, it sets {next(iter(setting))}"):
        load_llamacpp(folder).find_adapter("one", "planner")


@pytest.mark.parametrize("grammar", GRAMMARS)
def test_llamacpp_writes_what_torch_writes(model_folder: Path, write: Write, grammar: Grammar | None) -> None:
    texts = []
    for load in (load_torch, load_llamacpp):
        backbone, rng = load(model_folder), random.Random(2)
        names = [rng.choice([None, *ADAPTERS]) for _ in range(12)]
        orders = [Written(make_prompt(rng, name), name, n=30, grammar=grammar) for name in names]
        write(backbone, orders)
        texts.append([order.ids for order in orders])
    assert texts[0] == texts[1]


def test_texts_are_the_same_alone_together_and_from_the_cache(model_folder: Path, write: Write, load: Load) -> None:
    rng, backbone = random.Random(3), load(model_folder)
    names = [rng.choice([None, *ADAPTERS]) for _ in range(10)]
    prompts = [[*range(20, 50), *make_prompt(rng, name)] for name in names]
    kinds = []
    for is_cached in (False, True):
        if not is_cached:
            backbone.cache = PrefixCache(0)
        alone = [Written(prompt, name) for prompt, name in zip(prompts, names, strict=True)]
        for order in alone:
            write(backbone, [order])
        together = [Written(prompt, name) for prompt, name in zip(prompts, names, strict=True)]
        backbone.cache = PrefixCache(max_entries=20)
        write(backbone, together)
        assert any(order.n_cached for order in together)
        kinds += [[order.ids for order in alone], [order.ids for order in together]]
    assert all(kind == kinds[0] for kind in kinds)


def test_roles_share_what_the_base_computed(model_folder: Path, write: Write, load: Load) -> None:
    backbone, ids = load(model_folder), list(range(20, 60))
    write(backbone, [Written([*ids, *(ADAPTERS["planner"] or [])], "planner")])
    order = Written([*ids, 30, *(ADAPTERS["caller"] or [])], "caller")
    write(backbone, [order])
    assert order.n_cached == len(ids)
    plain = Written(ids, "one")
    write(backbone, [plain])
    assert plain.n_cached == 0


def test_nothing_is_appended_by_a_pass_that_is_cancelled(model_folder: Path, load: Load) -> None:
    backbone, gone = load(model_folder), threading.Event()
    kept, left = backbone.make_past(), backbone.make_past()
    gone.set()
    spans = [Span(kept, [20, 21], None, 0, threading.Event()), Span(left, [22], None, 0, gone)]
    with pytest.raises(Cancelled):
        backbone.compute(spans)
    assert (kept.n_tokens, left.n_tokens) == (0, 0)
    assert len(backbone.compute(spans[:1])) == 1
    assert kept.n_tokens == 2


def test_a_stream_that_is_left_leaves_the_cache_right(model_folder: Path, write: Write, load: Load) -> None:
    backbone, prompt = load(model_folder), [*range(20, 45)]
    whole = Written(prompt, n=12)
    write(backbone, [whole])
    for n in range(1, 5):
        write(backbone, [Written([*prompt, n], cancel_after=n)])
        again = Written(prompt, n=12)
        write(backbone, [again])
        assert again.ids == whole.ids


def test_an_adapter_is_read_again_and_the_others_stay(
    model_folder: Path, write: Write, load: Load, tmp_path: Path
) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "model")
    backbone = load(folder)

    def say(name: str) -> list[int]:
        order = Written([*range(20, 50), *(ADAPTERS[name] or [])], name)
        write(backbone, [order])
        return order.ids

    first, other = say("one"), say("two")
    shutil.copy(folder / "two" / "adapter_model.safetensors", folder / "one" / "adapter_model.safetensors")
    backbone.reload_adapter("one", "planner")
    backbone.forget_adapters(())
    assert say("one") == other == say("two") != first


def test_a_gguf_is_made_once_and_anew_for_other_weights(model_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "model")
    first = LlamaCppBackbone(folder, "f16").file
    made = first.stat().st_mtime_ns
    assert LlamaCppBackbone(folder, "f16").file == first
    assert first.stat().st_mtime_ns == made
    assert LlamaCppBackbone(folder, "f32").file != first
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.1}))
    assert LlamaCppBackbone(folder, "f16").file != first


@pytest.mark.parametrize("quantization", ["q8_0", "q4_0", "f16"])
def test_quantised_weights_say_nearly_the_same(model_folder: Path, quantization: Quantization) -> None:
    rows = []
    for backbone in (load_torch(model_folder), LlamaCppBackbone(model_folder, quantization)):
        with open_sequence(backbone, None, list(range(20, 60))) as sequence:
            rows += backbone.compute([sequence.make_span(threading.Event())])
    difference = np.abs(rows[0] - rows[1]).max() / np.abs(rows[0]).max()
    assert difference < {"f16": 0.02, "q8_0": 0.05, "q4_0": 0.5}[quantization]


def test_too_many_tokens_at_once_are_a_fault_of_that_text_alone(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alpha_umi.nodes.models.engine.llamacpp.backbone.MIN_CELLS", 256)
    monkeypatch.setattr(LlamaCppBackbone, "window_tokens", 256)
    backbone = load_llamacpp(model_folder)
    pasts = [backbone.make_past() for _ in range(2)]
    backbone.compute([Span(pasts[0], [20] * 200, None, 0, threading.Event())])
    backbone.cache.put(None, [20] * 200, pasts[0])
    pasts[0].release()
    backbone.compute([Span(pasts[1], [21] * 200, None, 0, threading.Event())])  # the cache makes room
    assert len(backbone.cache) == 0
    third = backbone.make_past()
    with pytest.raises(ModelFault, match="256 tokens at once"):
        backbone.compute([Span(third, [22] * 100, None, 0, threading.Event())])
    assert third.n_tokens == 0
    backbone.compute([Span(pasts[1], [21], None, 0, threading.Event())])


def test_models_that_llamacpp_cannot_hold_are_refused(model_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["BertModel"]}))
    with pytest.raises(ConfigError, match="Use 'hf:' with torch"):
        LlamaCppBackbone(folder, "f16")
    assert not list((tmp_path / "cache").rglob("*.gguf"))


@pytest.mark.parametrize(
    ("named", "n_cores", "load", "n_threads"),
    [("", 8, 0.3, 8), ("", 8, 2.6, 5), ("", 8, 20.0, 1), ("3", 8, 20.0, 3), ("0", 8, 0.0, 1), ("many", 2, 0.0, 2)],
)
def test_threads_compute_where_nothing_else_does(
    monkeypatch: pytest.MonkeyPatch, named: str, n_cores: int, load: float, n_threads: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", named)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(n_cores)), raising=False)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    assert _count_threads() == n_threads


def test_a_pass_that_is_cancelled_is_the_last_and_none_is_long(
    model_folder: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leaving a text takes no longer than one pass, whose tokens are bounded, whatever the prompt's length."""
    backbone, cancelled, sizes = load(model_folder), threading.Event(), []
    compute = backbone.compute

    def count(spans: Sequence[Span]) -> list[Logits]:
        sizes.append(sum(len(span.ids) for span in spans))
        if len(sizes) == 3:
            cancelled.set()
        return compute(spans)

    def begin(_: Backbone) -> Decoding:
        with open_sequence(backbone, None, [20] * 20_000) as sequence:
            yield from decode_tokens(
                sequence, cancelled, sampler=make_sampler(), max_new_tokens=9, eos_ids=(), accept=lambda _: True
            )

    monkeypatch.setattr(backbone, "compute", count)
    ended: list[BaseException | None] = []
    batch = ContinuousBatch(backbone)
    batch.add(GenerationJob(begin, cancelled, ended.append, 9))
    while not batch.is_empty:
        batch.step()
    assert sizes == [backbone.prefill_tokens] * 3
    assert ended == [None]
