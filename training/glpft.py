"""Global-to-local progressive fine-tuning: the stages of a method, run in order, each at most once.

Stage 1 trains one backbone on whole trajectories; stage 2 continues from it once per role. What is in the folder
decides what is left to do (`alpha_umi.training.checkpoint_folder`), so a run can be killed at any moment and started
again.

Source: arXiv 2401.07324, section 3.2.
"""

from __future__ import annotations

import hashlib
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypeAlias

from accelerate import PartialState  # type: ignore[import-untyped]
from transformers import PreTrainedTokenizerBase

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.render import load_template
from alpha_umi.nodes.format.trajectory import ROLES, Role
from alpha_umi.nodes.models.engine.checkpoint import (
    CALLER_MAY_OMIT,
    FORMAT,
    REPEAT_NAMES,
    Checkpoint,
    CheckpointPart,
    hash_file,
    hash_weights,
    read_checkpoint,
)
from alpha_umi.nodes.models.engine.fit import (
    check_layers,
    check_part_folder,
    describe_model,
    find_settings,
    read_adapter_config,
)
from alpha_umi.nodes.models.engine.weights import resolve
from alpha_umi.nodes.state import History
from alpha_umi.training.batches import Corpus, TrainingItem, load_corpus, make_batches, make_marker, make_stage_samples
from alpha_umi.training.callbacks import ProgressBar
from alpha_umi.training.charts import load_matplotlib
from alpha_umi.training.checkpoint_folder import CURVES, LOGS, CheckpointFolder, draw_curves
from alpha_umi.training.config import StageName, TrainConfig
from alpha_umi.training.data.dataset import ROWS_FILE
from alpha_umi.training.estimate import Cost, choose_precision, estimate
from alpha_umi.training.samples import load_tokenizer
from alpha_umi.training.stage import (
    EXPORT,
    StageRun,
    check_quantization,
    run_stage,
    uses_cpu,
)

Status: TypeAlias = Literal["done", "resume", "new"]
_PACKAGES = ("alpha-umi", "torch", "transformers", "peft", "accelerate")


@dataclass(frozen=True, slots=True)
class StageReport:
    """What was done, or in a dry run would be done, for one stage.

    Args:
        status: ``done`` (nothing to do), ``resume`` (continues from a checkpoint) or ``new``.
        n_batches: Forward passes per epoch.
        n_too_long: Trajectories that do not fit `max_tokens`, at least in part, even when cut.
        metrics: As recorded in ``umi.json``; empty if the stage has not run.
        cost: An estimate; only in a dry run.
    """

    name: StageName
    kind: str
    status: Status
    n_samples: int
    n_tokens: int
    n_batches: int
    n_steps: int
    n_too_long: int
    metrics: Mapping[str, Any]
    cost: Cost | None = None


def train(
    config: TrainConfig,
    data: str | Path,
    out: str | Path,
    *,
    only: Role | None = None,
    resume: bool = False,
    dry_run: bool = False,
    progress: bool = False,
) -> list[StageReport]:
    """Train the stages of a method into a checkpoint folder.

    Started by ``accelerate launch``, it uses several processes.

    Args:
        config: From `load_config`.
        data: Folder made by ``alpha-umi data build``.
        out: The checkpoint folder.
        only: Train this role alone, again if it was trained before; the stages that it needs must be there.
        resume: Continue what is in `out`.
        dry_run: Check everything and report what would be done and what it costs, without training or writing. Of the
            base, configuration and tokenizer are enough.
        progress: Draw progress bars on stderr.

    Raises:
        ConfigError: If settings, base model or `out` do not fit together, or matplotlib is not installed.
        TrajectoryError: If the data cannot be used.
        TrainingStopped: If the loss is no number or the disk is full; `resume` continues from the last checkpoint.
    """
    if only is not None and only not in config.stage_names:
        raise ConfigError(f"Method {config.method!r} trains no {only!r} of its own; leave out --only.")
    names = config.stage_names if only is None else (only,)
    config.require_stages(names)
    if not dry_run:
        load_matplotlib()  # where it is missing, fail before the training and not after it
        check_quantization(config)
    base = resolve(config.base)
    if not dry_run or any(base.glob("*.safetensors")):
        check_part_folder(base, "full")
    check_layers(base)
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = load_template(config.template)
    card = _make_card(config, base, tokenizer)
    output = CheckpointFolder(Path(out), card)
    _check_output(output, card, only=only, resume=resume)
    if config.precision == "auto":  # what was begun stays as it is, also on another machine
        precision = output.find_precision() or choose_precision(config, base)
        config = config.model_copy(update={"precision": precision})
    start = _read_start(config, card, names)
    training = _Training(config, load_corpus(data), base, tokenizer, output, start, only, resume, progress)
    reports = [training.do(name, dry_run=dry_run) for name in names]
    if PartialState().is_main_process and any(report.status != "done" for report in reports) and not dry_run:
        logs = output.path / LOGS
        (logs / CURVES).write_text(draw_curves(logs), "utf-8")
    return reports


