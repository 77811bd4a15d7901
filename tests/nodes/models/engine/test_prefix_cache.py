"""Cached and uncached generation give the same tokens, whatever came before."""

from __future__ import annotations

import json
import random
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import LlamaForCausalLM

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.models.engine.decode import open_sequence
from alpha_umi.nodes.models.engine.fit import quiet_peft
from alpha_umi.nodes.models.engine.prefix_cache import PrefixCache
from alpha_umi.nodes.models.engine.pytorch.backbone import TorchBackbone
from alpha_umi.nodes.models.engine.pytorch.forward import compute
from alpha_umi.nodes.models.engine.pytorch.kv_cache import TorchPast
from alpha_umi.nodes.models.engine.spans import Adapter, Span
from tests.nodes.models.conftest import Write, Written

MARKERS = {"planner": [5, 6, 7], "caller": [5, 8, 7]}
WRITERS = [None, "one", "planner", "caller"]


def generate(
    write: Write, backbone: TorchBackbone, name: str | None, ids: list[int], *, cancel_after: int | None = None
) -> tuple[list[int], int]:
    """Return the greedy tokens and how many prompt tokens the cache knew."""
    order = Written(ids, name, cancel_after=cancel_after)
    write(backbone, [order])
    return order.ids, order.n_cached


def find(backbone: TorchBackbone, name: str) -> Adapter:
    adapter = backbone.find_adapter(name, "planner")
    assert adapter is not None
    return adapter


def grow(ids: list[int], rng: random.Random) -> list[int]:
    """Return a trajectory that goes on, starts anew, or leaves a known one in its middle."""
    fate = rng.random()
    if fate < 0.15 or not ids:
        ids = []
    elif fate < 0.35:
        ids = ids[: rng.randrange(len(ids))]
    return [*ids, *(rng.randrange(20, 60) for _ in range(rng.randrange(3, 40)))]


@pytest.mark.parametrize("max_bytes", [10**9, 60_000])
def test_cached_generation_equals_uncached_on_random_trajectories(
    model_folder: Path, backbone: TorchBackbone, write: Write, max_bytes: int
) -> None:
    rng = random.Random(max_bytes)
    backbone.cache = PrefixCache(max_bytes)
    plain = TorchBackbone(model_folder, torch.device("cpu"), torch.float32)
    ids: list[int] = []
    n_cancelled = n_hits = n_evicted = 0
    for _ in range(120):
        ids = grow(ids, rng)
        name = rng.choice(WRITERS)
        prompt = [*ids, *MARKERS.get(name or "", [9, 9])]
        if rng.random() < 0.2:
            n_cancelled += 1
            generate(write, backbone, name, prompt, cancel_after=rng.randrange(4))
        plain.cache = PrefixCache(0)
        expected, n_cached = generate(write, plain, name, prompt)
        assert n_cached == 0
        order = Written(prompt, name)
        write(backbone, [order])
        assert order.ids == expected
        n_hits += order.n_cached > 0
        n_evicted += order.n_evicted
    assert n_cancelled > 5
    assert n_hits > 0
    assert backbone.cache.n_bytes <= max_bytes
    assert (n_evicted > 0) == (max_bytes < 10**9)


@pytest.mark.parametrize("name", ["planner", "caller"])
def test_activated_lora_equals_pefts_full_recompute(
    model_folder: Path, backbone: TorchBackbone, write: Write, name: str
) -> None:
    prompt = [*range(20, 50), *MARKERS[name]]
    with quiet_peft():
        alone: Any = PeftModel.from_pretrained(
            LlamaForCausalLM.from_pretrained(model_folder), str(model_folder / name)
        ).eval()
    ids = torch.tensor([prompt])
    reference = alone.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False, eos_token_id=-1
    )
    generate(write, backbone, None, prompt[:25])
    tokens, n_cached = generate(write, backbone, name, prompt)
    assert tokens == reference[0, len(prompt) :].tolist()
    assert n_cached >= 24


def test_logits_after_a_cached_prefix_equal_those_without(backbone: TorchBackbone, write: Write) -> None:
    prompt = list(range(20, 90))
    adapter = find(backbone, "planner")
    whole = [*prompt, *MARKERS["planner"]]
    logits = []
    for warm in (False, True):
        backbone.cache = PrefixCache()
        if warm:
            generate(write, backbone, None, prompt[:50])
        with open_sequence(backbone, adapter, whole) as sequence:
            assert (sequence.n_cached > 0) == warm
            logits += compute(backbone, [sequence.make_span(threading.Event())])
    assert np.allclose(logits[0], logits[1], atol=1e-4)


