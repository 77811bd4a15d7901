"""Real tools that stand by, and real requests that no tool at hand can do, added to conversations made from sheets.

Whether a tool could do what somebody asks for is told by words, and in doubt it could: what is
added shares no word.

Source: the schemas of MCP servers as in Toucan, arXiv 2510.01179; the requests of CLINC150, Larson et al. 2019.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.trajectory import Step, Trajectory, Turn
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.dataset import Tally
from alpha_umi.training.data.explain import explain_refusal
from alpha_umi.training.data.files import blame, get_texts, read_records
from alpha_umi.training.data.split import called_tools, hash_text
from alpha_umi.training.data.tool_specs import make_spec
from alpha_umi.yaml_files import read_yaml

_HELD_OUT_SHARE = 0.1
_TOOLS_SHARE, _N_TOOLS = 0.4, (1, 6)
_REQUEST_SHARE, _MAX_TRIES = 0.15, 60
_MAX_SCHEMA_CHARS, _MAX_DESCRIPTION_CHARS, _MIN_STEMS = 600, 300, 3
# What can do almost anything.
_GENERAL = re.compile(
    r"web|brows|internet|google|\burl|fetch|crawl|scrap|execut|python|javascript|code|shell|command|\bscript|prompt|chat|llm"
    r"|\bai\b|assist|think|thought|agent|anything|question|answer|wiki|knowledge|memor",
    re.IGNORECASE,
)
_WORD = re.compile(r"[A-Z]?[a-z]{2,}|[A-Z]{3,}")


@dataclass(frozen=True, slots=True)
class _Tool:
    spec: ToolSpec
    stems: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Request:
    text: str
    stems: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Words:
    """Words that tell nothing, and for each intent that is used the stems of tools that may do it."""

    empty: frozenset[str]
    topics: Mapping[str, frozenset[str]]


class Bystanders:
    """Tools and requests that are added to conversations.

    Args:
        tools: A JSON Lines file of ``{"server", "name", "description", "parameters"}``, or an empty text.
        requests: A JSON Lines file of ``{"query", "intent", "split"}``, or an empty text.
        tally: Counts what cannot be used.
        held_out: Whether to take what never occurs in training: a tenth of the servers and of the requests, and those
            that CLINC150 itself keeps for tests.
    """

    def __init__(self, tools: str, requests: str, tally: Tally, *, held_out: bool) -> None:
        """Read the files.

        Raises:
            ConfigError: If there is no such file.
            TrajectoryError: If a record is of another form.
        """
        self._tools = _read_tools(tools, tally, held_out=held_out) if tools else []
        self._requests = _read_requests(requests, held_out=held_out) if requests else []

    def join(self, group: Sequence[Trajectory], rng: random.Random) -> list[Trajectory]:
        """Return conversations for one list of tools with tools added to it, and requests to some of them."""
        if self._tools and rng.random() < _TOOLS_SHARE:
            tools = self._add_tools(group, rng)
            group = [replace(trajectory, tools=tools) for trajectory in group]
        return [
            self._add_request(trajectory, rng) if self._requests and rng.random() < _REQUEST_SHARE else trajectory
            for trajectory in group
        ]

    def _add_tools(self, group: Sequence[Trajectory], rng: random.Random) -> tuple[ToolSpec, ...]:
        spoken = _list_stems([text for trajectory in group for text in _list_texts(trajectory)])
        wanted, tools = rng.randint(*_N_TOOLS), list(group[0].tools)
        for tool in rng.sample(self._tools, min(len(self._tools), _MAX_TRIES)):
            if wanted and tool.stems.isdisjoint(spoken) and tool.spec.name not in {each.name for each in tools}:
                tools.insert(rng.randint(0, len(tools)), tool.spec)
                wanted -= 1
        return tuple(tools)

    def _add_request(self, trajectory: Trajectory, rng: random.Random) -> Trajectory:
        offered = frozenset[str]().union(*map(_list_tool_stems, trajectory.tools))
        for request in rng.sample(self._requests, min(len(self._requests), _MAX_TRIES)):
            if request.stems.isdisjoint(offered):
                turn = Turn(request.text, (Step(explain_refusal(request.text), "give up"),))
                # Not in between, where a request may refer to the one before, nor after a call without an observation.
                is_first = rng.random() < 0.5 or bool(trajectory.end and trajectory.end.calls)
                return replace(trajectory, turns=(turn, *trajectory.turns) if is_first else (*trajectory.turns, turn))
        return trajectory


def _read_tools(location: str, tally: Tally, *, held_out: bool) -> list[_Tool]:
    tools: list[_Tool] = []
    for where, record in read_records(location):
        with tally.reading(where):
            server, name, description = get_texts(record, "server", "name", "description")
            text, schema = " ".join(description.split()), record["parameters"]
            is_brief = 0 < len(text) <= _MAX_DESCRIPTION_CHARS and len(json.dumps(schema)) <= _MAX_SCHEMA_CHARS
            is_understood = text.isascii() and not _GENERAL.search(f"{name} {text}")
            if not is_brief or not is_understood or _is_held_out(server) != held_out:
                continue
            try:
                spec = make_spec(name, text, schema)
            except ConfigError:
                tally.repair("bystander whose schema cannot be used left out")
                continue
            if len(stems := _list_tool_stems(spec)) >= _MIN_STEMS:  # else it is not known what the tool does
                tools.append(_Tool(spec, stems))
    return tools


def _read_requests(location: str, *, held_out: bool) -> list[_Request]:
    topics = _load_words().topics
    requests: list[_Request] = []
    for where, record in read_records(location):
        with blame(where):
            text, intent, split = get_texts(record, "query", "intent", "split")
            is_test = split.endswith(("test", "val"))
            if intent in topics and (is_test or _is_held_out(text)) == held_out:
                requests.append(_Request(text.strip(), _list_stems([text]) | topics[intent]))
    return requests


@cache
def _load_words() -> _Words:
    content = read_yaml(Path(__file__).with_name("bystanders.yaml")).values
    empty = frozenset(content["empty"].split())
    topics = [(topic["intents"], _cut_words(topic["words"].split(), empty)) for topic in content["topics"].values()]
    return _Words(empty, {intent: stems for intents, stems in topics for intent in intents})


def _is_held_out(text: str) -> bool:
    return hash_text(text, 0) < _HELD_OUT_SHARE * 2**64


def _list_texts(trajectory: Trajectory) -> Iterator[str]:
    """Yield what a conversation is about: requests, reasons, and the tools that are called."""
    called = called_tools(trajectory)
    for turn in trajectory.turns:
        yield turn.instruction
        yield from (step.rationale for step in turn.steps)
    yield from (f"{tool.name} {tool.description}" for tool in trajectory.tools if tool.name in called)


def _list_tool_stems(tool: ToolSpec) -> frozenset[str]:
    return _list_stems([tool.name, tool.description])


def _list_stems(texts: Iterable[str]) -> frozenset[str]:
    """Return the beginnings of the words that tell something."""
    return _cut_words((word.lower() for text in texts for word in _WORD.findall(text)), _load_words().empty)


def _cut_words(words: Iterable[str], empty: frozenset[str]) -> frozenset[str]:
    return frozenset(word[:5].rstrip("s") for word in words if word not in empty)
