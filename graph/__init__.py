"""The agent as a compiled LangGraph graph."""
