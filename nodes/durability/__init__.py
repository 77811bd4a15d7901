"""What outlives a process: threads in a database, and a ledger of calls that must not run twice."""

from alpha_umi.nodes.durability.checkpointers import DurableSaver
from alpha_umi.nodes.durability.effects import RecordedCall, find_ledger, find_recorded_call
from alpha_umi.nodes.durability.ledger import MemoryLedger, SqliteLedger

__all__ = [
    "DurableSaver",
    "MemoryLedger",
    "RecordedCall",
    "SqliteLedger",
    "find_ledger",
    "find_recorded_call",
]
