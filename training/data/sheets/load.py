"""Reads sheets from files; all faults of all files are found at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from alpha_umi.errors import ConfigError
from alpha_umi.training.data.sheets.check import find_faults
from alpha_umi.training.data.sheets.form import (
    WORLD,
    Scalar,
    SheetFinding,
    SheetPlace,
    SheetTool,
    ToolReference,
    ToolSheet,
)
from alpha_umi.training.data.sheets.real_tool import RealTool, ToolFinder
from alpha_umi.training.data.sheets.reference import resolve
from alpha_umi.training.data.sheets.wording import WordLists
from alpha_umi.yaml_files import YamlFile, read_yaml

FOLDER = Path(__file__).parent
Form = TypeVar("Form", bound=BaseModel)
_MAX_FAULTS = 10


class PlainLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads ``on``, ``no``, ``2027-05-03`` and ``12:30`` as the texts they are, as YAML 1.2 does."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


for _tag, _pattern, _first in (
    ("bool", r"true|false", "tf"),
    ("int", r"-?(?:0|[1-9][0-9]*)", "-0123456789"),
    ("float", r"-?[0-9]+\.[0-9]+", "-0123456789"),
    ("null", r"null|~|", ["n", "~", ""]),
    ("merge", r"<<", "<"),
):
    PlainLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))


class _SheetFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    domain: str
    held_out: bool = False
    values: dict[str, Annotated[list[Scalar], Field(min_length=2)]] = {}
    tools: list[Any] = Field(min_length=1)


def load_sheets(place: Path) -> tuple[ToolSheet, ...]:
    """Read all sheets of a folder, or those of one file.

    Raises:
        ConfigError: If a file cannot be read or a sheet is wrong: with file, line, and what to write there.
    """
    sheets, faults = check_sheets([place])
    if not faults:
        return tuple(sheets)
    raise refuse_faults(faults, f"; 'alpha-umi sheet check {place}' lists them")


def refuse_faults(faults: Sequence[SheetFinding], advice: str = "") -> ConfigError:
    """Return an error that tells the first faults; `advice` is how to see the others."""
    lines = [str(fault) for fault in faults[:_MAX_FAULTS]]
    if len(faults) > _MAX_FAULTS:
        lines.append(f"… and {len(faults) - _MAX_FAULTS} more{advice}.")
    return ConfigError("\n".join(lines))


def load_world() -> tuple[ToolSheet, ...]:
    """Read the sheets of invented tools that ship with the package."""
    return load_sheets(WORLD)


def check_sheets(places: Iterable[Path]) -> tuple[list[ToolSheet], list[SheetFinding]]:
    """Read files and folders; return the sheets that can be used, and every fault in the order of the files.

    Raises:
        ConfigError: If a folder has no file, or a file cannot be read.
    """
    finder = ToolFinder()
    sheets: list[ToolSheet] = []
    faults: list[SheetFinding] = []
    for path in dict.fromkeys(path for place in places for path in list_sheet_files(place)):
        found, wrong = _SheetReader(path, finder).read()
        sheets += found
        faults += sorted(wrong)
    seen: dict[str, ToolSheet] = {}
    for sheet in sheets:
        other = seen.setdefault(sheet.tool.name, sheet)
        if other is not sheet:
            text = f"there is a tool {sheet.tool.name!r} already, in {other.where}; rename one."
            faults.append(sheet.place.find(text, "name"))
    return sheets, faults


def list_sheet_files(place: Path) -> list[Path]:
    """Return the files of a folder of sheets, or the one file.

    Raises:
        ConfigError: If there is none.
    """
    paths = sorted(place.glob("*.yaml")) if place.is_dir() else [place]
    if not paths:
        raise ConfigError(f"{place} holds no .yaml file; write a sheet there, see docs/tool-sheets.md.")
    return paths


def open_place(path: Path) -> tuple[SheetPlace, list[SheetFinding]]:
    """Read a file with its lines; if it is no YAML, or says a key twice, there are findings.

    Raises:
        ConfigError: If it cannot be read.
    """
    try:
        place = SheetPlace(path, read_yaml(path, loader_type=PlainLoader))
    except ConfigError:
        raise
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        fault = SheetFinding(path, mark.line + 1 if mark else 1, f"it is not valid YAML: {problem}.")
        return SheetPlace(path, YamlFile(None, None)), [fault]
    repeated = place.file.find_repeated_keys()
    return place, [SheetFinding(path, line, f"{key} is said twice; keep one.") for line, key in repeated]


class _SheetReader:
    """Reads one file."""

    def __init__(self, path: Path, finder: ToolFinder) -> None:
        self._finder = finder
        self._place, self._faults = open_place(path)

    def read(self) -> tuple[list[ToolSheet], list[SheetFinding]]:
        """Return the sheets without faults, and the faults of the others."""
        if self._faults:
            return [], self._faults
        content = self._validate(_SheetFile, self._place.file.values)
        if content is None:
            return [], self._faults
        lists = {**load_common(), **content.values}
        read = [self._read_tool(content, lists, number) for number in range(len(content.tools))]
        results = {
            result for raw, sheet in zip(content.tools, read, strict=True) for result in _list_results(raw, sheet)
        }
        good = []
        for sheet in filter(None, read):
            faults = find_faults(sheet, results)
            self._faults += faults
            good += [] if faults else [sheet]
        return good, self._faults

    def _read_tool(self, content: _SheetFile, lists: WordLists, number: int) -> ToolSheet | None:
        raw = content.tools[number]
        keys = ("tools", number)
        place = SheetPlace(self._place.path, self._place.file, keys)
        real: RealTool | None = None
        if isinstance(raw, Mapping) and "tool" in raw:
            reference = self._validate(ToolReference, raw, *keys)
            if reference is None:
                return None
            try:
                real = self._finder.find(reference.tool)
            except ConfigError as error:
                self._faults.append(place.find(str(error), "tool"))
                return None
            tool, faults = resolve(reference, real)
            self._faults += [place.find(f"{tool.name}: {text}", *where) for where, text in faults]
            return None if faults else ToolSheet(content.domain, content.held_out, tool, lists, place, real)
        invented = self._validate(SheetTool, raw, *keys)
        return ToolSheet(content.domain, content.held_out, invented, lists, place) if invented else None

    def _validate(self, form: type[Form], values: Any, *keys: str | int) -> Form | None:
        try:
            return form.model_validate(values)
        except ValidationError as error:
            for fault in error.errors():
                path = (*keys, *fault["loc"])
                self._faults.append(self._place.find(f"{'.'.join(map(str, path))}: {fault['msg']}", *path))
            return None


def _list_results(raw: Any, sheet: ToolSheet | None) -> list[str]:
    """Return ``TOOL.VALUE`` of all that a tool returns, ``TOOL.reply`` of one that is run.

    Also of one with faults, which are told elsewhere.
    """
    if sheet is None and not (isinstance(raw, Mapping) and isinstance(raw.get("returns"), Mapping)):
        return []
    if sheet and sheet.is_run:
        return [f"{sheet.tool.name}.reply"]
    name, returns = (sheet.tool.name, sheet.tool.returns) if sheet else (raw.get("name"), raw["returns"])
    return [f"{name}.{value}" for value in returns]


@cache
def load_common() -> WordLists:
    """Return the word lists that every sheet may use."""
    lists: WordLists = read_yaml(FOLDER / "common.yaml", loader_type=PlainLoader).values
    return lists
