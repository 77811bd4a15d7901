"""MetaTool: queries and which tool is for them, `{"query", "tools"}` in JSON Lines; the first line is `{"tools"}`.

It is about choosing alone: a tool is a name and a description, so tools take no arguments, and a trajectory ends with
the call, which was never run. The right tools are hidden among others. Half of these are near, which is told from the
words of their descriptions; those that are too near to be told apart are left out.

Source: HowieHwong/MetaTool.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from alpha_umi.errors import TrajectoryError
from alpha_umi.nodes.format.trajectory import Call, Step, Trajectory, Turn
from alpha_umi.tools.spec import ToolSpec, clean_name
from alpha_umi.training.data.dataset import Example, Tally
from alpha_umi.training.data.explain import explain_calls
from alpha_umi.training.data.files import read_records
from alpha_umi.training.data.tool_specs import make_schema, make_spec

_N_TOOLS = (4, 12)
_N_NEAREST = 20
_MAX_OVERLAP = 0.4
_MAX_QUERY_CHARS = 600
_WORD = re.compile(r"[a-z]{4,}")


def read(location: str, tally: Tally, *, seed: int) -> Iterator[Example]:
    """Yield one example per query."""
    catalogue: _Catalogue | None = None
    for number, (where, record) in enumerate(read_records(location, tally.skip)):
        with tally.reading(where):
            if catalogue is None:
                catalogue = _Catalogue(record)
                continue
            query, names = record["query"].strip(), list(dict.fromkeys(record["tools"]))
            if not names or not all(name in catalogue.specs for name in names):
                tally.drop("calls a tool that is not in the list")
                continue
            if len(query) > _MAX_QUERY_CHARS:
                tally.drop("query of several paragraphs")
                continue
            calls = tuple(Call(f"call_{i}", clean_name(name), {}) for i, name in enumerate(names, 1))
            steps = (Step(explain_calls(calls, query), "caller", calls),)
            tools = catalogue.sample(names, random.Random(f"{seed} {query}".encode("utf-8", "replace")))
            yield Example(f"metatool-{number}", "metatool", Trajectory(tools, (Turn(query, steps),)), where)


class _Catalogue:
    """All tools, and which are near which."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        if not isinstance(record.get("tools"), dict):
            raise TrajectoryError("the first line has no 'tools'; expected an object of names and descriptions.")
        texts: dict[str, str] = record["tools"]
        self.specs = {name: make_spec(name, text, make_schema({}, ())) for name, text in texts.items()}
        words = {name: frozenset(_WORD.findall(text.lower())) for name, text in texts.items()}
        self._overlaps = {
            name: {other: _measure_overlap(words[name], words[other]) for other in texts if other != name}
            for name in texts
        }

    def sample(self, names: Sequence[str], rng: random.Random) -> tuple[ToolSpec, ...]:
        """Return the tools of these names and others, half of them near ones, in any order."""
        tellable = [
            other
            for other in self.specs
            if other not in names and all(self._overlaps[name][other] <= _MAX_OVERLAP for name in names)
        ]
        near = sorted(tellable, key=lambda other: -max(self._overlaps[name][other] for name in names))[:_N_NEAREST]
        n_others = rng.randint(*_N_TOOLS) - len(names)
        chosen = dict.fromkeys([*names, *rng.sample(near, min(len(near), n_others // 2))])
        rest = [other for other in tellable if other not in chosen]
        chosen |= dict.fromkeys(rng.sample(rest, min(len(rest), n_others - n_others // 2)))
        return tuple(self.specs[name] for name in rng.sample(list(chosen), len(chosen)))


def _measure_overlap(one: frozenset[str], two: frozenset[str]) -> float:
    """Return the share of the words of the shorter description that the other has as well."""
    return len(one & two) / max(1, min(len(one), len(two)))
