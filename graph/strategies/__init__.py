"""Ways to search for an answer, as LangGraph state graphs over the same nodes."""
