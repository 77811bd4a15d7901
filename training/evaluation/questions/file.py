"""The file of questions: read, and every fault told with its line.

```yaml
replies: {cancel_lesson: "Lesson {lesson} is cancelled."}
questions:
- question: When does Nadia teach on Friday?
  calls: {list_lessons: {teacher: Nadia, day: friday}}
  answer: "16:30"
- question: Order me a pizza.
  refuse: no tool
```

docs/evaluation.md tells the whole form.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from alpha_umi.nodes.format.trajectory import Call
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.sheets.form import SheetFinding, SheetPlace
from alpha_umi.training.data.sheets.load import open_place, refuse_faults
from alpha_umi.training.data.sheets.wording import SLOT
from alpha_umi.training.evaluation.questions.accepted import (
    ANY,
    MATCHES,
    OPTIONAL,
    Expectation,
    accepts,
    is_optional,
    list_faults,
    list_variants,
    read_operator,
    settle,
)

Refusal: TypeAlias = Literal["no tool", "missing value"]
Kind: TypeAlias = Literal["one call", "several calls", "no call", "no tool", "missing value"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Keys: TypeAlias = tuple[str | int, ...]
_WRITE = "write TOOL: {argument: value}"
_Text: TypeAlias = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]


class _QuestionForm(BaseModel):
    model_config = ConfigDict(extra="forbid")

    question: _Text
    calls: Any = None
    refuse: Refusal | None = None
    answer: Any = None
    replies: dict[str, Any] = {}


class _FileForm(BaseModel):
    model_config = ConfigDict(extra="forbid")

    questions: list[Any] = Field(min_length=1)
    replies: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class WantedCall:
    """A call that is right; its arguments are an `Expectation`.

    Args:
        tool: The tool.
        arguments: By name.
        may_miss: Whether it is as right not to make it.
    """

    tool: ToolSpec
    arguments: Mapping[str, Expectation]
    may_miss: bool = False

    def accepts(self, call: Call) -> bool:
        """Tell whether a call is this one; a default that the tool has itself may be said or not."""
        if call.name != self.tool.name or isinstance(call.arguments, str):
            return False
        properties = self.tool.parameters.get("properties", {})
        made = {
            name: value
            for name, value in call.arguments.items()
            if name in self.arguments or not _is_default(properties.get(name), value)
        }
        absent = {
            name: properties[name]["default"]
            for name in self.arguments
            if name not in made and _has_default(properties, name)
        }
        return accepts(self.arguments, made) or accepts(self.arguments, made | absent)

    def settle(self, call: Call | None) -> Call:
        """Return the right call that is nearest to one that was made."""
        if call is not None and self.accepts(call):
            return call
        made = call.arguments if call is not None and isinstance(call.arguments, dict) else {}
        return Call("", self.tool.name, settle(self.arguments, made))

    def __str__(self) -> str:
        """Return it as it stands in the file, on one line."""
        text = f"{self.tool.name} {json.dumps(self.arguments, ensure_ascii=False)}"
        return f"[{text}]" if self.may_miss else text


Way: TypeAlias = tuple[WantedCall, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """One question, and what is right.

    Args:
        text: The user's words.
        line: Where it stands in the file.
        ways: Calls that are right, in any order; several such lists where several ways are.
        refuse: Why it cannot be done, None if it can.
        answer: What the answer must hold: each of these.
        replies: What tools reply that are not run, by name.
    """

    text: str
    line: int
    ways: tuple[Way, ...]
    refuse: Refusal | None = None
    answer: tuple[Expectation, ...] = ()
    replies: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        """What it needs; of several ways the first counts."""
        n_calls = sum(not call.may_miss for call in self.ways[0])
        return self.refuse or ("no call" if n_calls == 0 else "one call" if n_calls == 1 else "several calls")

    def __str__(self) -> str:
        """Return what is right, on one line."""
        ways = [", ".join(map(str, way)) for way in self.ways]
        told = [" or ".join(way or "no call" for way in ways)] if any(ways) or not self.refuse else []
        told += [f"refusal ({self.refuse})"] if self.refuse else []
        told += [f"answer with {show_answer(part)}" for part in self.answer]
        return "; ".join(told)


@dataclass(frozen=True, slots=True)
class QuestionFile:
    """Questions in the order of the file, and what tools reply that are not run."""

    path: Path
    questions: tuple[Question, ...]
    replies: Mapping[str, Any]


def show_answer(part: Expectation) -> str:
    """Return what an answer must hold as a short text."""
    operator, operand = read_operator(part)
    if operator == ANY:
        return " or ".join(map(show_answer, operand))
    return f"/{operand}/" if operator == MATCHES else str(part)


def load_questions(path: Path, tools: Sequence[ToolSpec]) -> QuestionFile:
    """Read a file of questions for these tools.

    Raises:
        ConfigError: If the file cannot be read, or says what no tool of these takes: with file, line and what to write.
    """
    place, faults = open_place(path)
    reader = _QuestionReader(place, {tool.name: tool for tool in tools}, faults)
    file = reader.read() if not faults else None
    if reader.faults or file is None:
        raise refuse_faults(sorted(reader.faults))
    return file


class _QuestionReader:
    """Reads one file and collects what is wrong with it."""

    def __init__(self, place: SheetPlace, tools: Mapping[str, ToolSpec], faults: list[SheetFinding]) -> None:
        self.faults = faults
        self._place = place
        self._tools = tools

    def read(self) -> QuestionFile | None:
        form = self._validate(_FileForm, self._place.file.values)
        if form is None:
            return None
        self._check_replies(form.replies, ("replies",))
        found = [self._read_question(raw, ("questions", i)) for i, raw in enumerate(form.questions)]
        seen: dict[str, int] = {}
        for i, question in enumerate(found):
            if question and (line := seen.setdefault(question.text, question.line)) != question.line:
                self._add(f"this question is asked in line {line} already; leave one out.", "questions", i, "question")
        return QuestionFile(self._place.path, tuple(filter(None, found)), form.replies)

    def _read_question(self, raw: Any, keys: Keys) -> Question | None:
        form = self._validate(_QuestionForm, raw, *keys)
        if form is None:
            return None
        if form.calls is None and form.refuse is None:
            self._add("say what is right: calls (calls: [] where no tool is needed) or refuse.", *keys)
        if form.refuse and form.answer is not None:
            self._add("a refusal has no answer; leave one of both out.", *keys, "answer")
        self._check_replies(form.replies, (*keys, "replies"))
        ways = tuple(self._read_ways(form.calls, (*keys, "calls")))
        answer = tuple(self._read_answer(form.answer, (*keys, "answer")))
        line = self._place.find("", *keys, "question").line
        return Question(form.question, line, ways, form.refuse, answer, form.replies)

    def _read_ways(self, raw: Any, keys: Keys) -> Iterator[Way]:
        operator, operand = read_operator(raw)
        if operator != ANY:
            yield tuple(self._read_calls(raw, keys))
        elif isinstance(operand, list) and operand:
            for i, each in enumerate(operand):
                yield tuple(self._read_calls(each, (*keys, ANY, i)))
        else:
            self._add(f"{ANY} takes a list of ways, each a list of calls.", *keys)

    def _read_calls(self, raw: Any, keys: Keys, *, may_miss: bool = False) -> Iterator[WantedCall]:
        """Yield the calls of a list, of a mapping of tools to arguments, or of a mere name."""
        if raw is None:
            return
        if isinstance(raw, str):
            raw = {raw: None}
        if isinstance(raw, list):
            for i, each in enumerate(raw):
                yield from self._read_calls(each, (*keys, i), may_miss=may_miss)
        elif isinstance(raw, Mapping):
            for name, arguments in raw.items():
                if name == OPTIONAL:
                    yield from self._read_calls(arguments, (*keys, name), may_miss=True)
                elif call := self._read_call(str(name), arguments, (*keys, name), may_miss=may_miss):
                    yield call
        else:
            self._add(f"{raw!r} is no call; {_WRITE}.", *keys)

    def _read_call(self, name: str, arguments: Any, keys: Keys, *, may_miss: bool) -> WantedCall | None:
        tool = self._find_tool(name, keys)
        if tool is None:
            return None
        arguments = {} if arguments is None else arguments
        if not isinstance(arguments, Mapping):
            self._add(f"{name}: {arguments!r} is no mapping of arguments; {_WRITE}.", *keys)
            return None
        faults = list(list_faults(arguments))
        for path, text in faults:
            self._add(f"{name}: {text}", *keys, *path)
        if not faults:
            self._check_arguments(tool, arguments, keys)
        return WantedCall(tool, arguments, may_miss)

    def _check_arguments(self, tool: ToolSpec, arguments: Mapping[str, Any], keys: Keys) -> None:
        """Refuse what the tool would refuse, as no agent could ever be right."""
        unsaid = {name for name, part in arguments.items() if not is_optional(part) and MATCHES in json.dumps(part)}
        validator = tool.make_validator()
        told: set[str] = set()
        for variant in list_variants(arguments):
            for error in validator.iter_errors(variant):
                details = error.kind.as_dict()
                path = [*error.instance_path, *details.get("unexpected", ())][: len(error.instance_path) + 1]
                name = path[0] if path else details.get("property")
                if error.message not in told and name not in unsaid:
                    self._add(f"{tool.name}: the tool refuses this: {error.message}.", *keys, *path)
                told.add(error.message)

    def _read_answer(self, raw: Any, keys: Keys) -> Iterator[Expectation]:
        for i, part in enumerate(raw if isinstance(raw, list) else [] if raw is None else [raw]):
            where = (*keys, i) if isinstance(raw, list) else keys
            faults = list(list_faults(part))
            operator, operand = read_operator(part)
            nested = operand if operator == ANY and isinstance(operand, list) else [part]
            if not faults and any(not _is_told(each) for each in nested):
                faults = [((), f"an answer holds texts and numbers, {{{ANY}: […]}} or {{{MATCHES}: regex}}.")]
            for path, text in faults:
                self._add(text, *where, *path)
            if not faults:
                yield part

    def _check_replies(self, replies: Mapping[str, Any], keys: Keys) -> None:
        for name, reply in replies.items():
            tool = self._find_tool(name, (*keys, name))
            known = tool.parameters.get("properties", {}) if tool else {}
            for slot in SLOT.findall(json.dumps(reply, ensure_ascii=False)) if tool else ():
                if slot.split(".")[0] not in known:
                    self._add(f"{name}: {{{slot}}} is no argument; it has {_list(known)}.", *keys, name)

    def _find_tool(self, name: str, keys: Keys) -> ToolSpec | None:
        if name not in self._tools:
            near = difflib.get_close_matches(name, self._tools, 3, 0) or ["none"]
            self._add(f"there is no tool {name!r}; it could be {', '.join(near)}.", *keys)
        return self._tools.get(name)

    def _validate(self, form: type[Any], values: Any, *keys: str | int) -> Any:
        try:
            return form.model_validate(values)
        except ValidationError as error:
            for fault in error.errors():
                path = (*keys, *fault["loc"])
                self._add(f"{'.'.join(map(str, path)) or 'the file'}: {fault['msg']}.", *path)
            return None

    def _add(self, text: str, *keys: str | int) -> None:
        self.faults.append(self._place.find(text, *keys))


def _is_told(part: Expectation) -> bool:
    operator, operand = read_operator(part)
    return operator == MATCHES or (not operator and isinstance(operand, str | int | float))


def _has_default(properties: Mapping[str, Any], name: str) -> bool:
    return isinstance(properties.get(name), Mapping) and "default" in properties[name]


def _is_default(schema: Any, value: Any) -> bool:
    return isinstance(schema, Mapping) and "default" in schema and accepts(schema["default"], value)


def _list(names: Mapping[str, Any]) -> str:
    return ", ".join(names) or "none"
