from __future__ import annotations

from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.dataset import Tally
from alpha_umi.training.data.report import BuildReport, SplitStats, render_report, summarize

RUN = Trajectory(
    (ToolSpec("add"), ToolSpec("sub")),
    (
        Turn("?", (Step("…", "caller", (Call("c", "add", {}, Observation("no", True)),)), Step("…", "give up"))),
        Turn("!", (Step("…", "conclusion", answer="4."),)),
    ),
)


def test_split_stats_count_everything_once() -> None:
    stats = SplitStats()
    stats.add("own", RUN, 10)
    stats.add("own", RUN, 30)
    content = stats.to_json()
    assert content["trajectories"] == 2
    assert content["steps"] == 6
    assert content["decisions"] == {"caller": 2, "conclusion": 2, "give up": 2}
    assert content["steps_per_trajectory"] == {"3": 2}
    assert (content["tools_called"], content["tools_offered"]) == (1, 2)
    assert (content["calls"], content["answers"], content["error_observations"]) == (2, 2, 2)
    assert content["length_tokens"]["total"] == 40


def test_summarize_gives_quantiles() -> None:
    assert summarize(range(1, 101)) == {"total": 5050, "mean": 50.5, "median": 51, "p90": 90, "p99": 99, "longest": 100}
    assert summarize([]) is None


def test_report_shows_sources_splits_repairs_and_drops() -> None:
    tally = Tally(kept=1200)
    tally.repair("a | b", "f.jsonl:3")
    tally.drop("empty", "f.jsonl:4")
    report = BuildReport({"seed": 0}, {"own": tally}, heldout_tools=["sub"])
    report.splits["train"].add("own", RUN, None)
    text = render_report(report.to_json())
    assert "| own | 1,200 | 1 | 1 |" in text
    assert "| train | 1 | 3 | 1 | 1 | 1 | 1 | 1 | 1 / 2 |" in text
    assert "1 tools are held out" in text
    assert "| own | a \\| b | 1 | `f.jsonl:3` |" in text
    assert "| own | empty | 1 | `f.jsonl:4` |" in text
    assert "Length in tokens" not in text
