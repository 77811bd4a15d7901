"""What outlives a process: threads in a database, and a ledger of calls that must not run twice."""
