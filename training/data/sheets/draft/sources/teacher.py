"""A larger model writes wordings and answers for sheets; what it writes is checked, counted and kept."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from alpha_umi.errors import ConfigError
from alpha_umi.training.data.files import read_records
from alpha_umi.training.data.sheets.draft.sources.accept import WordingJudge
from alpha_umi.training.data.sheets.form import SheetParameter, ToolSheet, is_optional
from alpha_umi.training.data.sheets.request import draw_value
from alpha_umi.training.data.sheets.wording import SLOT
from alpha_umi.yaml_files import read_yaml

JOURNAL = "teacher.jsonl"
_MAX_ROUNDS = 2
_MAX_USELESS = 3
_N_EXAMPLES = 3
_N_SHOWN = 6
_MAX_REPLY_CHARS = 40_000
_BULLET = re.compile(r"^\s*(?:[-*•]\s+|\(?\d{1,2}[.):]\s*)?[\"'“]?(.*?)[\"'”]?,?\s*$")
_ANSWER = re.compile(r"^\W*ANSWER\W*:\W*\s?(.+)$", re.IGNORECASE)
_CHATTER = re.compile(
    r"^(?:here (?:are|is)|sure\b|certainly|of course|okay\b|note:|```|</?\w+>$|let me know)", re.IGNORECASE
)


@dataclass
class TeacherTally:
    """What a teacher was asked and what came of it."""

    n_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    n_taken: int = 0
    rejected: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class TaughtWords:
    """What a teacher wrote for one tool, as far as it can be used."""

    wordings: tuple[str, ...] = ()
    answer: str = ""


class Teacher:
    """Asks a model, and keeps what it replied in ``OUT/teacher.jsonl``; a tool that is there is not asked for again.

    Args:
        model: Any chat model.
        name: Its role spec, as the journal has it.
        out: Folder of the journal.
        n_wordings: How many are wanted for a tool.
        max_calls: How often the model may be asked in all.

    Raises:
        ConfigError: If the journal cannot be read.
    """

    def __init__(self, model: BaseChatModel, name: str, out: Path, *, n_wordings: int, max_calls: int) -> None:
        """Read what was asked before."""
        self.tally = TeacherTally()
        self.problem = ""
        self._model = model
        self._name = name
        self._n_wordings = n_wordings
        self._max_calls = max_calls
        self._n_useless = 0
        self._path = out / JOURNAL
        self._replies: dict[str, list[str]] = {}
        if self._path.exists():
            for where, row in read_records(self._path):
                if not isinstance(row.get("tool"), str) or not isinstance(row.get("reply"), str):
                    raise ConfigError(f"{where}: a line needs 'tool' and 'reply'; repair it, or move the file away.")
                self._replies.setdefault(row["tool"], []).append(row["reply"])

    def write(self, reference: str, sheet: ToolSheet, taken: set[str]) -> TaughtWords:
        """Return wordings and an answer for a tool; fewer or none if the model could not be asked, see `problem`.

        Args:
            reference: What the sheet calls it.
            sheet: The tool.
            taken: Shapes of the wordings that there are; those that are returned are added.
        """
        judge = WordingJudge(sheet, taken)
        found: list[str] = []
        answer, n_known, n_calls = "", 0, self.tally.n_calls
        for number in range(_MAX_ROUNDS):
            reply = self._reply(reference, sheet, [*sheet.tool.ask, *found], number)
            if reply is None:
                break
            lines, told = parse_reply(reply)
            answer = told if told and _can_tell(sheet, told) else answer
            for line in lines:
                fault = judge.find_fault(line)
                if fault:
                    self.tally.rejected[fault] += 1
                    n_known += fault == "it is there already"
                else:
                    found.append(line)
            if len(found) + n_known >= self._n_wordings // 2:
                break
        self.tally.n_taken += len(found)
        if self.tally.n_calls > n_calls:
            self._n_useless = 0 if found or n_known else self._n_useless + 1
        if self._n_useless == _MAX_USELESS:
            self.problem = self.problem or f"it wrote nothing that can be used for {_MAX_USELESS} tools in a row"
        return TaughtWords(tuple(found), answer)

    def _reply(self, reference: str, sheet: ToolSheet, known: Sequence[str], number: int) -> str | None:
        """Return what the model replied, before or now."""
        replies = self._replies.setdefault(reference, [])
        if number < len(replies):
            return replies[number]
        if self.problem:
            return None
        if self.tally.n_calls >= self._max_calls:
            self.problem = f"it was asked {self._max_calls} times, which is what --max-calls allows"
            return None
        try:
            message = self._model.invoke(make_question(sheet, known, self._n_wordings))
        except Exception as error:  # a model behind a network may raise anything
            self.problem = f"it could not be asked ({type(error).__name__}: {error})"
            return None
        self._count(message)
        reply = message.text[:_MAX_REPLY_CHARS]
        replies.append(reply)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            row = {
                "tool": reference,
                "model": self._name,
                "reply": reply,
                "usage": getattr(message, "usage_metadata", None),
            }
            file.write(json.dumps(row, ensure_ascii=True) + "\n")
        return reply

    def _count(self, message: AIMessage) -> None:
        self.tally.n_calls += 1
        usage = message.usage_metadata
        if usage:
            self.tally.input_tokens += usage.get("input_tokens", 0)
            self.tally.output_tokens += usage.get("output_tokens", 0)


@cache
def _words() -> Mapping[str, Any]:
    words: Mapping[str, Any] = read_yaml(Path(__file__).with_name("teacher.yaml")).values
    return words


def make_question(sheet: ToolSheet, known: Sequence[str], n_wordings: int) -> list[BaseMessage]:
    """Return what a teacher is asked: the tool, its slots with values, the wordings that there are."""
    tool = sheet.tool
    lines = [f"Tool: {tool.name}", f"What it does: {sheet.spec.description or '(it does not say)'}"]
    lines += ["Slots:" if sheet.sources else "Slots: none", *_describe_slots(sheet)]
    lines += ["Requests that there are already; write others:", *(f"- {text}" for text in known[:_N_SHOWN])]
    lines.append(f"Write {n_wordings} requests, in these voices in turn: {'; '.join(_words()['voices'])}.")
    if slots := _list_told(sheet):
        lines.append(_words()["answer"].replace("{slots}", ", ".join(f"{{{slot}}}" for slot in slots)))
    return [SystemMessage(_words()["system"]), HumanMessage("\n".join(lines))]


def _describe_slots(sheet: ToolSheet) -> Iterator[str]:
    rng = random.Random(sheet.spec.name)
    properties = sheet.spec.parameters.get("properties", {})
    for path, parameter in sheet.sources.items():
        need = "optional" if is_optional(sheet.tool.parameters, path) else "needed"
        said = dict.fromkeys(draw_value(parameter, sheet, rng).said for _ in range(_N_EXAMPLES))
        yield f"- {{{path}}} ({need}){_describe(parameter, properties.get(path))}, for example: {'; '.join(said)}"


def _describe(parameter: SheetParameter, schema: Any) -> str:
    told = parameter.description or (schema.get("description", "") if isinstance(schema, Mapping) else "")
    return f": {' '.join(str(told).split())[:200]}" if told else ""


def _list_told(sheet: ToolSheet) -> list[str]:
    """Return the slots that an answer may have."""
    needed = [path for path in sheet.sources if not is_optional(sheet.tool.parameters, path)]
    replied = [slot for slot in SLOT.findall(sheet.tool.answer or "") if slot.split(".")[0] == "reply"]
    return [*needed, *sheet.tool.returns, *replied]


def _can_tell(sheet: ToolSheet, answer: str) -> bool:
    """Tell whether an answer has slots that there are, and all that the tool returned."""
    slots = set(SLOT.findall(answer))
    rest = SLOT.sub("", answer)
    returned = {slot for slot in SLOT.findall(sheet.tool.answer or "") if slot not in sheet.sources}
    return bool(slots) and slots <= {*_list_told(sheet)} and returned <= slots and not re.search(r"[{}\[\]]", rest)


def parse_reply(text: str) -> tuple[list[str], str]:
    r"""Return the requests and the answer of a reply, whatever it looks like: lines, a list, JSON; total.

    Example:
        >>> parse_reply('Here are two:\n1. "Book {day}."\n- Is {day} free?\nANSWER: {day} is booked.')
        (['Book {day}.', 'Is {day} free?'], '{day} is booked.')
    """
    answer = ""
    found: list[str] = []
    for line in _list_lines(text):
        if told := _ANSWER.match(line):
            answer = told[1].strip().strip("\"'“”")
            continue
        match = _BULLET.match(line)
        wording = match[1].strip() if match else ""
        if wording and not wording.endswith(":") and not _CHATTER.match(wording) and wording not in "[]{}":
            found.append(wording)
    return found, answer


def _list_lines(text: str) -> list[str]:
    start, end = text.find("["), text.rfind("]")
    if text.lstrip().startswith(("[", "```", "{")) and 0 <= start < end:
        try:
            items = json.loads(text[start : end + 1])
        except (ValueError, RecursionError):
            items = None
        if isinstance(items, list) and all(isinstance(item, str) for item in items):
            return [line for item in items for line in item.splitlines()] + text[end + 1 :].splitlines()
    return text.splitlines()
