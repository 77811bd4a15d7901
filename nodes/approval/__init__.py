"""Approval of tool calls: the rules that ask, and the question to a person; the node is `approval_gate`."""

from alpha_umi.nodes.approval.questions import (
    APPROVAL_DECISIONS,
    Answer,
    ApprovalDecision,
    AskedCall,
    ask,
    ask_in_place,
    asks_nobody,
    is_top_level,
    make_id,
    name_decisions,
)
from alpha_umi.nodes.approval.rules import (
    ApprovalRule,
    Approvals,
    AskWhen,
    Wish,
    ask_when,
    find_idle,
    is_harmless,
    list_decisions,
    list_wishes,
)

__all__ = [
    "APPROVAL_DECISIONS",
    "Answer",
    "ApprovalDecision",
    "ApprovalRule",
    "Approvals",
    "AskWhen",
    "AskedCall",
    "Wish",
    "ask",
    "ask_in_place",
    "ask_when",
    "asks_nobody",
    "find_idle",
    "is_harmless",
    "is_top_level",
    "list_decisions",
    "list_wishes",
    "make_id",
    "name_decisions",
]
