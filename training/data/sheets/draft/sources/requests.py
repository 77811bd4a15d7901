"""Requests that people sent, made into wordings: which tool one is about, and which of its words are values."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alpha_umi.documents import read_text
from alpha_umi.tools.names import split_name
from alpha_umi.training.data.dataset import Reader, Tally
from alpha_umi.training.data.sheets.draft.sources.accept import WordingJudge
from alpha_umi.training.data.sheets.draft.sources.spans import Spans, find_given, find_spans
from alpha_umi.training.data.sheets.form import ToolSheet, is_optional
from alpha_umi.training.data.sheets.request import flatten
from alpha_umi.training.data.sheets.wording import SLOT

_ROWS = (".jsonl", ".json", ".jsonl.gz")
_STEM_CHARS = 5
_CLEAR = 1.15
_GREETING = re.compile(
    r"^(?:(?:hi|hello|hey|good (?:morning|evening|afternoon)|dear \w+)(?: there)?[,.!:]?\s+)+", re.IGNORECASE
)
_THANKS = re.compile(
    r"[\s,;]*(?:(?:many )?thanks|thank you|thx|cheers)(?: (?:a lot|very much|in advance))?[.!\s]*$", re.IGNORECASE
)
_LEADING = re.compile(
    r"(?:,\s*|\s+)(?:(?:for|on|at|in|with|by|to|from|until|of|around|about|before|after|near|per|as|under|over"
    r"|(?:for )?(?:less|more|cheaper) than|at most|up to)\s+)?(?:the\s+)?$"
)
_GOES_ON = re.compile(r"\s*(?:$|[,.!?;\[]|(?:for|on|at|in|with|by|to|from|until|and|please|of)\b)")
_STOP_WORDS = frozenset(
    {"the", "and", "for", "with", "you", "can", "could", "would", "please", "that", "this", "have", "has", "are", "was"}
    | {"what", "which", "when", "where", "who", "how", "want", "need", "like", "get", "from", "into", "onto", "your"}
    | {"our", "their", "her", "his", "its", "not", "all", "any", "some", "there", "then", "than", "been", "will"}
    | {"shall", "should", "about", "give", "tell", "show", "just", "next", "list", "know", "see", "let"}
)


@dataclass(frozen=True, slots=True)
class SentRequest:
    """What a person sent: where it stands, the text, and the call that was right, if that is known."""

    where: str
    text: str
    tool: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


def load_requests(path: Path, read_traces: Reader) -> list[SentRequest]:
    """Read requests: one a line, or traces as ``traces export``, ``ask --json`` and ``data build`` write them.

    Args:
        path: The file.
        read_traces: Reads traces, as the source ``own`` does.

    Raises:
        ConfigError: If the file cannot be read.
    """
    if path.name.endswith(_ROWS):
        return list(_iter_traced(path, read_traces))
    lines = read_text(path, "correct the path or the file").splitlines()
    return [
        SentRequest(f"{path}:{number}", " ".join(line.split()))
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.startswith("#")
    ]


def _iter_traced(path: Path, read_traces: Reader) -> Iterator[SentRequest]:
    tally = Tally()
    for example in read_traces(str(path), tally, seed=0):
        for number, turn in enumerate(example.trajectory.turns, 1):
            where = f"{example.where}, turn {number}"
            calls = [call for step in turn.steps for call in step.calls]
            right = [call for call in calls if call.observation is None or not call.observation.is_error]
            text = " ".join(turn.instruction.split())
            if len(right) == 1:
                arguments = right[0].arguments
                yield SentRequest(where, text, right[0].name, arguments if isinstance(arguments, Mapping) else {})
            else:
                yield SentRequest(where, text, problem=f"there are {len(right)} calls for it, not one")
    for reason, count in tally.dropped.items():
        yield SentRequest(f"{path}", "", problem=f"{count} lines cannot be read: {reason}")


class RequestMatcher:
    """Makes wordings of requests.

    Args:
        sheets: The tools that they may be about.
        taken: Shapes of wordings that there are; those that are made are added.
    """

    def __init__(self, sheets: Sequence[ToolSheet], taken: set[str]) -> None:
        """Weigh the words of all tools: one that many have tells little."""
        self._sheets = {sheet.spec.name: sheet for sheet in sheets}
        self._judges = {sheet.spec.name: WordingJudge(sheet, taken) for sheet in sheets}
        self._stems = {sheet.spec.name: _list_stems(sheet) for sheet in sheets}
        self._known = Counter(stem for stems in self._stems.values() for stem in stems)

    def match(self, request: SentRequest) -> tuple[str, str, str]:
        """Return tool and wording; or tool, if it can be told, nothing, and why there is none."""
        if request.problem:
            return "", "", request.problem
        text = _THANKS.sub("", _GREETING.sub("", request.text)).strip()
        if re.search(r"[{}\[\]]", text):
            return "", "", "it has braces or brackets"
        if request.tool:
            return self._match_call(request, text)
        names = self._rank(text)
        if not names:
            return "", "", "no tool has words of it"
        if len(names) > 1 and names[0][1] < _CLEAR * names[1][1]:
            return "", "", f"it may be about {names[0][0]} or {names[1][0]}"
        return self._make(names[0][0], text, find_spans(self._sheets[names[0][0]], text))

    def _match_call(self, request: SentRequest, text: str) -> tuple[str, str, str]:
        sheet = self._sheets.get(request.tool)
        if sheet is None:
            return "", "", f"its call is of {request.tool}, which has no sheet"
        given = {**request.arguments, **flatten(request.arguments)}
        values = {path: given[path] for path in sheet.sources if path in given}
        return self._make(request.tool, text, find_given(sheet, text, values))

    def _rank(self, text: str) -> list[tuple[str, float]]:
        """Return the tools that share words with a text, the best first."""
        stems = {word[:_STEM_CHARS] for word in re.findall(r"[^\W\d_]{3,}", text.lower()) if word not in _STOP_WORDS}
        scores = {
            name: sum(math.log(1 + len(self._stems) / self._known[stem]) for stem in stems & known)
            for name, known in self._stems.items()
        }
        return sorted(((name, score) for name, score in scores.items() if score), key=lambda pair: -pair[1])

    def _make(self, name: str, text: str, spans: Spans) -> tuple[str, str, str]:
        sheet = self._sheets[name]
        needed = [path for path in sheet.sources if not is_optional(sheet.tool.parameters, path)]
        if unsaid := [path for path in needed if path not in spans]:
            return name, "", f"it seems to be about {name}, but {', '.join(unsaid)} cannot be found in it"
        wording = text
        for path, (start, end) in sorted(spans.items(), key=lambda item: -item[1][0]):
            before, after = wording[:start], wording[end:]
            if path in needed:
                wording = f"{before}{{{path}}}{after}"
            else:
                if not _GOES_ON.match(after):
                    return (
                        name,
                        "",
                        f"it seems to be about {name}, but not a sentence without {path}, which is optional",
                    )
                lead = _LEADING.search(before)
                start = lead.start() if lead else start
                wording = f"{before[:start]}[{before[start:]}{{{path}}}]{after}"
        fault = self._judges[name].find_fault(wording)
        return name, "" if fault else wording, fault and f"as a wording of {name}, {wording!r}: {fault}"


def _list_stems(sheet: ToolSheet) -> set[str]:
    """Return the words that tell a tool, without endings."""
    texts = [" ".join(split_name(sheet.spec.name)), sheet.spec.description, *sheet.tool.ask]
    texts += [str(value).replace("_", " ") for each in sheet.sources.values() for value in each.enum or ()]
    words = re.findall(r"[^\W\d_]{3,}", SLOT.sub(" ", " ".join(texts)).lower())
    return {word[:_STEM_CHARS] for word in words if word not in _STOP_WORDS}
