"""YAML files: values as the loader reads them, lines of keys, keys that are there twice."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from alpha_umi.yaml_files import YamlFile, read_yaml

TEXT = """\
# what stands first

limits:
  max_steps: 3
tools:
  - builtin:calculator
  - {name: no, 7: x}
"""


def read(folder: Path, text: str) -> YamlFile:
    path = folder / "file.yaml"
    path.write_text(text, "utf-8")
    return read_yaml(path)


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ([], 3),
        (["limits"], 3),
        (["limits", "max_steps"], 4),
        (["limits", "min_steps"], 3),
        (["limits", "max_steps", "deeper"], 4),
        (["tools", 1], 7),
        (["tools", "1", "name"], 7),
        (["tools", 1, 7], 7),
        (["tools", 2], 5),
        (["other"], 3),
    ],
)
def test_line_is_that_of_the_key_or_of_the_nearest_around_it(tmp_path: Path, keys: list[str | int], line: int) -> None:
    assert read(tmp_path, TEXT).find_line(keys) == line


def test_values_are_those_of_the_loader(tmp_path: Path) -> None:
    file = read(tmp_path, TEXT)
    assert file.values == yaml.safe_load(TEXT)
    assert read_yaml(tmp_path / "file.yaml", loader_type=yaml.BaseLoader).values["tools"][1] == {"name": "no", "7": "x"}


def test_empty_file_has_no_values_and_one_line(tmp_path: Path) -> None:
    file = read(tmp_path, "# nothing\n")
    assert (file.values, file.find_line(["a"]), list(file.find_repeated_keys())) == (None, 1, [])


def test_repeated_keys_are_found_at_every_depth(tmp_path: Path) -> None:
    file = read(tmp_path, "a: 1\nb:\n  - {c: 1, d: 2, c: 3}\na: 2\nd: 1\n")
    assert sorted(file.find_repeated_keys()) == [(3, "c"), (4, "a")]


def test_keys_that_are_merged_are_neither_repeated_nor_in_the_way(tmp_path: Path) -> None:
    file = read(tmp_path, "x: &x\n  a: 1\n  b: 2\ny:\n  a: 3\n  <<: *x\n")
    assert file.values["y"] == {"a": 3, "b": 2}
    assert list(file.find_repeated_keys()) == []
    assert [file.find_line(["y", key]) for key in ("a", "b")] == [5, 3]


@pytest.mark.parametrize("text", ["a: [", "a: !!python/object:os.system x", "a: 2020-99-99", "a: 1\n---\nb: 2"])
def test_what_is_no_data_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises((yaml.YAMLError, ValueError)):
        read(tmp_path, text)
