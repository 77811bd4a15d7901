"""What comes of a sheet, for people to look at."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from itertools import cycle, islice

from alpha_umi.errors import ConfigError
from alpha_umi.tools.toolbox import Toolbox
from alpha_umi.training.data.sheets.form import ToolSheet
from alpha_umi.training.data.sheets.request import draw_need, make_answer, make_sheet_tool


def render_samples(sheets: Sequence[ToolSheet], n_samples: int) -> Iterator[str | ConfigError]:
    """Yield requests with the right call, the reply and the answer; of all tools before one comes again.

    An answer that tells a part of a real tool's reply that is not there is an error; it is yielded, not raised.
    """
    rng = random.Random(0)
    for sheet in islice(cycle(rng.sample(sheets, len(sheets))), n_samples):
        try:
            yield _render_sample(sheet, rng)
        except ConfigError as error:
            yield error


def _render_sample(sheet: ToolSheet, rng: random.Random) -> str:
    need = draw_need(sheet, rng)
    reply = Toolbox([make_sheet_tool(sheet)]).execute(sheet.spec.name, need.arguments, "")
    lines = [
        f"request: {need.text}",
        f"call:    {sheet.spec.name} {json.dumps(need.arguments, ensure_ascii=False)}",
        f"reply:   {reply.text}",
    ]
    if reply.status == "success":
        lines.append(f"answer:  {make_answer(sheet, need.arguments)}")
    return "\n".join(lines)
