"""Errors a user of alpha-UMi can meet; every message says what to do next.

AlphaUmiError
├── ConfigError        a setting, role spec, tool or checkpoint folder is wrong
├── InputError         the graph was called with input it cannot work on
├── TrajectoryError    messages or rows that are not a trajectory
├── ContextOverflow    the prompt does not fit the model's window even when cut
├── StorageError       threads or recorded effects cannot be read or written
├── ModelFault         a model server is away or answers nonsense, or there is no memory left for a text
└── ModelNotAvailable  weights are neither cached nor reachable

What a *model* or a *tool* does wrong is never one of these: it becomes an observation.
"""

import re

REDACTED = "[redacted]"
_PART = r"[^/\n'\"]"  # a password may hold blanks, and a message goes on after the quotes
_LOGIN = re.compile(rf"(:/{{1,2}}|//)(?:{_PART}*@|\S+@)+")
_EXTRAS = {
    **{"accelerate": "train", "tensorboard": "train", "matplotlib": "train", "rouge": "eval"},
    **dict.fromkeys(("nicegui", "fastapi", "uvicorn"), "ui"),
}
_LOOP = "Symlink loop"
_SECRET_IN_QUERY = re.compile(r"([?&][\w.-]*(?:pass|pwd|secret|token|key|auth|sig)[\w.-]*=)[^&\s'\"#]+", re.IGNORECASE)


def hide_passwords(text: str) -> str:
    """Hide what stands before the host of every address in a text, and passwords and keys in its query.

    Example:
        >>> hide_passwords("no answer from https://ann:pw@api.example/?key=abc")
        'no answer from https://[redacted]@api.example/?key=[redacted]'
    """
    return _SECRET_IN_QUERY.sub(rf"\1{REDACTED}", _LOGIN.sub(rf"\1{REDACTED}@", text))


class AlphaUmiError(Exception):
    """Root of all errors raised on purpose by alpha-UMi; passwords of addresses are hidden in all of them."""

    def __init__(self, *args: object) -> None:
        """Take a message."""
        super().__init__(*(hide_passwords(each) if isinstance(each, str) else each for each in args))


class ConfigError(AlphaUmiError, ValueError):
    """A setting, role spec, tool or checkpoint folder is wrong."""


class InputError(AlphaUmiError, ValueError):
    """The graph was called with input it cannot work on."""


class TrajectoryError(AlphaUmiError, ValueError):
    """Messages or rows do not form a trajectory."""


class ContextOverflow(AlphaUmiError, ValueError):
    """The prompt does not fit the model's context window, even after cutting."""


class StorageError(AlphaUmiError, RuntimeError):
    """Threads or recorded effects cannot be read or written; what was stored before stays."""


class ModelFault(AlphaUmiError, RuntimeError):
    """A model that was there cannot answer now; the thread can be resumed."""


class ModelNotAvailable(AlphaUmiError, RuntimeError):
    """Weights are neither in the cache nor reachable."""


def explain(error: Exception) -> Exception:
    """Return an error that says what to do where a library or the system has raised one; else the error itself."""
    if isinstance(error, ModuleNotFoundError) and error.name in _EXTRAS:
        extra = _EXTRAS[error.name]
        return ConfigError(f"This needs {error.name}, of the extra {extra!r}: pip install 'alpha-umi[{extra}]'.")
    if isinstance(error, OSError) and error.strerror:
        where = " and ".join(f"{str(name)!a}" for name in (error.filename, error.filename2) if name) or "the system"
        text = f"{where}: {error.strerror}. Check the path, its permissions and the free space."
        return ConfigError(text).with_traceback(error.__traceback__)
    if isinstance(error, RuntimeError) and str(error).startswith(_LOOP):  # before Python 3.13
        return ConfigError(f"{error}: it is a link to itself. Name another path.").with_traceback(error.__traceback__)
    return error
