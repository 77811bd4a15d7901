"""What a data source is: a module in this folder with a `read` function, named on the command line by its file name.

To add one, add a file: its first docstring line is what ``alpha-umi data sources`` prints.
"""

from __future__ import annotations

import pkgutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import Literal, Protocol, TypeAlias, get_args

from alpha_umi.errors import ConfigError
from alpha_umi.nodes.format.trajectory import Trajectory
from alpha_umi.training.data import sources

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
    """How many records of one source were kept, repaired or dropped, and for which reasons."""

    kept: int = 0
    repaired: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def repair(self, reason: str, where: str) -> None:
        """Count one repair; the first place per reason is remembered for the report."""
        self.repaired[reason] += 1
        self.first.setdefault(reason, where)

    def drop(self, reason: str, where: str) -> None:
        """Count one dropped record; the first place per reason is remembered for the report."""
        self.dropped[reason] += 1
        self.first.setdefault(reason, where)


class Reader(Protocol):
    """How a source is read.

    A record with a fault that is known of the source is repaired or dropped, and counted in `tally`. Anything else that
    is wrong raises `TrajectoryError` with file and line: it is not what the source is documented to hold.
    """

    def __call__(self, location: str, tally: Tally, *, seed: int) -> Iterator[Example]:
        """Yield the examples at `location`: a file, a folder, or what the source's docstring says."""
        ...


def list_sources() -> dict[str, str]:
    """Return every source of this folder with the first line of its docstring."""
    modules = {
        info.name: import_module(f"{sources.__name__}.{info.name}") for info in pkgutil.iter_modules(sources.__path__)
    }
    return {name: _summary(module) for name, module in sorted(modules.items()) if hasattr(module, "read")}


def load_reader(name: str) -> Reader:
    """Import the source called `name`: a file of this folder, or a dotted module of the user's own.

    Raises:
        ConfigError: If there is no such source.
    """
    path = name if "." in name else f"{sources.__name__}.{name}"
    try:
        reader: Reader = import_module(path).read
    except ModuleNotFoundError as error:
        if error.name and not path.startswith(error.name):
            raise ConfigError(f"Data source {name!r} needs the package {error.name!r}; install it.") from error
        raise ConfigError(_unknown(name)) from error
    except AttributeError as error:
        raise ConfigError(_unknown(name)) from error
    return reader


def _unknown(name: str) -> str:
    known = ", ".join(list_sources())
    return f"Unknown data source {name!r}; known are {known}, or any importable your.module with a 'read' function."


def _summary(module: ModuleType) -> str:
    return (module.__doc__ or "").strip().split("\n", 1)[0]
