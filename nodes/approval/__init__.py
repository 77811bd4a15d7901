"""Approval of tool calls: the rules that ask, and the question to a person; the node is `approval_gate`."""

from alpha_umi.nodes.approval.questions import (
    APPROVAL_DECISIONS,
    Answer,
    ApprovalDecision,
    AskedCall,
    ask,
    ask_in_place,
    is_top_level,
    make_id,
)
from alpha_umi.nodes.approval.rules import ApprovalRule, Approvals, AskWhen, ask_when, find_idle, list_decisions

__all__ = [
    "APPROVAL_DECISIONS",
    "Answer",
    "ApprovalDecision",
    "ApprovalRule",
    "Approvals",
    "AskWhen",
    "AskedCall",
    "ask",
    "ask_in_place",
    "ask_when",
    "find_idle",
    "is_top_level",
    "list_decisions",
    "make_id",
]
