import os
from pathlib import Path

import pytest
from langchain_core.tools import ToolException

from alpha_umi.tools.builtin.search_files import ROOT_VARIABLE, make_search_files, tool


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder to search beside a secret that must never be shown."""
    (tmp_path / "secret.txt").write_text("the secret word")
    root = tmp_path / "root"
    (root / "notes").mkdir(parents=True)
    (root / "a.md").write_text("First line\nThe Word is here\n")
    (root / "notes" / "b.md").write_text("a word, wörd\n")
    (root / "notes" / "c.txt").write_text("nothing\n")
    return root


def search(root: Path, text: str, files: str = "*") -> str:
    return str(make_search_files(root).invoke({"text": text, "files": files}))


def test_lines_are_found_with_file_and_number(root: Path) -> None:
    assert search(root, "word") == "a.md:2: The Word is here\nnotes/b.md:1: a word, wörd"


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ("*.md", ["a.md", "notes/b.md"]),
        ("**/*.md", ["a.md", "notes/b.md"]),
        ("notes/*", ["notes/b.md"]),
        ("b.md", ["notes/b.md"]),
        ("*.txt", []),
    ],
)
def test_pattern_chooses_the_files(root: Path, files: str, found: list[str]) -> None:
    assert [line.split(":")[0] for line in search(root, "word", files).splitlines() if ":" in line] == found


def test_nothing_found_says_where_it_looked(root: Path) -> None:
    assert search(root, "absent", "*.md") == "No line contains 'absent' in the 2 files that match '*.md'."


def test_text_is_literal(root: Path) -> None:
    assert search(root, "w.rd").startswith("No line")


@pytest.mark.parametrize(
    "files", ["../secret.txt", "../*", "notes/../../secret.txt", "/etc/passwd", "~/.ssh/*", "*" * 101]
)
def test_pattern_that_leaves_the_folder_is_refused(root: Path, files: str) -> None:
    with pytest.raises(ToolException, match="Name files inside the folder"):
        search(root, "word", files)


@pytest.mark.parametrize("files", ["*", "**", "*secret*", "link*", "C:\\*", "notes/..\\..\\*", "\x00"])
def test_links_do_not_lead_out_of_the_folder(root: Path, files: str) -> None:
    (root / "link.txt").symlink_to(root.parent / "secret.txt")
    (root / "link_folder").symlink_to(root.parent, target_is_directory=True)
    (root / "notes" / "loop").symlink_to(root, target_is_directory=True)
    assert "secret word" not in search(root, "word", files)


def test_root_may_itself_be_a_link(root: Path) -> None:
    (root.parent / "door").symlink_to(root, target_is_directory=True)
    assert search(root.parent / "door", "word", "a.md") == "a.md:2: The Word is here"


def test_hidden_binary_oversized_and_special_files_are_left_out(root: Path) -> None:
    (root / ".env").write_text("KEY=word")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("word")
    (root / "image.bin").write_bytes(b"word\x00\xff")
    (root / "huge.log").write_text("word\n" * 1_000_000)
    os.mkfifo(root / "pipe")
    assert search(root, "word").splitlines() == ["a.md:2: The Word is here", "notes/b.md:1: a word, wörd"]


def test_output_is_bounded(root: Path) -> None:
    (root / "many.txt").write_text(("word " * 1000 + "\n") * 100)
    lines = search(root, "word", "many.txt").splitlines()
    assert len(lines) == 21
    assert max(map(len, lines)) < 230
    assert lines[-1] == "(stopped after 20 lines; use a longer text)"


def test_undecodable_text_is_searched_all_the_same(root: Path) -> None:
    (root / "latin.txt").write_bytes("Köln word".encode("latin-1"))
    assert search(root, "word", "latin.txt") == "latin.txt:1: K\ufffdln word"


def test_empty_text_is_refused(root: Path) -> None:
    with pytest.raises(ToolException, match="text is empty"):
        search(root, "  ")


def test_root_comes_from_the_environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(root / "notes"))
    assert tool.invoke({"text": "word"}) == "b.md:1: a word, wörd"
    monkeypatch.setenv(ROOT_VARIABLE, str(root / "absent"))
    with pytest.raises(ToolException, match=f"has to set {ROOT_VARIABLE}"):
        tool.invoke({"text": "word"})
    monkeypatch.delenv(ROOT_VARIABLE)
    monkeypatch.chdir(root)
    assert "a.md:2" in tool.invoke({"text": "word"})
