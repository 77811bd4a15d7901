"""What an agent did, as training data: its threads, its runs in LangSmith, and what ``ask --json`` printed."""

from alpha_umi.training.traces.export import Exported, export_traces, render_export
from alpha_umi.training.traces.logs import read_logs
from alpha_umi.training.traces.threads import read_threads
from alpha_umi.training.traces.trace import Trace

__all__ = ["Exported", "Trace", "export_traces", "read_logs", "read_threads", "render_export"]
