"""How good a checkpoint is: static, on tasks, live and by data size; and one report on all of it.

One function per verb of ``alpha-umi eval``. Nothing here imports torch, graphs or a particular model.
"""

from alpha_umi.training.evaluation.evaluator import (
    evaluate_tasks,
    make_answer_scorer,
    make_live_scorer,
    render_live,
    render_tasks,
)
from alpha_umi.training.evaluation.examples import Usage, load_examples
from alpha_umi.training.evaluation.metrics import compare, render_comparison
from alpha_umi.training.evaluation.report import write_live_page, write_report
from alpha_umi.training.evaluation.scaling import evaluate_scaling, render_scaling
from alpha_umi.training.evaluation.static import evaluate_static, render_static
from alpha_umi.training.evaluation.suites import EvalOutcome, EvalTask, load_live_suite, load_suite

__all__ = [
    "EvalOutcome",
    "EvalTask",
    "Usage",
    "compare",
    "evaluate_scaling",
    "evaluate_static",
    "evaluate_tasks",
    "load_examples",
    "load_live_suite",
    "load_suite",
    "make_answer_scorer",
    "make_live_scorer",
    "render_comparison",
    "render_live",
    "render_scaling",
    "render_static",
    "render_tasks",
    "write_live_page",
    "write_report",
]
