from __future__ import annotations

from pathlib import Path

from tests.notebooks.notebook import execute, list_texts, load


def test_search_tree_prints_what_is_committed(tmp_path: Path) -> None:
    executed = list_texts(execute("search_tree", tmp_path))
    assert executed == list_texts(load("search_tree"))
    assert "The key is in the cellar." in executed[0]
    assert all(status in executed[2] for status in ("failed", "gave up", "answer"))
