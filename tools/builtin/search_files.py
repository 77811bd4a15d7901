"""Text search in the files below one folder; nothing outside of it can be named, reached or read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from langchain_core.tools import BaseTool, StructuredTool, ToolException

ROOT_VARIABLE = "ALPHA_UMI_FILES_ROOT"
"""Folder in which the tool `search_files` reads; the working directory unless it is set."""

_MAX_FILES = 5000
_MAX_FILE_BYTES = 2_000_000
_MAX_MATCHES = 20
_MAX_LINE_CHARS = 200
_MAX_PATTERN_CHARS = 100


def make_search_files(root: Path | None = None) -> BaseTool:
    """Make the tool that searches one folder, without hidden files and folders, links and binary files.

    None reads `ALPHA_UMI_FILES_ROOT` at every call, default the working directory.
    """

    def search_files(text: str, files: str = "*") -> str:
        """Find the lines that contain a text in the user's files.

        Args:
            text: Words to find, exactly as they stand in the line; upper and lower case are the same.
            files: Which files to read, for example *.md or notes/*.
        """
        if not text.strip():
            raise ToolException("text is empty. Write the words to find.")
        if len(files) > _MAX_PATTERN_CHARS or files.startswith(("/", "~")) or ".." in Path(files).parts:
            raise ToolException(f"files is {files[:_MAX_PATTERN_CHARS]!r}. Name files inside the folder, such as *.md.")
        return _search(_find_root(root), text, files)

    return StructuredTool.from_function(search_files, parse_docstring=True, metadata={"effects": "none"})


def _find_root(root: Path | None) -> Path:
    found = (root or Path(os.environ.get(ROOT_VARIABLE) or ".")).resolve()
    if not found.is_dir():
        raise ToolException(f"the folder to search does not exist. The user has to set {ROOT_VARIABLE}.")
    return found


def _search(root: Path, text: str, pattern: str) -> str:
    wanted = text.strip().casefold()
    matches: list[str] = []
    n_files = 0
    for path, name in _walk(root, pattern):
        n_files += 1
        for number, line in enumerate(_read_lines(path), 1):
            if wanted in line.casefold():
                matches.append(f"{name}:{number}: {line.strip()[:_MAX_LINE_CHARS]}")
                if len(matches) == _MAX_MATCHES:
                    return "\n".join([*matches, f"(stopped after {_MAX_MATCHES} lines; use a longer text)"])
        if n_files == _MAX_FILES:
            matches.append(f"(stopped after {_MAX_FILES} files; name fewer files)")
            break
    if not matches:
        return f"No line contains {text!r} in the {n_files} files that match {pattern!r}."
    return "\n".join(matches)


def _walk(root: Path, pattern: str) -> Iterator[tuple[Path, str]]:
    """Yield the files to read, sorted, and their names below the root.

    The pattern only filters names that were found by walking, it never makes a path.
    """
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            below = path.relative_to(root).as_posix()
            candidates = (name, below, f"/{below}")  # the last lets **/*.md find files in the root itself
            if not name.startswith(".") and any(fnmatchcase(candidate, pattern) for candidate in candidates):
                yield path, below


def _read_lines(path: Path) -> list[str]:
    """Return the lines of a plain text file; none for links, devices, binary and oversized files."""
    try:
        # Not blocking, or a named pipe would wait for its writer; links are not followed even if just put there.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_size > _MAX_FILE_BYTES:
                return []
            data = file.read(_MAX_FILE_BYTES)
    except OSError:
        return []
    return [] if b"\0" in data else data.decode(errors="replace").splitlines()


tool = make_search_files()
