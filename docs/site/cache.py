"""Draws which tokens each model call of a question computes: `python docs/site/cache.py` writes docs/learn/cache.svg.

Tokens are those of the checkpoint that ships, whose tokenizer lies beside it; no weights are needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn
from alpha_umi.tools import load_tools, spec_from_tool
from alpha_umi.training.samples import TrainedTurn, load_tokenizer, make_sample

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINT = ROOT / "training" / "checkpoints" / "smollm2-135m"
PLACE = ROOT / "docs" / "learn" / "cache.svg"

_WIDTH, _LEFT, _ROW, _BAR = 760, 100, 26, 18
_COLOURS = {"from the cache": "#d5dae3", "computed by the base": "#3b6fb6", "computed by a role": "#e8833a"}


class Pass(NamedTuple):
    """What one model call does with the tokens ``[0, end)``: those before `known` are not computed again."""

    role: str
    known: int
    marker: int
    end: int


def make_trajectory() -> Trajectory:
    """Return the README's question, answered."""
    specs = tuple(spec_from_tool(tool) for tool in load_tools(["builtin:calculator", "builtin:calendar"]))
    sum_ = Call("1", "calculator", {"expression": "17% of 2340"}, Observation("397.8"))
    day = Call("2", "calendar", {"operation": "weekday", "date": "2027-03-01"}, Observation("2027-03-01 is a Monday"))
    steps = (
        Step("Part 1 (What is 17% of 2340): I call calculator.", "caller", (sum_,)),
        Step("Part 2 (which weekday is 2027-03-01): I call calendar.", "caller", (day,)),
        Step("All parts are done.", "conclusion", answer="17% of 2340 = 397.8. 2027-03-01 is a Monday."),
    )
    return Trajectory(specs, (Turn("What is 17% of 2340, and which weekday is 2027-03-01?", steps),))


def list_passes(turns: Sequence[TrainedTurn], marker_tokens: int) -> Iterator[Pass]:
    """Say what an activated LoRA leaves to compute: the base reads up to the marker, and what it read is kept."""
    known = 0
    for turn in turns:
        marker = turn.start - marker_tokens
        yield Pass(turn.role, known, marker, turn.end)
        known = marker


def draw() -> str:
    """Return the drawing: three models that share nothing above, one cache below."""
    tokenizer = load_tokenizer(CHECKPOINT)
    turns = make_sample(make_trajectory(), tokenizer, repeat_names=True).turns  # as it was trained
    shared = list(list_passes(turns, len(tokenizer.encode("<|im_start|>planner\n", add_special_tokens=False))))
    alone = [each._replace(known=0, marker=0) for each in shared]
    height = 2 * (_ROW * len(shared) + 44) + 34
    scale = (_WIDTH - _LEFT - 70) / shared[-1].end
    parts = [*_draw_panel("Three models, each with its whole prompt", alone, 0, scale)]
    parts += _draw_panel("One backbone, one cache", shared, _ROW * len(shared) + 44, scale)
    for x, (label, colour) in zip((0, 200, 440), _COLOURS.items(), strict=True):
        parts.append(f'<rect x="{x + 8}" y="{height - 24}" width="14" height="14" fill="{colour}"/>')
        parts.append(f'<text x="{x + 28}" y="{height - 12}">{label}</text>')
    font = 'font-family="sans-serif" font-size="14"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" {font}>'
    return "\n".join([head, '<rect width="100%" height="100%" fill="#fff"/>', *parts, "</svg>", ""])


def _draw_panel(title: str, passes: Sequence[Pass], top: int, scale: float) -> Iterator[str]:
    n_computed = sum(each.end - each.known for each in passes)
    yield f'<text x="8" y="{top + 22}" font-weight="bold">{title}: {n_computed:,} tokens computed</text>'
    for row, each in enumerate(passes):
        y = top + 36 + row * _ROW
        yield f'<text x="8" y="{y + 14}">{each.role}</text>'
        for colour, start, end in zip(_COLOURS.values(), (0, each.known, each.marker), each[1:], strict=True):
            if end > start:
                x, width = _LEFT + start * scale, (end - start) * scale
                yield f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_BAR}" fill="{colour}"/>'
        yield f'<text x="{_LEFT + each.end * scale + 6:.1f}" y="{y + 14}">{each.end - each.known}</text>'


if __name__ == "__main__":
    PLACE.write_text(draw(), encoding="utf-8")
