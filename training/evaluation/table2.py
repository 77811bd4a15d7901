"""The paper's Table 2: pass and win rate on live tools, in percent, with ChatGPT-ReACT as the other side of a win.

The rows by group are those of ToolBench's README, whose averages are the paper's, but for two that the paper prints as
43.1 (Claude-2 DFSDT) and 60.7 (ToolLLaMA DFSDT). Of α-UMi only the averages are known here.

Source: arXiv 2401.07324, Table 2; OpenBMB/ToolBench, README.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

SOURCE = "arXiv 2401.07324, Table 2"
GROUPS = {
    "G1_instruction": "I1-Inst",
    "G1_tool": "I1-Tool",
    "G1_category": "I1-Cat",
    "G2_instruction": "I2-Inst",
    "G2_category": "I2-Cat",
    "G3_instruction": "I3-Inst",
}
"""ToolBench's query files and how the paper calls them, in its order."""

Rates: TypeAlias = tuple[float, float, float, float, float, float]


@dataclass(frozen=True, slots=True)
class LiveRow:
    """One model of the paper.

    Args:
        model: With its strategy.
        passed: Pass rate by group; None where only the average is known.
        average_passed: Over groups.
        won: Win rate by group.
        average_won: Over groups; None for the model that the others are compared with.
    """

    model: str
    passed: Rates | None
    average_passed: float
    won: Rates | None
    average_won: float | None


TABLE_2 = (
    LiveRow("Claude-2 ReACT", (5.5, 3.5, 5.5, 6.0, 6.0, 14.0), 6.8, (31.0, 27.8, 33.8, 35.0, 31.5, 47.5), 34.4),
    LiveRow("ChatGPT ReACT", (41.5, 44.0, 44.5, 42.5, 46.5, 22.0), 40.2, None, None),
    LiveRow("ToolLLaMA ReACT", (25.0, 29.0, 33.0, 30.5, 31.5, 25.0), 29.0, (45.0, 42.0, 47.5, 50.8, 41.8, 55.0), 47.0),
    LiveRow("GPT-4 ReACT", (53.5, 50.0, 53.5, 67.0, 72.0, 47.0), 57.2, (60.0, 58.8, 63.5, 65.8, 60.3, 78.0), 64.4),
    LiveRow("Claude-2 DFSDT", (20.5, 31.0, 18.5, 17.0, 20.5, 28.0), 22.6, (38.0, 44.3, 43.3, 36.8, 33.5, 65.0), 43.5),
    LiveRow("ChatGPT DFSDT", (54.5, 65.0, 60.5, 75.0, 71.5, 62.0), 64.8, (60.5, 62.0, 57.3, 72.0, 64.8, 69.0), 64.3),
    LiveRow("ToolLLaMA DFSDT", (57.0, 61.0, 62.0, 77.0, 77.0, 66.0), 66.7, (55.0, 55.3, 54.5, 68.5, 58.0, 69.0), 60.0),
    LiveRow("GPT-4 DFSDT", (60.0, 71.5, 67.0, 79.5, 77.5, 71.0), 71.1, (67.5, 67.8, 66.5, 73.3, 63.3, 84.0), 70.4),
    LiveRow("α-UMi 7B DFSDT", None, 70.9, None, 65.9),
)
