"""What a data source gives: examples, and a tally of what had to be repaired or dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, get_args

from alpha_umi.nodes.format.trajectory import Trajectory
from alpha_umi.training.data.files import blame

Split: TypeAlias = Literal["train", "dev-tools", "dev-instructions"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True, slots=True)
class Example:
    """One trajectory on its way into the training file.

    Args:
        id: Unique in the built file; starts with the source's name.
        source: Name of the source.
        trajectory: At least one tool and one step.
        where: File and line (or archive member) it came from, for messages to the user.
        task_id: The task's number in the source's own counting, for ``--exclude`` files that list such numbers.
        group: Examples of one group stay in one split; by default those with the same first instruction.
        split: Set by a source that knows the split itself, as a generator with held-out wording does.
    """

    id: str
    source: str
    trajectory: Trajectory
    where: str
    task_id: str = ""
    group: str = ""
    split: Split | None = None


@dataclass(slots=True)
class Tally:
    """How many records of one source were kept, repaired or dropped, for which reasons, and where each came first."""

    kept: int = 0
    repaired: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    place: str = ""

    @contextmanager
    def reading(self, where: str) -> Iterator[None]:
        """Read one record: faults, repairs and drops in this block name its place."""
        self.place = where
        with blame(where):
            yield

    def repair(self, reason: str, where: str = "") -> None:
        """Count one repair, of the record being read or of the one at `where`."""
        self.repaired[reason] += 1
        self.first.setdefault(reason, where or self.place)

    def drop(self, reason: str, where: str = "") -> None:
        """Count one dropped record: the one being read or the one at `where`."""
        self.dropped[reason] += 1
        self.first.setdefault(reason, where or self.place)

    def to_json(self) -> dict[str, Any]:
        """Return what ``report.json`` says about the source."""
        changes = {
            kind: {reason: {"count": n, "first": self.first[reason]} for reason, n in counter.most_common()}
            for kind, counter in (("repaired", self.repaired), ("dropped", self.dropped))
        }
        return {"kept": self.kept, **changes}


class Reader(Protocol):
    """How a source is read.

    A record with a fault that is known of the source is repaired or dropped, and counted in `tally`. Anything else that
    is wrong raises `TrajectoryError` with file and line: it is not what the source is documented to hold.
    """

    def __call__(self, location: str, tally: Tally, *, seed: int) -> Iterator[Example]:
        """Yield the examples at `location`: a file, a folder, or what the source's docstring says."""
        ...
