"""What must not get into training data: keys and passwords always, types of personal data on request."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from alpha_umi.errors import REDACTED
from alpha_umi.nodes.format.trajectory import Trajectory
from alpha_umi.tools.pii import API_KEY, Mask, Redaction, map_texts

Hide: TypeAlias = Callable[[Trajectory], Trajectory]

_SECRET = re.compile(rf"(?<=://)[^\s/@:'\"]*:[^\s/@'\"]+(?=@)|{API_KEY}")
"""The login in an address, or a key of a well-known service."""


def hide_secrets(text: str) -> str:
    """Hide keys of well-known services and passwords of addresses in a text.

    Example:
        >>> hide_secrets("postgresql://ann:pw@db.example/shop")
        'postgresql://[redacted]@db.example/shop'
    """
    return _SECRET.sub(REDACTED, text)


def make_hiding(types: Sequence[str] = ()) -> Hide:
    """Return what hides secrets and these types of personal data in all that was said, called and observed.

    A value has the same text in all of a trajectory, such as ``[REDACTED_EMAIL_1]``. What the tools are is left alone.

    Raises:
        ConfigError: If there is no such type, or the extra that finds them is not installed.
    """
    redaction = Redaction(types) if types else None

    def hide(trajectory: Trajectory) -> Trajectory:
        row = trajectory.to_row()
        said = map_texts([row["system"], row["turns"]], hide_secrets)
        system, turns = Mask(redaction, {}).conceal(said) if redaction else said
        return replace(trajectory, system=system, turns=Trajectory.from_row({**row, "turns": turns}).turns)

    return hide
