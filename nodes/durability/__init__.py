"""What survives the end of a process: threads in a database, and the ledger of calls that must not run twice."""