def test_all_roles_and_steps_share_what_the_base_computed(backbone: TorchBackbone, write: Write) -> None:
    ids = list(range(20, 60))
    generate(write, backbone, "planner", [*ids, *MARKERS["planner"]])
    for name in ("caller", "planner", "caller"):
        n_known = len(ids)
        ids = [*ids, *range(20, 30)]
        assert generate(write, backbone, name, [*ids, *MARKERS[name]])[1] == n_known


def test_plain_lora_never_reads_the_bases_cache(backbone: TorchBackbone, write: Write) -> None:
    ids = list(range(20, 60))
    generate(write, backbone, None, ids)
    assert generate(write, backbone, "one", ids)[1] == 0
    assert generate(write, backbone, "one", ids)[1] == len(ids) - 1


def test_a_generation_that_fails_leaves_nothing_wrong_behind(
    model_folder: Path, backbone: TorchBackbone, write: Write
) -> None:
    ids = [*range(20, 60), *MARKERS["planner"]]
    adapter = find(backbone, "planner")
    with pytest.raises(ZeroDivisionError), open_sequence(backbone, adapter, ids):
        raise ZeroDivisionError
    plain = TorchBackbone(model_folder, torch.device("cpu"), torch.float32)
    assert generate(write, backbone, "planner", ids)[0] == generate(write, plain, "planner", ids)[0]


def test_a_prompt_without_the_marker_is_refused(backbone: TorchBackbone, write: Write) -> None:
    with pytest.raises(ConfigError, match="marker"):
        generate(write, backbone, "planner", [20, 21, 22])


def test_reload_of_one_adapter_leaves_the_others_alone(
    model_folder: Path, backbone: TorchBackbone, write: Write, tmp_path: Path
) -> None:
    changing = tmp_path / "changing"
    changing.mkdir()
    for file in (model_folder / "planner").iterdir():
        (changing / file.name).write_bytes(file.read_bytes())
    prompt = [*range(20, 50), *MARKERS["planner"]]
    other = [*range(20, 50), *MARKERS["caller"]]
    first = generate(write, backbone, str(changing), prompt)[0]
    caller = generate(write, backbone, "caller", other)[0]
    config = json.loads((model_folder / "caller" / "adapter_config.json").read_text())
    config["alora_invocation_tokens"] = MARKERS["planner"]
    (changing / "adapter_config.json").write_text(json.dumps(config))
    weights = (model_folder / "caller" / "adapter_model.safetensors").read_bytes()
    (changing / "adapter_model.safetensors").write_bytes(weights)
    backbone.reload_adapter(str(changing), "planner")
    backbone.forget_adapters(())
    second = generate(write, backbone, str(changing), prompt)[0]
    assert second != first
    assert generate(write, backbone, "caller", other)[0] == caller


def compute_past(backbone: TorchBackbone, ids: list[int]) -> TorchPast:
    past = TorchPast(backbone.model.config)
    compute(backbone, [Span(past, ids, None, 0, threading.Event())])
    return past


def test_cache_keeps_within_its_bound_and_drops_the_oldest(backbone: TorchBackbone) -> None:
    cache, n_evicted = PrefixCache(max_bytes=60_000), 0
    for start in range(20, 50, 10):
        ids = list(range(start, start + 100))
        past = compute_past(backbone, ids)
        n_evicted += cache.put(None, ids, past)
    assert (len(cache), n_evicted) == (1, 2)
    assert 0 < cache.n_bytes <= 60_000
    assert cache.take(None, list(range(40, 140)), backbone.make_past)[1] == 100
    assert cache.take(None, list(range(20, 120)), backbone.make_past)[1] == 0


def test_on_a_cpu_the_cache_of_a_backbone_is_bounded(
    model_folder: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alpha_umi.nodes.models.engine.pytorch.backbone.CPU_CACHE_BYTES", 100_000)
    backbone = TorchBackbone(model_folder, torch.device("cpu"), torch.float32)
    for first in range(20, 30):
        generate(write, backbone, None, [first, *range(30, 60)])
    assert 0 < backbone.cache.n_bytes <= 100_000


def test_cache_keeps_a_long_conversation_when_another_leaves_it_early(backbone: TorchBackbone) -> None:
    cache = PrefixCache()
    long = [20 + i % 40 for i in range(900)]
    past = compute_past(backbone, long)
    cache.put(None, long, past)
    assert cache.take(None, [*long[:100], 99], backbone.make_past)[1] == 100
    assert cache.take(None, long, backbone.make_past)[1] == 900


def test_cache_forgets_a_view_whose_weights_changed(backbone: TorchBackbone) -> None:
    cache = PrefixCache()
    for view in ("a", "b"):
        past = compute_past(backbone, [20, 21, 22])
        cache.put(view, [20, 21, 22], past)
    cache.drop("a")
    assert cache.take("a", [20, 21, 22], backbone.make_past)[1] == 0
    assert cache.take("b", [20, 21, 22], backbone.make_past)[1] == 3
