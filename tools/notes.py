"""What of a tool source could not be used: logged in a few lines, so that the rest of the run goes on."""

from __future__ import annotations

import logging
from collections.abc import Sequence

_logger = logging.getLogger("alpha_umi.tools")
_MAX_LINES = 20


def log_notes(source: str, notes: Sequence[str]) -> None:
    """Log what was left out of a source, or is doubtful, as one warning.

    Args:
        source: What the user calls it.
        notes: One line each; only the first are shown.
    """
    if not notes:
        return
    lines = [f"{source}: {len(notes):,} parts are left out or doubtful:", *notes[:_MAX_LINES]]
    if len(notes) > _MAX_LINES:
        lines.append(f"… and {len(notes) - _MAX_LINES:,} more")
    _logger.warning("\n- ".join(lines))
