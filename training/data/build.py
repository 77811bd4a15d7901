"""`alpha-umi data build`: sources → `trajectories.jsonl`, `report.json` and `report.md`.

Two passes, so that memory grows only with the number of hashes: the first reads, cleans and deduplicates into a
temporary file, the second, knowing which tools are called how often, splits and writes. A line of the result is
``{"id", "source", "split", "trajectory"}``.
"""

from __future__ import annotations

import hashlib
import json
import random
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.progress import Progress

from alpha_umi.errors import ConfigError, TrajectoryError
from alpha_umi.files import write_atomically
from alpha_umi.nodes.format.trajectory import Trajectory
from alpha_umi.progress import make_progress
from alpha_umi.training.data.clean import clean
from alpha_umi.training.data.dataset import ROWS_FILE, UNREADABLE, Example, Reader, Tally, make_row
from alpha_umi.training.data.report import BuildReport, render_report
from alpha_umi.training.data.sources import load_reader
from alpha_umi.training.data.split import Exclusions, ToolUse, assign_split, choose_heldout_tools, normalize
from alpha_umi.training.data.vary_names import vary_names
from alpha_umi.training.samples import make_sample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """How examples become the training file.

    Args:
        exclude: Tasks to leave out.
        heldout_tools: Share of each source's trajectories that tools may take into ``dev-tools``, in [0, 1).
        heldout_instructions: Share of the remaining instructions in ``dev-instructions``, in [0, 1).
        max_observation_chars: Longer observations are cut in the middle, as a `Toolbox` with this bound does.
        limits: By source, the most trajectories to keep: the first that pass.
        seed: Of the splits, of the names and of the sources that draw at random.
        vary_names: Share of ``train`` in which tools and arguments get other names, in [0, 1].
        keep_ways: Of one task, keep trajectories whose calls differ.

    Raises:
        ConfigError: If a share is not in its range, or a limit is below 1.
    """

    exclude: Exclusions = field(default_factory=Exclusions)
    heldout_tools: float = 0.1
    heldout_instructions: float = 0.05
    max_observation_chars: int = 4000
    limits: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0
    vary_names: float = 0.0
    keep_ways: bool = False

    def __post_init__(self) -> None:
        """Refuse shares that leave nothing to train on."""
        for name in ("heldout_tools", "heldout_instructions"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; give a share of at least 0 and below 1.")
        if not 0 <= self.vary_names <= 1:
            raise ConfigError(f"vary_names is {self.vary_names}; give a share from 0 to 1.")
        for source, limit in self.limits.items():
            if limit < 1:
                raise ConfigError(f"The limit of {source} is {limit}; leave the source out, or give at least 1.")


def build(
    sources: Sequence[str],
    out: Path,
    settings: BuildSettings = BuildSettings(),
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    console: Console | None = None,
) -> BuildReport:
    """Read all sources and write the training file and its reports; either all three files are replaced, or none.

    Args:
        sources: ``NAME:LOCATION`` each; what a location is, the source's docstring says.
        out: Folder to write into.
        settings: How to split and clean.
        tokenizer: If given, the lengths of the trajectories in tokens are part of the report.
        console: Where progress is shown.

    Raises:
        ConfigError: If a source is unknown, its location is not there, or the files cannot be written.
        TrajectoryError: If a record is not what its source is documented to hold (with file and line), or if nothing
            is left to train on.
    """
    readers = [_parse_source(source) for source in sources]
    if unread := sorted(settings.limits.keys() - {name for name, _, _ in readers}):
        raise ConfigError(f"A limit is given for {', '.join(unread)}, which is no --source of this build.")
    names = ("heldout_tools", "heldout_instructions", "max_observation_chars", "seed", "vary_names")
    chosen = {name: getattr(settings, name) for name in names} | {"limits": dict(settings.limits)}
    report = BuildReport({"sources": list(sources), **chosen})
    is_new = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile("w+", encoding="utf-8", dir=out) as spool, make_progress(console) as progress:
            builder = _Builder(settings, report, spool, progress)
            use = builder.read_all(readers)
            if not use.totals:
                reasons = [f"{reason} ({n})" for each in report.tallies.values() for reason, n in each.dropped.items()]
                why = ", ".join(reasons) or "the sources hold no records"
                raise TrajectoryError(f"No trajectory is left to write: {why}. Check the sources.")
            report.heldout_tools = sorted(choose_heldout_tools(use, settings.heldout_tools, settings.seed))
            builder.write_all(out, tokenizer)
    except BaseException as error:
        if is_new:
            with suppress(OSError):  # there is something in it
                out.rmdir()
        if not isinstance(error, OSError):
            raise
        raise ConfigError(
            f"{error}. What was in {out} before is unchanged; check permissions and free space."
        ) from error
    return report


def list_way(trajectory: Trajectory) -> list[Any]:
    """Return what tells two ways through one task apart: calls and decisions, and not words."""
    steps = [step for turn in trajectory.turns for step in turn.steps]
    return [[step.decision, [[call.name, call.arguments] for call in step.calls]] for step in steps]


def _parse_source(source: str) -> tuple[str, str, Reader]:
    name, _, location = source.partition(":")
    if not location:
        raise ConfigError(f"--source {source!r}: write NAME:PATH, such as gsm8k:train.jsonl, or builtin:N.")
    return name, location, load_reader(name)


@dataclass(frozen=True)
class _Builder:
    """The two passes over the examples, counting into one report."""

    _settings: BuildSettings
    _report: BuildReport
    _spool: TextIO
    _progress: Progress
    _seen: set[bytes] = field(default_factory=set)

    def read_all(self, readers: Iterable[tuple[str, str, Reader]]) -> ToolUse:
        """Write every example that is kept to the spool, and count which tools are called."""
        use = ToolUse()
        ids: Counter[str] = Counter()
        for name, location, read in readers:
            tally = self._report.tallies.setdefault(name, Tally())
            task = self._progress.add_task(name, total=None)
            for example in read(location, tally, seed=self._settings.seed):
                if kept := self._keep(example, tally):
                    tally.kept += 1
                    use.add(kept.source, kept.trajectory, movable=kept.split is None)
                    ids[kept.id] += 1
                    self._write_to_spool(kept, copy=ids[kept.id])
                counts = f"{name}: {tally.kept:,} kept, {tally.dropped.total():,} dropped"
                self._progress.update(task, advance=1, description=counts)
                if tally.kept == self._settings.limits.get(name):
                    break
            self._progress.stop_task(task)
            if not tally.kept and set(tally.dropped) == {UNREADABLE}:
                raise TrajectoryError(
                    f"No record of {name}:{location} can be read. The first: {tally.first[UNREADABLE]}"
                )
        return use

    def _keep(self, example: Example, tally: Tally) -> Example | None:
        """Return the example as it may be trained on, or None if it is dropped."""
        if example in self._settings.exclude:
            tally.drop("excluded", example.where)
            return None
        trajectory = clean(example, tally, max_observation_chars=self._settings.max_observation_chars)
        if trajectory is None:
            return None
        # Two trajectories with one key solve the same task with the same tools.
        instructions = [normalize(turn.instruction) for turn in trajectory.turns]
        way = list_way(trajectory) if self._settings.keep_ways else []
        key = json.dumps([instructions, sorted(tool.name for tool in trajectory.tools), *way])
        digest = blake2b(key.encode(), digest_size=16).digest()
        if digest in self._seen:
            tally.drop("duplicate of a task already read", example.where)
            return None
        self._seen.add(digest)
        return replace(example, trajectory=trajectory)

    def write_all(self, out: Path, tokenizer: PreTrainedTokenizerBase | None) -> None:
        """Split what is in the spool, and write the training file and its reports."""
        report = self._report
        task = self._progress.add_task("write", total=sum(tally.kept for tally in report.tallies.values()))
        digest = hashlib.sha256()
        with ExitStack() as files:
            rows = files.enter_context(write_atomically(out / ROWS_FILE))
            for example in map(self._vary, map(self._assign, self._read_spool())):
                line = json.dumps(make_row(example), ensure_ascii=False) + "\n"
                rows.write(line)
                digest.update(line.encode())
                length_tokens = None if tokenizer is None else len(make_sample(example.trajectory, tokenizer).input_ids)
                report.splits[example.split or "train"].add(example.source, example.trajectory, length_tokens)
                self._progress.update(task, advance=1)
            if not report.splits["train"].sources:
                raise TrajectoryError(
                    "All trajectories are held out, none is left to train on; lower the held-out shares."
                )
            report.sha256 = digest.hexdigest()
            content = report.to_json()
            json.dump(content, files.enter_context(write_atomically(out / "report.json")), ensure_ascii=False, indent=2)
            files.enter_context(write_atomically(out / "report.md")).write(render_report(content))

    def _write_to_spool(self, example: Example, *, copy: int) -> None:
        """Write what is needed to split; an id that occurs again gets a number."""
        name = example.id if copy == 1 else f"{example.id}~{copy}"
        group = example.group or normalize(example.trajectory.turns[0].instruction)
        self._spool.write(json.dumps({**make_row(example), "id": name, "where": example.where, "group": group}) + "\n")

    def _read_spool(self) -> Iterator[Example]:
        self._spool.seek(0)
        for row in map(json.loads, self._spool):
            yield Example(**row | {"trajectory": Trajectory.from_row(row["trajectory"])})

    def _assign(self, example: Example) -> Example:
        if example.split is not None:
            return example
        heldout, share, seed = self._report.heldout_tools, self._settings.heldout_instructions, self._settings.seed
        split, trajectory = assign_split(
            example.trajectory, example.group, heldout_tools=frozenset(heldout), share=share, seed=seed
        )
        return replace(example, split=split, trajectory=trajectory)

    def _vary(self, example: Example) -> Example:
        """Give other names to the tools of a share of the training data; what is held out is told by its old ones.

        Conversations that offer the same tools still do so afterwards.
        """
        offered = " ".join(tool.name for tool in example.trajectory.tools)
        rng = random.Random(f"{self._settings.seed} names {offered}".encode("utf-8", "replace"))
        if example.split != "train" or rng.random() >= self._settings.vary_names:
            return example
        return replace(example, trajectory=vary_names(example.trajectory, rng))
