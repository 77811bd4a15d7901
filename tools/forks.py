"""What must not be shared with a forked child: threads that run only in the parent, and what is bound to them."""

from __future__ import annotations

import os
from threading import Lock
from typing import Any, Protocol
from weakref import WeakSet


class Renewable(Protocol):
    """What holds threads, loops, locks or connections."""

    def renew(self) -> None:
        """Begin afresh in a forked child, and leave alone what the parent still uses."""


_renewables: WeakSet[Renewable] = WeakSet()
_parents: list[dict[str, Any]] = []
"""Kept for ever: to collect it would close connections, and end tasks and servers, that the parent still uses."""


def renew_after_fork(holder: Renewable) -> None:
    """Have something begin afresh in every child that this process forks, for as long as it lives."""
    _renewables.add(holder)


def hold_while_forking(lock: Lock) -> None:
    """Fork only while no thread holds a lock; in the child nobody would let go of it."""
    if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)


def _renew_all() -> None:
    for holder in list(_renewables):
        _parents.append(dict(vars(holder)))
        holder.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
