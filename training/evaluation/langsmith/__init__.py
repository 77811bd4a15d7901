"""The LangSmith loop: a suite as a dataset, and evaluators for `langsmith.evaluate` and `aevaluate`.

`alpha_umi.as_target` makes the target of an agent.
"""

from alpha_umi.training.evaluation.langsmith.match import make_trajectory_match
from alpha_umi.training.evaluation.langsmith.push import Pushed, connect, push_suite
from alpha_umi.training.evaluation.langsmith.suite import EvalSuite, make_judging

__all__ = ["EvalSuite", "Pushed", "connect", "make_judging", "make_trajectory_match", "push_suite"]
