"""The beginnings of prompts that llama.cpp keeps on disk."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from langchain_core.messages import AIMessage

from alpha_umi.nodes.format.render import render_messages
from alpha_umi.nodes.format.trajectory import Trajectory, Turn
from alpha_umi.nodes.models.engine.llamacpp.gguf import Quantization
from alpha_umi.nodes.models.engine.llamacpp.prefixes import SavedPrefixes
from alpha_umi.nodes.models.engine.scheduler import close_engines
from alpha_umi.nodes.models.local import LocalChatModel
from alpha_umi.tools.spec import ToolSpec

pytest.importorskip("xllamacpp", reason="needs the extra llamacpp")

TOOLS = (ToolSpec("add", "Adds two numbers and says what they are together.", {"type": "object", "properties": {}}),)
PREFIXES = "alpha_umi.nodes.models.engine.llamacpp.prefixes"
Ask = Callable[..., AIMessage]


@pytest.fixture
def ask(trained_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Answer as a process that has just begun would."""
    monkeypatch.setenv("ALPHA_UMI_CACHE", str(tmp_path))

    def ask_anew(question: str, role: str = "summarizer", dtype: Quantization = "f32") -> AIMessage:
        close_engines()
        model = LocalChatModel(model=str(trained_folder), engine="llamacpp", dtype=dtype, max_tokens=12)
        return model.invoke([*render_messages(Trajectory(TOOLS, (Turn(question),)))], role=role, tools=list(TOOLS))

    return ask_anew


def count_cached(reply: AIMessage) -> int:
    assert reply.usage_metadata is not None
    return reply.usage_metadata["input_token_details"]["cache_read"]


def find_file(folder: Path) -> Path:
    (path,) = (folder / "prefixes").iterdir()
    return path


def test_the_next_start_computes_the_tools_no_more_and_says_the_same(ask: Ask, tmp_path: Path) -> None:
    before = ask("What is 2 + 3?")
    assert count_cached(before) == 0
    other = ask("Tell me of 7.")
    find_file(tmp_path).unlink()
    assert count_cached(other) > 64
    assert ask("Tell me of 7.").text == other.text
    assert ask("What is 2 + 3?").text == before.text


def test_no_word_of_the_user_is_kept(ask: Ask, tmp_path: Path) -> None:
    ask("a b c d e")
    file = find_file(tmp_path)
    n_bytes = file.stat().st_size
    ask("What is 2 + 3, and which weekday is it?")
    assert find_file(tmp_path) == file
    assert file.stat().st_size == n_bytes


def test_other_weights_and_what_adapters_compute_have_no_part_in_it(ask: Ask, tmp_path: Path) -> None:
    ask("What is 2 + 3?", "planner")  # a plain LoRA, on from the beginning
    assert not (tmp_path / "prefixes").exists()
    ask("What is 2 + 3?")
    assert count_cached(ask("What is 2 + 3?", dtype="f16")) == 0
    assert len(list((tmp_path / "prefixes").iterdir())) == 2


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flip(data: bytes) -> bytes:
    return data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]


@pytest.mark.parametrize("damage", [cut, flip, lambda data: b"", lambda data: b"of something else" * 99])
def test_a_damaged_file_is_as_good_as_none_and_made_anew(
    ask: Ask, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    said = ask("What is 2 + 3?").text
    file = find_file(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    again = ask("What is 2 + 3?")
    assert (again.text, count_cached(again)) == (said, 0)
    assert find_file(tmp_path).read_bytes() == whole


def test_a_file_of_another_model_is_not_used(tmp_path: Path) -> None:
    one, two = SavedPrefixes(tmp_path, "one"), SavedPrefixes(tmp_path, "two")
    one.write([1, 2], b"numbers")
    theirs = find_file_of(one, tmp_path)
    two.write([1, 2], b"others")
    os.replace(theirs, next(path for path in tmp_path.iterdir() if path != theirs))
    assert one.read([1, 2]) is two.read([1, 2]) is None
    assert not list(tmp_path.iterdir())


def find_file_of(saved: SavedPrefixes, folder: Path) -> Path:
    (path,) = folder.iterdir()
    assert saved.read([1, 2])
    return path


def test_what_was_not_used_for_longest_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{PREFIXES}.MAX_BYTES", 1_000)
    monkeypatch.setattr(f"{PREFIXES}._MAX_WRITTEN", 9)
    saved = SavedPrefixes(tmp_path, "one")
    for number in range(6):
        saved.write([number], bytes(300))
        for age, path in enumerate(sorted(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns, reverse=True)):
            os.utime(path, (1e9 - age, 1e9 - age))
        assert saved.read([0])
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1_000
    assert [number for number in range(6) if saved.read([number])] == [0, 4, 5]


def test_a_process_that_meets_other_tools_each_time_writes_few_files(tmp_path: Path) -> None:
    saved = SavedPrefixes(tmp_path, "one")
    for number in range(50):
        if saved.wants([number], 10):
            saved.write([number], bytes(10))
    assert len(list(tmp_path.iterdir())) == 4
    assert not SavedPrefixes(tmp_path, "one").wants([0], 10)
    assert not SavedPrefixes(tmp_path, "one").wants([99], 10**9)


def test_several_writers_and_readers_see_whole_files_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{PREFIXES}.MAX_BYTES", 20_000)
    monkeypatch.setattr(f"{PREFIXES}._MAX_WRITTEN", 10**6)

    def work(seed: int) -> int:
        rng, saved, n_read = random.Random(seed), SavedPrefixes(tmp_path, "one"), 0
        for _ in range(150):
            number = rng.randrange(6)
            if rng.random() < 0.5:
                saved.write([number], bytes([number]) * 5_000)
            elif (data := saved.read([number])) is not None:
                assert data == bytes([number]) * 5_000
                n_read += 1
        return n_read

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(8))) > 0


def test_a_disk_that_takes_nothing_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    saved = SavedPrefixes(tmp_path / "file", "one")
    saved.write([1], b"numbers")
    assert saved.read([1]) is None
