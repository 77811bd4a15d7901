"""Requests to servers that are not ours: an address guard, a circuit breaker, credentials that never show."""
