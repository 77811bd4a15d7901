from __future__ import annotations

import errno
import itertools
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from alpha_umi.nodes.format.trajectory import Role
from alpha_umi.nodes.models.engine.fit import quiet_peft
from alpha_umi.training import kernels
from alpha_umi.training.batches import CollateTurns, TrainingItem, collate_whole
from alpha_umi.training.callbacks import METRICS, TrainingClock
from alpha_umi.training.config import TrainConfig
from alpha_umi.training.stage import StageRun, make_model, make_trainer, run_stage
from alpha_umi.training.trainer import TrainingStopped, find_checkpoint

MakeConfig = Callable[..., TrainConfig]
MakeRun = Callable[..., StageRun]


def _compute(
    run: StageRun, model: Any, batches: list[tuple[TrainingItem, ...]]
) -> tuple[float, dict[str, torch.Tensor]]:
    """Return loss and gradients of one optimiser step made of these forward passes."""
    trainer = make_trainer(run, model)
    collate: Any = CollateTurns(run.markers) if run.settings.kind == "alora" else collate_whole
    tensors = [collate([batch]) for batch in batches]
    n_trained = sum(int((each["labels"][:, 1:] != -100).sum()) for each in tensors)
    model.zero_grad()
    loss = 0.0
    for each in tensors:
        part = trainer.compute_loss(model, each, num_items_in_batch=n_trained)
        part.backward()
        loss += part.item()
    return loss, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def _shake(model: Any) -> Any:
    """Give the adapter weights that do something: a fresh one adds zero."""
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(std=0.2)
    return model


def _assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert found
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "stage"),
    [("full", "backbone"), ("lora", "backbone"), ("full", "caller"), ("lora", "caller"), ("alora", "caller")],
)
def test_loss_and_gradients_of_a_batch_equal_those_one_by_one(
    kind: str, stage: str, make_config: MakeConfig, make_run: MakeRun
) -> None:
    run = make_run(make_config(backbone=kind if stage == "backbone" else "lora", roles=kind), stage)
    model = _shake(make_model(run))
    together = _compute(run, model, [tuple(run.items)])
    apart = _compute(run, model, [(item,) for item in run.items])
    assert together[0] == pytest.approx(apart[0], abs=1e-4)
    _assert_close(together[1], apart[1])


@pytest.mark.parametrize(
    ("role", "window"), [("planner", None), ("caller", None), ("summarizer", None), ("planner", 24), ("caller", 60)]
)
def test_shared_prefix_equals_one_sample_per_turn_with_the_activated_lora_of_peft(
    role: Role, window: int | None, make_config: MakeConfig, make_run: MakeRun
) -> None:
    run = make_run(make_config(), role, window=window)
    model = _shake(make_model(run))
    loss, gradients = _compute(run, model, [tuple(run.items)])

    plain: Any = _make_activated(run.base, run.markers[role])
    plain.load_state_dict(model.state_dict())
    samples = list(_cut_into_samples(run))
    assert len(samples) > len(run.items)
    losses = []
    for ids, start in samples:
        logits = plain(input_ids=ids[None]).logits[0]
        losses.append(F.cross_entropy(logits[start - 1 : -1], ids[start:], reduction="sum"))
    expected = torch.stack(losses).sum() / sum(len(ids) - start for ids, start in samples)
    expected.backward()  # type: ignore[no-untyped-call]
    assert loss == pytest.approx(expected.item(), abs=1e-4)
    _assert_close(gradients, {name: p.grad for name, p in plain.named_parameters() if p.grad is not None})


def _make_activated(base: Path, marker: Any) -> Any:
    with quiet_peft():
        return get_peft_model(
            AutoModelForCausalLM.from_pretrained(base),
            LoraConfig(
                r=4,
                lora_alpha=32,
                target_modules="all-linear",
                task_type="CAUSAL_LM",
                alora_invocation_tokens=list(marker),
            ),
        )


def _cut_into_samples(run: StageRun) -> Iterator[tuple[torch.Tensor, int]]:
    """Yield the paper's samples: everything up to a turn's end, and where the turn starts."""
    for item in run.items:
        for turn in item.turns:
            yield item.input_ids[: turn.end].long(), turn.start


def test_a_trained_token_weighs_what_it_is_given(make_config: MakeConfig, make_run: MakeRun) -> None:
    plain = make_run(make_config(), "planner")
    weighted = make_run(make_config(token_weights={"decision": 3.0}), "planner")
    model = make_model(plain)
    ones, threes = [item.weights for item in plain.items], [item.weights for item in weighted.items]
    assert ones == [None] * len(ones)
    n_heavy = sum(int((each == 3).sum()) for each in threes if each is not None)
    n_turns = sum(len(item.turns) for item in weighted.items)
    assert n_heavy >= n_turns
    loss = _compute(plain, model, [tuple(plain.items)])[0]
    heavier = _compute(weighted, model, [tuple(weighted.items)])[0]
    assert loss < heavier < 3 * loss


