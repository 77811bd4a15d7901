"""What an agent did, as training data: its threads, its runs in LangSmith, and what ``ask --json`` printed."""

from alpha_umi.training.traces.export import Exported, export_traces, render_export
from alpha_umi.training.traces.filters import (
    Filter,
    make_feedback_filter,
    make_finish_filter,
    make_question_filter,
    make_rating_filter,
)
from alpha_umi.training.traces.langsmith import read_runs
from alpha_umi.training.traces.logs import read_logs
from alpha_umi.training.traces.redact import make_hiding
from alpha_umi.training.traces.threads import read_threads
from alpha_umi.training.traces.trace import Trace

__all__ = [
    "Exported",
    "Filter",
    "Trace",
    "export_traces",
    "make_feedback_filter",
    "make_finish_filter",
    "make_hiding",
    "make_question_filter",
    "make_rating_filter",
    "read_logs",
    "read_runs",
    "read_threads",
    "render_export",
]
