"""How good a checkpoint is: static, live and by data size, with one report beside the paper's numbers.

One function per verb of ``alpha-umi eval``. Nothing here imports torch, graphs or a particular model.
"""

from alpha_umi.training.evaluation.comparison import compare, render_comparison
from alpha_umi.training.evaluation.examples import load_examples
from alpha_umi.training.evaluation.records import Usage
from alpha_umi.training.evaluation.report import write_report
from alpha_umi.training.evaluation.scaling import evaluate_scaling
from alpha_umi.training.evaluation.static import evaluate_static
from alpha_umi.training.evaluation.suites import Task, load_gsm8k_suite, load_suite, make_builtin_suite
from alpha_umi.training.evaluation.summary import render_scaling, render_static, render_tasks
from alpha_umi.training.evaluation.tasks import Outcome, evaluate_tasks

__all__ = [
    "Outcome",
    "Task",
    "Usage",
    "compare",
    "evaluate_scaling",
    "evaluate_static",
    "evaluate_tasks",
    "load_examples",
    "load_gsm8k_suite",
    "load_suite",
    "make_builtin_suite",
    "render_comparison",
    "render_scaling",
    "render_static",
    "render_tasks",
    "write_report",
]
