"""Fuzzing with atheris, which keeps the inputs that reach new code and changes them further.

It takes a process for itself and ends it, so each target has its own: ``python -m fuzz.guided TARGET [options]``.
"""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import time
import warnings
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_N_EXECUTED = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_MAX_INPUT_BYTES = 2000
_GRACE_S = 120  # for the imports and the instrumentation


def is_available() -> bool:
    """Say whether atheris is installed; it has wheels for Linux alone."""
    return find_spec("atheris") is not None


def run(name: str, n: int, seconds: int, folder: Path) -> tuple[int, float, list[str]]:
    """Fuzz one target in its own process, from the corpus of earlier runs.

    Returns:
        Number of inputs, seconds, and one line for a crash.
    """
    corpus, found = folder / "corpus" / name, folder / "crashes" / f"{name.replace('/', '-')}-"
    _write_seeds(corpus)
    found.parent.mkdir(exist_ok=True)
    limits = [f"-runs={n}", f"-max_total_time={seconds}", f"-max_len={_MAX_INPUT_BYTES}", "-timeout=10"]
    options = [*limits, f"-artifact_prefix={found}", "-print_final_stats=1", f"-dict={_write_dictionary(folder)}"]
    command = [sys.executable, "-m", "fuzz.guided", name, *options, str(corpus)]
    start = time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=seconds + _GRACE_S)
    except subprocess.TimeoutExpired:
        return 0, time.perf_counter() - start, ["did not end in time"]
    match = _N_EXECUTED.search(done.stderr)
    crashes = [] if done.returncode == 0 else [f"exit status {done.returncode}: {_explain(done.stderr, done.stdout)}"]
    return int(match[1]) if match else 0, time.perf_counter() - start, crashes


def _explain(*outputs: str) -> str:
    lines = [line for output in outputs for line in output.splitlines()]
    telling = [line for line in lines if "Error" in line or "ERROR" in line or "Test unit written" in line]
    return " | ".join(telling[-4:])[:1000]


def _write_seeds(corpus: Path) -> None:
    """Begin a corpus with the hostile texts of the reliability tests."""
    if corpus.is_dir():
        return
    corpus.mkdir(parents=True)
    for id_, text in import_module("tests.reliability.hostile").CASES.items():
        if len(text) < _MAX_INPUT_BYTES:
            (corpus / id_).write_bytes(text.encode("utf-8", "replace"))


def _write_dictionary(folder: Path) -> Path:
    pieces = import_module("fuzz.pieces")
    words = [piece.encode("utf-8", "replace") for piece in (*pieces.PIECES, *pieces.KEYS) if 0 < len(piece) < 60]
    path = folder / "dictionary.txt"
    path.write_text("".join('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in words))
    return path


def main() -> None:
    """Hand this process to atheris."""
    atheris: Any = import_module("atheris")
    name = sys.argv.pop(1)
    logging.disable()
    warnings.simplefilter("ignore")
    with atheris.instrument_imports(include=["alpha_umi.nodes", "alpha_umi.tools", "alpha_umi.training.data"]):
        target = import_module("fuzz.targets").TARGETS[name]
    pieces = import_module("fuzz.pieces")
    is_text = target.make is pieces.make_text

    def test_one_input(data: bytes) -> None:
        target.run(data.decode("utf-8", "replace") if is_text else target.make(pieces.FedRandom(data)))

    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
