"""Seal-Tools: `QUERIES,TOOLS`, two JSON Lines files; distractors are sampled from the tool list.

The queries come with the right calls but without results. An observation therefore holds the documented response
fields with the data set's own placeholders (`API_call_0`, …), which later calls refer to, and the trajectory ends with
the decision to answer, without an answer: there is nothing to answer from, and nothing is made up.

Source: fairyshine/Seal-Tools.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn
from alpha_umi.tools.spec import ToolSpec, clean_name
from alpha_umi.training.data.clean import READY, describe_calls
from alpha_umi.training.data.dataset import Example, Tally
from alpha_umi.training.data.files import Record, blame, read_records
from alpha_umi.training.data.tool_specs import fit_arguments, make_schema, make_spec, parse_type

_REFERENCE = re.compile(r"(API_call_\d+)\b.*")
_N_DISTRACTORS = (2, 7)


def read(location: str, tally: Tally, *, seed: int) -> Iterator[Example]:
    """Yield one example per query, its tools hidden among distractors, half of them of the same field."""
    queries, comma, tool_list = location.partition(",")
    if not comma:
        raise ConfigError("Seal-Tools needs two files: --source sealtools:QUERIES.jsonl,TOOLS.jsonl")
    catalogue = _Catalogue(tool_list)
    for where, record in read_records(queries, tally.skip):
        with tally.reading(where):
            names = list(dict.fromkeys(call["api"] for call in record["calling"]))
            if not names or not all(name in catalogue.specs for name in names):
                tally.drop("calls a tool that is not in the list")
                continue
            rng = random.Random(f"{seed} {record['id']}".encode("utf-8", "replace"))
            steps = tuple(_read_steps(record["calling"], catalogue, tally))
            trajectory = Trajectory(catalogue.sample(names, rng), (Turn(record["query"].strip(), steps),))
            yield Example(f"sealtools-{record['id']}", "sealtools", trajectory, where, task_id=str(record["id"]))


def _read_steps(calling: Sequence[Record], catalogue: _Catalogue, tally: Tally) -> Iterator[Step]:
    for i, record in enumerate(calling, 1):
        cleaned = {name: _clean_value(value, tally) for name, value in record["parameters"].items()}
        arguments = fit_arguments(cleaned, catalogue.specs[record["api"]])
        response = dict(zip(catalogue.responses[record["api"]], record["responses"], strict=False))
        observation = Observation(json.dumps(response, ensure_ascii=False))
        call = Call(f"call_{i}", clean_name(record["api"]), arguments, observation)
        yield Step(describe_calls([call]), "caller", (call,))
    yield Step(READY, "conclusion")


def _clean_value(value: Any, tally: Tally) -> Any:
    """Reduce ``API_call_0 response`` to the placeholder that an observation holds."""
    match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[1] == value:
        return value
    tally.repair("words around a reference removed")
    return match[1]


class _Catalogue:
    """The tool list: what a tool looks like, the names of its response's fields, and which others to hide it among."""

    def __init__(self, location: str) -> None:
        self.specs: dict[str, ToolSpec] = {}
        self.responses: dict[str, tuple[str, ...]] = {}
        self._fields: dict[str, list[str]] = {}
        for where, record in read_records(location):
            with blame(where):
                name = record["api_name"]
                self.specs[name] = _make_tool(record)
                self.responses[name] = tuple(record.get("responses", {}))
                self._fields.setdefault(record.get("field", ""), []).append(name)
        self._field_of = {name: field for field, names in self._fields.items() for name in names}

    def sample(self, names: Sequence[str], rng: random.Random) -> tuple[ToolSpec, ...]:
        """Return the specs of `names` and of distractors in random order."""
        near = [other for name in names for other in self._fields[self._field_of[name]]]
        known = list(self.specs)
        n_distractors = rng.randint(*_N_DISTRACTORS)
        chosen = dict.fromkeys(names)
        chosen |= dict.fromkeys(rng.sample(near, min(len(near), n_distractors // 2)))
        chosen |= dict.fromkeys(rng.sample(known, min(len(known), n_distractors - n_distractors // 2)))
        return tuple(self.specs[name] for name in rng.sample(list(chosen), len(chosen)))


def _make_tool(record: Mapping[str, Any]) -> ToolSpec:
    properties = {
        name: parse_type(value.get("type")) | {"description": str(value.get("description", ""))}
        for name, value in record["parameters"].items()
    }
    schema = make_schema(properties, record.get("required", []))
    return make_spec(record["api_name"], record.get("api_description"), schema)
