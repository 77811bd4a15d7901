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


class AlphaUmiError(Exception):
    """Root of all errors raised on purpose by alpha-UMi."""


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
