"""Data sources: a file each, with a `read` function, named on the command line by the file's name.

To add one, add a file here, or for a data set in `public`: its first docstring line is what ``alpha-umi data sources``
prints.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from alpha_umi.errors import ConfigError
from alpha_umi.training.data.dataset import Reader


def list_sources() -> dict[str, str]:
    """Return every source that ships with the first line of its docstring."""
    return {name: (import_module(path).__doc__ or "").partition("\n")[0] for name, path in sorted(_find().items())}


def _find() -> dict[str, str]:
    """Return the module of each source, by its name."""
    found = pkgutil.walk_packages(__path__, f"{__name__}.")
    return {info.name.rpartition(".")[2]: info.name for info in found if not info.ispkg}


def load_reader(name: str) -> Reader:
    """Import the source called `name`: one that ships, or a dotted module of the user's own.

    Raises:
        ConfigError: If there is no such source.
    """
    path = name if "." in name else _find().get(name, f"{__name__}.{name}")
    try:
        reader: Reader = import_module(path).read
    except (ModuleNotFoundError, AttributeError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and not path.startswith(error.name):
            raise ConfigError(f"Data source {name!r} needs the package {error.name!r}; install it.") from error
        raise ConfigError(
            f"Unknown data source {name!r}; known are {', '.join(list_sources())}, or any importable your.module with "
            "a 'read' function."
        ) from error
    return reader
