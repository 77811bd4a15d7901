from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from alpha_umi.files import make_folder_atomically, write_atomically, write_json

FULL = OSError(errno.ENOSPC, "No space left on device")


@contextmanager
def before_each_step(monkeypatch: pytest.MonkeyPatch, act: Callable[[int], None]) -> Iterator[None]:
    """Call `act` with the number, from 0, of every change that is about to be made to the disk."""
    n_steps = 0

    def watch(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal n_steps
            n_steps += 1
            act(n_steps - 1)
            return real(*args, **kwargs)

        patch.setattr(owner, name, call)

    with monkeypatch.context() as patch:
        for owner, name in ((Path, "mkdir"), (Path, "replace"), (Path, "unlink"), (os, "fsync"), (shutil, "rmtree")):
            watch(owner, name)
        yield


def fail_at(step: int) -> Callable[[int], None]:
    """Return what makes one step fail; each step fails once, so that cleaning up afterwards works."""

    def act(n: int) -> None:
        if n == step:
            raise FULL

    return act


def make_folder(path: Path, text: str, *, broken: bool = False) -> None:
    """Make a folder of two files atomically."""
    with make_folder_atomically(path) as folder:
        (folder / "a").write_text(text)
        if broken:
            raise FULL
        (folder / "b").write_text(text)


def read_folder(path: Path) -> str | None:
    """Return the text of a whole folder, or `None` if there is none."""
    if not path.exists():
        return None
    assert sorted(file.name for file in path.iterdir()) == ["a", "b"]
    (text,) = {file.read_text() for file in path.iterdir()}
    return text


def test_write_json_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "below" / "card.json"
    for value in ({"a": 1}, {"b": [2]}):
        write_json(path, value)
        assert json.loads(path.read_text()) == value
        assert path.read_text().endswith("}\n")
        assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("step", range(4))
def test_write_atomically_that_fails_keeps_the_old_file(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with (
        pytest.raises(OSError, match="No space"),
        before_each_step(monkeypatch, fail_at(step)),
        write_atomically(path) as file,
    ):
        file.write("new")
    # the last step removes what replacing has left, which is nothing
    assert path.read_text() == ("new" if step == 3 else "old")
    assert list(tmp_path.iterdir()) == [path]


def test_make_folder_atomically_makes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "below" / "model"
    for text in ("first", "second"):
        make_folder(path, text)
        assert read_folder(path) == text
        assert list(path.parent.iterdir()) == [path]


def test_make_folder_atomically_whose_block_fails_changes_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space"):
        make_folder(tmp_path / "model", "first", broken=True)
    assert list(tmp_path.iterdir()) == []
    make_folder(tmp_path / "model", "first")
    with pytest.raises(OSError, match="No space"):
        make_folder(tmp_path / "model", "second", broken=True)
    assert read_folder(tmp_path / "model") == "first"
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]


@pytest.mark.parametrize("old", [None, "old"])
def test_a_step_that_fails_leaves_the_old_folder_or_the_new_one(
    old: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_failed = 0
    for step in range(20):
        path = tmp_path / str(step) / "model"
        if old:
            make_folder(path, old)
        try:
            with before_each_step(monkeypatch, fail_at(step)):
                make_folder(path, "new")
        except OSError:
            n_failed += 1
            assert read_folder(path) in (old, "new")
            make_folder(path, "next")  # whatever was left does not stand in the way
        assert path.exists()
        assert list(path.parent.iterdir()) == [path]
    assert n_failed > 5


@pytest.mark.parametrize("old", [None, "old"])
def test_a_kill_at_any_moment_loses_nothing(old: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "models" / "model"
    if old:
        make_folder(path, old)
    else:
        path.parent.mkdir()

    def keep(step: int) -> None:
        """Copy what a kill before this step would leave."""
        copies.append(shutil.copytree(path.parent, tmp_path / f"killed-{step}"))

    copies: list[Path] = []
    with before_each_step(monkeypatch, keep):
        make_folder(path, "new")
    assert read_folder(path) == "new"
    found = [read_folder(copy / "model") for copy in copies]
    assert found.count("new") >= 2
    assert found.count(None) == (1 if old else len(found) - found.count("new"))
    for copy, text in zip(copies, found, strict=True):
        with pytest.raises(OSError, match="No space"):
            make_folder(copy / "model", "next", broken=True)
        assert read_folder(copy / "model") == (text or old)
        assert [file.name for file in copy.iterdir()] == (["model"] if text or old else [])
