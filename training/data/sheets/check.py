"""What is wrong with a sheet: each fault with its line, and what to write there."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, TypeVar

from alpha_umi.errors import ConfigError
from alpha_umi.tools.spec.schema import ArgumentValidator
from alpha_umi.training.data.sheets.form import (
    SheetFinding,
    SheetParameter,
    ToolSheet,
    first_source,
    is_optional,
    list_results,
)
from alpha_umi.training.data.sheets.request import draw_need, draw_value, nest
from alpha_umi.training.data.sheets.wording import SLOT, ToolWording, parse_result, parse_source, parse_wording

T = TypeVar("T")
_N_DRAWS = 20


def find_faults(sheet: ToolSheet, results: Collection[str]) -> list[SheetFinding]:
    """Return everything that is wrong with one tool.

    Args:
        sheet: The tool.
        results: What the tools of its file return: ``TOOL.VALUE``, and ``TOOL.reply`` of those that are run.
    """
    check = _Check(sheet)
    check.check_parameters(results)
    check.check_wordings()
    check.check_links()
    check.check_reply()
    if not check.faults:
        check.check_calls()
    return check.faults


def _is_reply_part(result: str, results: Collection[str]) -> bool:
    """Tell whether a result is a part of what a tool replies that is run: ``TOOL.reply`` stands among the results."""
    tool, value = parse_result(result)
    return value.startswith("reply.") and f"{tool}.reply" in results


class _Check:
    """Collects the faults of one tool."""

    def __init__(self, sheet: ToolSheet) -> None:
        self.faults: list[SheetFinding] = []
        self._sheet = sheet
        self._tool = sheet.tool

    def _add(self, text: str, *keys: str | int) -> None:
        self.faults.append(self._sheet.place.find(f"{self._tool.name}: {text}", *keys))

    def _try(self, keys: tuple[str | int, ...], make: Callable[..., T], *arguments: Any) -> T | None:
        try:
            return make(*arguments)
        except ConfigError as error:
            self._add(str(error), *keys)
            return None

    def check_parameters(self, results: Collection[str]) -> None:
        """Refuse parameters whose values cannot be drawn."""
        for path, parameter in self._sheet.sources.items():
            self._check_source(path, parameter, results)
        for name, source in self._tool.returns.items():
            self._try(("returns", name), parse_source, source, self._sheet.lists)

    def _check_source(self, path: str, parameter: SheetParameter, results: Collection[str]) -> None:
        keys = find_keys(path)
        if parameter.items is not None:
            self._check_source(path, parameter.items, results)
        elif parameter.properties is not None:
            self._check_words(path, parameter, results)
        elif parameter.source is None and not parameter.enum and not parameter.say:
            self._add(f"{path}: say where values come from: from, enum, say, items or properties.", *keys)
        if parameter.enum and (unknown := [value for value in parameter.say if value not in parameter.enum]):
            self._add(f"{path}: say: {unknown[0]!r} is not in enum; correct one of them.", *keys)
        if parameter.source is not None:
            self._try(keys, parse_source, first_source(parameter), self._sheet.lists)
        for result in map(".".join, list_results(parameter)):
            if result not in results and not _is_reply_part(result, results):
                known = ", ".join(sorted(results)) or "none"
                self._add(f"from: {result!r} is no TOOL.VALUE of this file; there are {known}.", *keys)

    def _check_words(self, path: str, parameter: SheetParameter, results: Collection[str]) -> None:
        """Refuse an object in a list that cannot be said, or not with all that it needs."""
        keys = (*find_keys(path), "items")
        for leaf in parameter.leaves.values():
            self._check_source(path, leaf, results)
        if not parameter.words:
            text = f"{path}: say how one of the list is worded, such as words: ['{{amount}} {{item}}']."
            self._add(text, *keys)
        required = {leaf for leaf in parameter.leaves if not is_optional(parameter.properties or {}, leaf)}
        for i, text in enumerate(parameter.words):
            wording = self._try((*keys, "words", i), parse_wording, text, list(parameter.leaves))
            if wording and (unsaid := required - wording.always_said):
                self._add(f"{text!r} does not say {{{min(unsaid)}}}, which each of the list needs.", *keys, "words", i)

    def check_wordings(self) -> None:
        """Refuse wordings that cannot be read, or do not say what the tool needs."""
        required = {path for path in self._sheet.sources if not is_optional(self._tool.parameters, path)}
        for i, wording in enumerate(self._parse("ask", self._tool.ask)):
            if wording and (unsaid := required - wording.slots):
                self._add(f"{wording.text!r} does not say {{{min(unsaid)}}}, which the tool needs.", "ask", i)
            if wording and (optional := wording.always_said - required):
                self._add(f"{wording.text!r}: put {{{min(optional)}}} in brackets; it is optional.", "ask", i)
        self._parse("again", self._tool.again)

    def _parse(self, key: str, texts: list[str]) -> list[ToolWording | None]:
        known = list(self._sheet.sources)
        return [self._try((key, i), parse_wording, text, known) for i, text in enumerate(texts)]

    def check_links(self) -> None:
        """Refuse a ``then`` that is about no result."""
        for path, texts in self._tool.then.items():
            if path not in self._sheet.sources or not list_results(self._sheet.sources[path]):
                self._add(f"then: {path} is no parameter whose 'from' ends with 'or TOOL.VALUE'.", "then", path)
                continue
            others = [name for name in self._sheet.sources if name != path]
            for i, text in enumerate(texts):
                self._try(("then", path, i), parse_wording, text, others)

    def check_reply(self) -> None:
        """Refuse braces that nothing fills, and a reply that nothing tells the user."""
        tool, is_run = self._tool, self._sheet.is_run
        known = {*self._sheet.sources, *tool.parameters, *tool.returns}
        said = {"reply": list(_iter_texts(tool.reply)), "answer": [tool.answer or ""], "fails": tool.fails}
        for key, texts in said.items():
            for slot in (slot for text in texts for slot in SLOT.findall(text) if slot not in known):
                if not (is_run and key == "answer" and slot.split(".")[0] == "reply"):
                    self._add(f"{{{slot}}} is neither a parameter nor one of returns; correct it.", key)
        if tool.answer is None and is_run:
            self._add("a tool that is run needs an answer: how its {reply} is said to the user.", "tool")
        elif tool.answer is None and not isinstance(tool.reply, str):
            self._add("a reply that is no text needs an answer: how it is said to the user.", "reply")

    def check_calls(self) -> None:
        """Refuse values that the tool's schema refuses."""
        sheet = self._sheet
        validator, rng = sheet.spec.make_validator(), random.Random(sheet.spec.name)
        refused: dict[str, str] = {}
        for _ in range(_N_DRAWS):
            drawn = nest({path: draw_value(each, sheet, rng).argument for path, each in sheet.sources.items()})
            refused |= {path: why for path, why in self._find_refused(drawn, validator) if path}
        for path, why in refused.items():
            self._add(f"{path}: the tool refuses what is drawn: {why}. Draw other values.", *find_keys(path))
        if sheet.real and not refused:
            needs = [draw_need(sheet, rng).arguments for _ in range(_N_DRAWS)]
            if why := next((why for need in needs for _, why in self._find_refused(need, validator)), ""):
                self._add(f"the tool refuses what the wordings say: {why}. Say in all of them what it needs.", "ask")

    def _find_refused(self, arguments: Mapping[str, Any], validator: ArgumentValidator) -> Iterator[tuple[str, str]]:
        """Yield which parameter breaks the schema, empty if it is none alone, and how."""
        for error in validator.iter_errors(arguments):
            keys = [str(key) for key in error.instance_path]
            paths = (".".join(keys[:n]) for n in range(1, len(keys) + 1))
            yield next((path for path in paths if path in self._sheet.sources), ""), error.message


def find_keys(path: str) -> tuple[str, ...]:
    """Return the keys that lead to a parameter: ``address.street`` stands below ``properties``."""
    name, *names = path.split(".")
    return ("parameters", name, *(key for each in names for key in ("properties", each)))


def _iter_texts(reply: Any) -> Iterator[str]:
    """Yield every text in a reply."""
    if isinstance(reply, Mapping):
        reply = [*reply.values()]
    if isinstance(reply, list):
        for part in reply:
            yield from _iter_texts(part)
    elif isinstance(reply, str):
        yield reply
