"""The paper's Table 1: static evaluation, in percent.

Source: arXiv 2401.07324, Table 1. Columns: Plan ACC, Act. EM, Hallu., Arg. F1, R-L; first on ToolBench's in-domain test
set, then on its out-of-domain one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

SOURCE = "arXiv 2401.07324, Table 1"
COLUMNS = ("Plan ACC", "Act. EM", "Hallu.", "Arg. F1", "R-L")
LOWER_IS_BETTER = frozenset({"Hallu."})

Scores: TypeAlias = tuple[float, float, float, float, float]


@dataclass(frozen=True, slots=True)
class PaperRow:
    """One model of the paper."""

    model: str
    in_domain: Scores
    out_of_domain: Scores


TABLE_1 = (
    PaperRow("ChatGPT 0-shot", (83.33, 58.67, 7.40, 45.61, 23.08), (81.62, 54.67, 8.19, 40.08, 22.85)),
    PaperRow("GPT-4 0-shot", (80.28, 55.52, 5.98, 48.74, 28.69), (77.80, 55.26, 5.12, 47.45, 30.61)),
    PaperRow("7B ToolLLaMA (4096)", (66.42, 19.47, 33.94, 15.98, 2.06), (68.21, 30.75, 25.35, 25.07, 5.78)),
    PaperRow("7B ToolLLaMA (8192)", (77.02, 47.56, 4.03, 42.00, 15.26), (77.76, 45.07, 3.45, 40.41, 18.10)),
    PaperRow("7B Single-LLM", (81.92, 53.26, 2.32, 45.57, 42.66), (84.61, 56.54, 2.26, 50.09, 47.99)),
    PaperRow("7B Multi-LLM one-stage", (87.52, 45.11, 7.71, 38.02, 41.01), (88.42, 53.40, 2.52, 45.79, 46.39)),
    PaperRow("7B Single-LLM multi-task", (85.06, 51.83, 2.96, 44.25, 27.40), (86.55, 56.89, 2.77, 49.50, 32.58)),
    PaperRow("7B α-UMi w/o reuse", (88.24, 55.50, 0.53, 48.97, 39.98), (87.91, 58.02, 2.32, 50.55, 42.59)),
    PaperRow("7B α-UMi w/ reuse", (88.92, 58.94, 0.57, 52.24, 43.17), (89.72, 60.47, 0.45, 53.60, 46.26)),
    PaperRow("13B Single-LLM", (81.01, 59.67, 1.53, 52.35, 42.16), (86.74, 60.04, 2.03, 52.94, 48.46)),
    PaperRow("13B Multi-LLM one-stage", (86.49, 50.54, 5.11, 41.96, 36.21), (87.45, 56.71, 3.23, 47.49, 41.62)),
    PaperRow("13B Single-LLM multi-task", (86.36, 58.96, 2.00, 49.28, 28.41), (86.64, 62.78, 3.42, 53.29, 35.46)),
    PaperRow("13B α-UMi w/o reuse", (86.33, 60.07, 0.39, 53.11, 35.09), (87.75, 61.63, 2.95, 52.54, 37.70)),
    PaperRow("13B α-UMi w/ reuse", (87.87, 63.03, 0.37, 57.65, 43.46), (88.73, 64.21, 0.24, 57.38, 42.50)),
)
