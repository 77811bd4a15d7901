"""Sentences for a tool: what its name and description say, nouns for its parameters, and wordings."""