@dataclass(frozen=True)
class _Training:
    """What the stages of one call of `train` share."""

    config: TrainConfig
    corpus: Corpus
    base: Path
    tokenizer: PreTrainedTokenizerBase
    output: CheckpointFolder
    start: Checkpoint | None
    only: Role | None
    resume: bool
    progress: bool

    def do(self, name: StageName, *, dry_run: bool) -> StageReport:
        """Finish one stage, from where it is."""
        is_shown = self.progress and not dry_run and PartialState(cpu=uses_cpu(self.config)).is_main_process
        minutes = self.config.stages[name].max_minutes
        bar = ProgressBar(name, show=is_shown, limit_s=math.inf if minutes is None else 60 * minutes)
        try:
            return self._do(name, bar, dry_run=dry_run)
        finally:
            bar.stop()

    def _do(self, name: StageName, bar: ProgressBar, *, dry_run: bool) -> StageReport:
        settings = self.config.stages[name]
        samples = make_stage_samples(self.corpus, self.config, name, self.tokenizer)
        inputs = self._get_inputs(name)
        status = self._get_status(name, inputs)
        if not dry_run and status != "done":
            self._run(name, inputs, samples.items, bar, start_over=status == "new")
        n_batches = len(make_batches(samples.items, settings.tokens_per_forward))
        return StageReport(
            name=name,
            kind=settings.kind,
            status=status,
            n_samples=sum(item.n_trajectories for item in samples.items),
            n_tokens=sum(map(len, samples.items)),
            n_batches=n_batches,
            n_steps=settings.count_steps(n_batches),
            n_too_long=samples.n_too_long,
            metrics=self.output.card["stages"].get(name, {}).get("metrics", {}),
            cost=estimate(self.config, name, self.base, samples.items) if dry_run else None,
        )

    def _get_inputs(self, name: StageName) -> dict[str, Any]:
        """Return all that the result of a stage depends on."""
        parent = {} if name == "backbone" else self.output.card.get("backbone", {})
        return {
            **self.config.model_dump(include={"reuse", "seed", "max_tokens", "precision", "token_weights"}),
            **self.config.stages[name].model_dump(exclude={"save_every_steps"}),
            "data": self.corpus.sha256,
            "parent": parent.get("sha256", ""),
            **({"start": self._get_start(name).sha256} if self.start else {}),
            **({"repeat_names": True} if self.config.repeat_names else {}),
            **({"history": self.config.model_dump()["history"]} if self.config.history != History() else {}),
            **({"quantization": self.config.quantization} if self.config.quantization != "none" else {}),
        }

    def _get_start(self, name: StageName) -> CheckpointPart:
        if self.start is None:
            return CheckpointPart("none")
        return self.start.backbone if name == "backbone" else self.start.roles[name]

    def _get_status(self, name: StageName, inputs: dict[str, Any]) -> Status:
        trained, begun = self.output.card["stages"].get(name, {}).get("inputs"), self.output.get_begun(name)
        if self.only is not None and not self.resume:
            return "new"
        if begun is not None:
            remedy = f"put it back, or remove {self.output.get_work(name)} to start over"
            _check_same(begun, inputs, f"Stage {name!r} was begun", remedy)
            return "resume"
        if trained is None or (self.only is not None and trained != inputs):
            return "new"
        _check_same(trained, inputs, f"Stage {name!r} was trained", "put it back, or give another --out")
        return "done"

    def _run(
        self,
        name: StageName,
        inputs: dict[str, Any],
        items: Sequence[TrainingItem],
        bar: ProgressBar,
        *,
        start_over: bool,
    ) -> None:
        processes = PartialState(cpu=uses_cpu(self.config))
        processes.wait_for_everyone()  # all have looked at the folder before one writes into it
        if processes.is_main_process:
            self.output.begin(name, inputs, start_over=start_over)
            self.output.save_tokenizer(self.tokenizer)
        processes.wait_for_everyone()
        run = StageRun(
            name=name,
            config=self.config,
            base=self.base,
            parent=self._read_parent(name),
            items=items,
            markers={role: tuple(make_marker(self.tokenizer, role)) for role in ROLES},
            work=self.output.get_work(name),
            logs=self.output.path / LOGS / name,
            bar=bar,
            start=self._get_start(name),
        )
        metrics = run_stage(run)
        self._enter(run)
        versions = {"python": platform.python_version(), **{package: version(package) for package in _PACKAGES}}
        self.output.card["stages"][name] = {"inputs": inputs, "metrics": metrics}
        self.output.card |= {"config": self.config.model_dump(), "versions": versions}
        if "caller" in self.config.get_roles(name):
            self.output.card[CALLER_MAY_OMIT] = self.config.caller_may_omit
        self.output.card[REPEAT_NAMES] = self.config.repeat_names
        processes.wait_for_everyone()
        if processes.is_main_process:
            self.output.publish(name)
        processes.wait_for_everyone()

    def _read_parent(self, name: StageName) -> CheckpointPart:
        entry: dict[str, Any] = {"kind": "none"} if name == "backbone" else self.output.card["backbone"]
        if entry["kind"] == "none":
            return CheckpointPart("none")
        path = self.output.path / entry["path"]
        check_part_folder(path, entry["kind"])
        if hash_weights(path) != entry["sha256"]:
            raise ConfigError(f"{path} was changed after its training; restore it, or train again into another --out.")
        return CheckpointPart(entry["kind"], path, entry["sha256"])

    def _enter(self, run: StageRun) -> None:
        """Name a finished stage in the card."""
        card = self.output.card
        folder, kind = run.work / EXPORT, run.settings.kind
        entry = {"kind": kind, "path": run.name, "sha256": hash_weights(folder)}
        entry["settings_sha256"] = hash_file(find_settings(folder, kind))
        if run.name != "backbone":
            marker = {"invocation_tokens": list(run.markers[run.name])} if run.settings.kind == "alora" else {}
            card["roles"][run.name] = entry | marker
            return
        card["backbone"] = entry
        if self.config.stage_names == ("backbone",):
            card["roles"] = {role: {"kind": "none"} for role in ROLES}