def test_the_frozen_backbone_gets_no_gradient(make_config: MakeConfig, make_run: MakeRun) -> None:
    run = make_run(make_config(), "caller")
    gradients = _compute(run, make_model(run), [tuple(run.items)])[1]
    assert gradients
    assert all("lora_" in name for name in gradients)


def test_a_loss_that_is_no_number_stops_and_says_where(
    make_config: MakeConfig, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(make_config(save_every_steps=2), "planner")
    _spoil(monkeypatch, at_call=4)
    with pytest.raises(TrainingStopped, match=r"step 4 .* loss is nan on trajectories own-\d.*checkpoint-2"):
        run_stage(run)
    checkpoint = find_checkpoint(run.work)
    assert checkpoint is not None
    assert checkpoint.name == "checkpoint-2"


def _spoil(monkeypatch: pytest.MonkeyPatch, *, at_call: int) -> None:
    """Make the n-th loss of the training not a number, as an overflow would."""
    real, calls = kernels.cross_entropy, iter(range(1, 1000))

    def cross_entropy(*args: Any, **kwargs: Any) -> torch.Tensor:
        return real(*args, **kwargs) * (float("nan") if next(calls) == at_call else 1.0)

    monkeypatch.setattr("alpha_umi.training.trainer.cross_entropy", cross_entropy)


def test_gradients_that_are_no_numbers_stop_before_the_weights_are_changed(
    make_config: MakeConfig, make_run: MakeRun
) -> None:
    run = make_run(make_config(save_every_steps=2), "planner")
    model = make_model(run)
    parameter = next(p for p in model.parameters() if p.requires_grad)
    parameter.register_hook(lambda gradient: gradient * float("inf"))
    before = parameter.detach().clone()
    with pytest.raises(TrainingStopped, match=r"norm of the gradients is (nan|inf)"):
        make_trainer(run, model).train()
    assert torch.equal(parameter, before)


def test_a_full_disk_keeps_the_checkpoint_before_and_leaves_no_half(
    make_config: MakeConfig, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(make_config(save_every_steps=2), "planner")
    real = torch.save

    def save(value: Any, path: Any, *args: Any, **kwargs: Any) -> None:
        if "checkpoint-4" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(value, path, *args, **kwargs)

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(TrainingStopped, match=r"No space left.*MB are free.*checkpoint-2.*--resume"):
        run_stage(run)
    assert [path.name for path in sorted(run.work.glob("checkpoint-*"))] == ["checkpoint-2"]
    assert find_checkpoint(run.work) is not None


def _count_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every optimiser step take ten seconds."""
    ticks = itertools.count(step=10.0)
    monkeypatch.setattr("alpha_umi.training.stage.TrainingClock", partial(TrainingClock, clock=lambda: next(ticks)))


def test_a_clock_ends_the_training_and_its_learning_rate(
    make_config: MakeConfig, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    _count_time(monkeypatch)
    run = make_run(make_config(max_minutes=2, epochs=100, warmup_ratio=0.25, learning_rate=1e-2), "planner")
    assert run_stage(run)["n_steps"] == 12
    rates = [json.loads(line)["learning_rate"] for line in (run.logs / METRICS).read_text().splitlines()]
    peak = rates.index(max(rates))
    assert peak in (1, 2, 3)
    assert rates == sorted(rates[: peak + 1]) + sorted(rates[peak + 1 :], reverse=True)
    assert rates[-1] < 5e-4 < 9e-3 < rates[peak]


def test_a_resumed_training_goes_on_at_its_time(
    make_config: MakeConfig, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    _count_time(monkeypatch)
    run = make_run(make_config(max_minutes=1, epochs=100, save_every_steps=2), "planner")
    step, n_steps = TrainingClock.on_step_end, itertools.count(1)

    def stop(*args: Any, **kwargs: Any) -> None:
        step(*args, **kwargs)
        if next(n_steps) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(TrainingClock, "on_step_end", stop)
    with pytest.raises(KeyboardInterrupt):
        run_stage(run)
    assert find_checkpoint(run.work) == run.work / "checkpoint-2"
    assert run_stage(run)["n_steps"] == 6  # 20 s were spent, 40 s are left
    assert run_stage(run)["n_steps"] == 6  # a run that was killed after its time is exported as it is
