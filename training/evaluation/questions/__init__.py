"""Questions of one's own for one's own tools, with the calls that are right: what ``alpha-umi check`` measures."""

from alpha_umi.training.evaluation.questions.file import Question, QuestionFile, load_questions
from alpha_umi.training.evaluation.questions.score import check_questions, render_check

__all__ = ["Question", "QuestionFile", "check_questions", "load_questions", "render_check"]