def _make_card(config: TrainConfig, base: Path, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    found = hash_weights(base)
    if config.base_sha256 not in (None, found):
        raise ConfigError(
            f"Base model {base} has other weights (sha256 {found}) than the configuration's base_sha256 "
            f"({config.base_sha256}); pull the right one, or correct the configuration."
        )
    template = hashlib.sha256(str(tokenizer.chat_template).encode()).hexdigest()
    card: dict[str, Any] = {
        "format": FORMAT,
        "method": config.method,
        "base": {"name": config.base, "sha256": found},
        "base_settings": describe_model(base),
        # style says how the role messages are rendered, which is the same for both templates
        "template": {"name": config.template, "style": "umi", "sha256": template},
        "roles": {},
        "stages": {},
    }
    return card if "backbone" in config.stage_names else card | {"backbone": {"kind": "none"}}


def _read_start(config: TrainConfig, card: Mapping[str, Any], names: Sequence[StageName]) -> Checkpoint | None:
    """Return the checkpoint whose adapters are trained further: one for each of these stages, of the same rank.

    A role that the backbone played alone begins with a new adapter.
    """
    if config.start_from is None:
        return None
    start = read_checkpoint(resolve(config.start_from))
    if start.base_sha256 != card["base"]["sha256"]:
        raise ConfigError(f"start_from: {start.path} stands on other weights ({start.base}) than {config.base}.")
    for name in names:
        part = start.backbone if name == "backbone" else start.roles[name]
        if part.kind == "none" and name != "backbone":
            continue
        if part.path is None or part.kind == "full":
            raise ConfigError(f"start_from: {start.path} has no adapter for stage {name!r}.")
        if (rank := read_adapter_config(part.path)["r"]) != config.stages[name].lora_rank:
            raise ConfigError(f"start_from: {part.path} has lora_rank {rank}; set lora_rank of {name!r} to it.")
    return start


def _check_output(output: CheckpointFolder, fresh: Mapping[str, Any], *, only: Role | None, resume: bool) -> None:
    """Refuse a folder that holds another training, or one to be resumed without `resume`."""
    if output.has_begun and not resume and only is None:
        raise ConfigError(
            f"{output.path} holds a training already: go on with --resume, retrain one role with --only ROLE, or give "
            "another --out."
        )
    if (output.path / ROWS_FILE).exists():
        raise ConfigError(f"{output.path} is a folder of training data; give another --out.")
    for key in ("method", "base", "template"):
        _check_same({key: output.card[key]}, {key: fresh[key]}, f"{output.path} was begun", "give another --out")
    if only is not None and "backbone" not in output.card:
        raise ConfigError(f"{output.path} has no backbone for the {only} to start from; train without --only first.")


def _check_same(was: Mapping[str, Any], is_: Mapping[str, Any], what: str, remedy: str) -> None:
    for key in was.keys() | is_.keys():
        if was.get(key) != is_.get(key):
            raise ConfigError(f"{what} with {key} {was.get(key)!r}, now it is {is_.get(key)!r}: {remedy}.")
